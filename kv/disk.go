package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
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
		return fmt.Errorf("%w: the disk does not tell its free space: %w", ErrUnavailable, err)
	}
	if free < r.min {
		return fmt.Errorf("%w: %d bytes are free, %d are kept in reserve", ErrFull, free, r.min)
	}
	return nil
}

func freeBytes(dir string) (uint64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, err
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
	logs, err := filepath.Glob(filepath.Join(r.dir, "*.mem"))
	if err != nil {
		return 0, err
	}
	const other = 4 << 20 // a new log's first pages, the manifest, the lock
	total := uint64(other)
	for _, log := range logs {
		var stat syscall.Stat_t
		if err := syscall.Stat(log, &stat); err == nil { // else it was just written out
			total += uint64(stat.Blocks) * 512 //nolint:gosec // a count is positive
		}
	}
	return total, nil
}

// folder is the store's folder. Badger syncs its files, but not the folder's
// entry for a new one, without which the file may be gone after a power cut.
type folder struct {
	path   string
	synced time.Time // the folder's mtime when it was last synced
}

// sync syncs the folder where something was added since the last time. A file
// system's clock is coarse, so a fresh change counts as news again and again.
func (f *folder) sync() error {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was moved away; the open files are synced
	}
	if err != nil {
		return err
	}
	if changed := info.ModTime(); changed.Equal(f.synced) && time.Since(changed) > 100*time.Millisecond {
		return nil
	}
	f.synced = info.ModTime()
	return SyncFolder(f.path)
}

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

// checkManifest refuses a folder that has a store's files but not their list:
// Badger would take it for an empty one and delete them.
func checkManifest(dir string) error {
	for _, pattern := range []string{"*.sst", "*.mem", "*.vlog"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "MANIFEST")); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w: its MANIFEST is missing", dir, ErrCorrupt)
		}
	}
	return nil
}

// probeLock tells in our words whether another process holds the store: Badger
// locks the folder itself, but its error has no type. The probe lets go again,
// so that of two that start at once one may still get Badger's own error.
func probeLock(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%s: %w", dir, ErrLocked)
	}
	return err
}
