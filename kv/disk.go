package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reserve keeps some room on the disk free. Badger writes through mapped sparse
// files: a page that the disk cannot back ends the process, so a full disk must
// be met before the commit. A reserve is also the only failure that heals.
type reserve struct {
	dir  string
	min  uint64
	free func(dir string) (uint64, error)
}

func (r reserve) check() error {
	if r.min == 0 {
		return nil
	}
	free, err := r.free(r.dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if free < r.min {
		return fmt.Errorf("%w: %d bytes are free, %d are kept in reserve", ErrFull, free, r.min)
	}
	return nil
}

// freeBytes fails where nothing can be written: a write through a map would be the end
// of the process then. A file system that has shut itself down may still know its size,
// but tells nothing of a file.
func freeBytes(dir string) (uint64, error) {
	var (
		stat   unix.Statfs_t
		folder unix.Stat_t
	)
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("the disk does not tell its free space: %w", err)
	}
	if stat.Flags&unix.ST_RDONLY != 0 {
		return 0, fmt.Errorf("the disk: %w", unix.EROFS)
	}
	if err := unix.Stat(dir, &folder); err != nil {
		return 0, fmt.Errorf("the disk: %w", err)
	}
	return stat.Bavail * uint64(stat.Frsize), nil //nolint:gosec // a size is positive
}

// checkMemory refuses to open or close a store where the disk has no room for
// Badger to write out the logs of its memory, which it does at both.
func (r reserve) checkMemory() error {
	if r.min == 0 {
		return nil
	}
	needed, err := r.memory()
	if err != nil {
		return err
	}
	free, err := r.free(r.dir)
	if err != nil {
		return err
	}
	if free < needed {
		return fmt.Errorf("%s: %w: %d bytes are free, %d are needed to open or close the store", r.dir, ErrFull, free, needed)
	}
	return nil
}

// memory is about how many bytes that takes.
func (r reserve) memory() (uint64, error) {
	const other = 4 << 20 // a new log's first pages, the manifest, the lock
	total := uint64(other)
	err := eachFile(r.dir, func(path string, info fs.FileInfo) error {
		stat, ok := info.Sys().(*syscall.Stat_t)
		if ok && filepath.Ext(path) == ".mem" {
			total += uint64(stat.Blocks) * 512 //nolint:gosec // a count is positive
		}
		return nil
	})
	return total, err
}

// eachFile visits the files in a folder; one that goes meanwhile is passed over.
func eachFile(dir string, visit func(path string, info fs.FileInfo) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = visit(filepath.Join(dir, entry.Name()), info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// folder is the store's folder. Badger syncs its files, but not the folder's
// entry for a new one, without which the file may be gone after a power cut. It
// is held open, since a process may run out of file descriptors.
type folder struct {
	file   *os.File
	synced time.Time // the folder's mtime when it was last synced
}

func openFolder(path string) (*folder, error) {
	file, err := os.Open(path)
	return &folder{file: file}, err
}

// sync syncs the folder where something was added since the last time. A file
// system's clock is coarse, so a fresh change counts as news again and again.
func (f *folder) sync() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if changed := info.ModTime(); changed.Equal(f.synced) && time.Since(changed) > 100*time.Millisecond {
		return nil
	}
	f.synced = info.ModTime()
	return f.file.Sync()
}

func (f *folder) close() { _ = f.file.Close() }

// makeFolder makes the store's folder durably, if it is missing.
func makeFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder makes the entries of a folder durable: files in it that were made,
// renamed or removed.
func SyncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	return folder.Sync()
}

// checkManifest refuses a folder that has a store's files but not their list, or an
// empty one: Badger would take it for an empty store and delete them. While it runs
// there is always a log, and what is not in the list yet is still in that.
func checkManifest(dir string) error {
	var files, tables, logs, manifest bool
	err := eachFile(dir, func(path string, _ fs.FileInfo) error {
		files = files || isStoreFile(path)
		tables = tables || filepath.Ext(path) == ".sst"
		logs = logs || filepath.Ext(path) == ".mem"
		manifest = manifest || filepath.Base(path) == "MANIFEST"
		return nil
	})
	switch {
	case err != nil || !files:
		return err
	case !manifest:
		return fmt.Errorf("%w: its MANIFEST is missing", ErrCorrupt)
	case !tables || logs:
		return nil
	}
	listed, err := listedTables(dir)
	if err == nil && len(listed) == 0 {
		err = fmt.Errorf("%w: the list of tables (MANIFEST) names none of those that are there", ErrCorrupt)
	}
	return err
}

// isStoreFile reports whether a file is one of those that hold records.
func isStoreFile(path string) bool {
	switch filepath.Ext(path) {
	case ".sst", ".mem", ".vlog":
		return true
	}
	return false
}

// isBadgers reports whether a file is Badger's, and no lock.
func isBadgers(path string) bool {
	switch filepath.Base(path) {
	case "MANIFEST", "KEYREGISTRY", "DISCARD":
		return true
	}
	return isStoreFile(path)
}

// removeStillborn removes the logs that a process made and was killed before it
// gave them a size. Nothing can be in them, and Badger does not open a store
// that has one.
func removeStillborn(dir string) error {
	return eachFile(dir, func(path string, info fs.FileInfo) error {
		extension := filepath.Ext(path)
		if info.Size() > 0 || extension != ".mem" && extension != ".vlog" {
			return nil
		}
		return os.Remove(path)
	})
}

// lockFolder makes sure that no other process holds the store, in our words: Badger
// locks the folder itself, but its error has no type. Whoever lets go before Badger has
// the lock may still get Badger's own error, where two start at once.
func lockFolder(dir string) (release func(), err error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	release = func() { _ = folder.Close() }
	err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return release, nil
}

// clearFolder makes a folder ready for Badger, unless another process holds it.
func clearFolder(dir string) error {
	release, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer release()
	return removeStillborn(dir)
}
