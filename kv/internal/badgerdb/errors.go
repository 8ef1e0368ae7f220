package badgerdb

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrNotFound is returned where nothing is stored under a key.
	ErrNotFound = errors.New("does not exist")

	// ErrFull is returned by Commit while the disk has less room than Options.MinFree, or
	// does not take the WAL. Nothing was changed. It heals when room is made.
	ErrFull = errors.New("the disk is nearly full")

	// ErrUnavailable is returned by a commit that failed, whose outcome is unknown, and by
	// every later one, which changed nothing. Only opening the database again ends that:
	// entries reach Badger's memtable before its WAL is synced. A commit also gets it, and
	// changes nothing, while the disk is read-only or does not take the WAL, and so does a
	// read of what the disk does not give.
	ErrUnavailable = errors.New("a commit or the disk has failed")

	// ErrStalled is an ErrUnavailable: a commit waits for a disk that does not answer.
	ErrStalled = fmt.Errorf("%w: the disk does not answer", ErrUnavailable)

	// ErrCorrupt is returned where a file is damaged.
	ErrCorrupt = errors.New("the store is damaged")

	// ErrLocked is returned by Open while another process holds the database.
	ErrLocked = errors.New("the store is in use by another process")
)

// damageUnlessSystem takes what Badger has against files that were checked for damage,
// unless the system did not let it open them.
func damageUnlessSystem(err error) error {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}
