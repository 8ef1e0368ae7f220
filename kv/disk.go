package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
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
	return stat.Bavail * uint64(stat.Bsize), nil //nolint:gosec // a block size is positive
}

// probeLock tells in our words whether another process holds the store: Badger
// locks the folder itself, but its error has no type. The probe lets go again,
// so that of two that start at once one may still get Badger's own error.
func probeLock(dir string) error {
	folder, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
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
