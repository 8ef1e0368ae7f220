package badgerdb

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// reserve keeps some room on the disk free. Badger writes through mapped sparse files: a
// page that the disk cannot back ends the process, so a full disk must be met before the
// commit. A reserve is also the only failure that heals by itself.
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

// freeBytes fails where nothing can be written. A file system that has shut itself down may
// still know its size, but tells nothing of a file.
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

// checkMemory refuses to open or close a database where the disk has no room for Badger to
// write out its memtables, which it does at both.
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
		return fmt.Errorf("%w: %d bytes are free, %d are needed to open or close the store", ErrFull, free, needed)
	}
	return nil
}

// memory is about how many bytes that takes.
func (r reserve) memory() (uint64, error) {
	const other = 4 << 20 // the first pages of a new WAL, MANIFEST, the lock
	total := uint64(other)
	err := walkFiles(r.dir, func(path string, info fs.FileInfo) error {
		if filepath.Ext(path) == walSuffix {
			total += taken(info)
		}
		return nil
	})
	return total, err
}

// taken is what a file takes of the disk, in bytes.
func taken(info fs.FileInfo) uint64 {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(stat.Blocks) * 512 //nolint:gosec // a count is positive
}

// Room is what may still be written on the disk, in bytes, and what of that is kept in
// reserve.
func (db *DB) Room() (free, reserve uint64, err error) {
	free, err = db.reserve.free(db.dir)
	return free, db.reserve.min, err
}
