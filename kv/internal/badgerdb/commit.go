package badgerdb

import (
	"fmt"
	"time"
)

// Commit makes a batch durable. Every write of the database goes through here, so none
// misses what a commit needs: room on the disk, the pages of the WAL, an alarm for a disk
// that does not answer, the folder's sync. It fails with ErrFull, where nothing was changed,
// or with ErrUnavailable.
func (db *DB) Commit(b *Batch) error {
	defer b.Discard()
	if b.failure != nil || b.IsEmpty() {
		return b.failure
	}
	db.committing.Lock()
	defer db.committing.Unlock()
	if db.failed.Load() {
		return ErrUnavailable
	}
	if db.mode == Fill { // nobody relies on it yet, and nobody waits for its commits alone
		return db.commitNow(b)
	}
	begin := time.Now()
	db.began.Store(begin.UnixMilli())
	alarm := time.AfterFunc(db.alarm, func() { db.log.Error("a commit waits for the disk, which does not answer", "since", begin) })
	err := db.commitNow(b)
	db.began.Store(0)
	if !alarm.Stop() {
		db.log.Warn("the commit that waited for the disk has ended", "after", time.Since(begin), "err", err)
	}
	return err
}

// commitNow asks the disk as late as it can: a write through a map that fails is the end of
// the process.
func (db *DB) commitNow(b *Batch) error {
	if !b.UsesReserve {
		if err := db.reserve.check(); err != nil {
			return err
		}
	}
	if db.mode == Serve {
		if err := db.prefault.reserve(db.badger, b.logged); err != nil {
			return err
		}
	}
	err := b.txn.Commit()
	if err == nil && db.mode == Serve {
		err = db.folder.sync()
	}
	if err == nil {
		return nil
	}
	db.failed.Store(true)
	db.log.Error("a commit failed; changes are refused until a restart", "err", err)
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Writable is nil while commits are taken. Else it says why not: ErrFull, ErrStalled or
// ErrUnavailable.
func (db *DB) Writable() error {
	if db.failed.Load() {
		return ErrUnavailable
	}
	if db.HasWaited(db.alarm) {
		return ErrStalled
	}
	return db.reserve.check()
}

// HasFailed reports whether a commit has failed. Only opening the database again ends that.
func (db *DB) HasFailed() bool { return db.failed.Load() }

// HasWaited reports whether a commit has been under way for longer than a time. Reads of the
// database wait for it.
func (db *DB) HasWaited(wait time.Duration) bool {
	began := db.began.Load()
	return began != 0 && time.Since(time.UnixMilli(began)) > wait
}
