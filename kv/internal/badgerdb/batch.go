package badgerdb

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Write is a key and what it shall hold. No value removes the key.
type Write struct{ Key, Value []byte }

// Batch is writes that are committed together. Badger has no savepoints, so writes that
// belong together are added all at once, and only where they fit.
type Batch struct {
	txn *badger.Txn
	db  *DB

	// What the transaction can still take. The limits are those of Badger's own
	// bookkeeping (Txn.checkSize), so that it never has to refuse.
	entries, bytes int64

	logged int // bytes that it takes in the WAL, at most
	writes int

	// UsesReserve lets a commit use the room that is kept in reserve. It is for the few
	// small writes of a start, without which there is no store.
	UsesReserve bool

	// failure is what Badger has against an entry that should fit. Half of what belongs
	// together must not be committed.
	failure error
}

const (
	// entryOverhead is what Badger reckons for an entry beside its key and value.
	entryOverhead = 12

	// walOverhead is what an entry takes in the WAL beside them, at most: a header, a
	// version, a checksum.
	walOverhead = 22 + 8 + 4
)

// NewBatch begins a batch. It must be committed or discarded.
func (db *DB) NewBatch() *Batch {
	return &Batch{
		txn:     db.badger.NewTransaction(true),
		db:      db,
		entries: db.badger.MaxBatchCount() - 2, // the limit is exclusive; one marks the end
		bytes:   db.badger.MaxBatchSize() - 64,
		logged:  2 * 64, // the mark of the end, and an empty header after it
	}
}

// View is the state with what was added to the batch. It is closed with the batch.
func (b *Batch) View() View { return View{b.txn, b.db} }

// Fits reports whether the batch can still take some writes.
func (b *Batch) Fits(writes []Write) bool {
	return int64(len(writes)) <= b.entries && size(writes) <= b.bytes
}

// IsEmpty reports whether there is nothing to commit.
func (b *Batch) IsEmpty() bool { return b.writes == 0 }

func size(writes []Write) (bytes int64) {
	for _, w := range writes {
		bytes += int64(len(w.Key)+len(w.Value)) + entryOverhead
	}
	return bytes
}

// Add adds writes that fit.
func (b *Batch) Add(writes ...Write) {
	b.writes += len(writes)
	b.entries -= int64(len(writes))
	b.bytes -= size(writes)
	for _, w := range writes {
		b.logged += len(w.Key) + len(w.Value) + walOverhead
		var err error
		if w.Value == nil {
			err = b.txn.Delete(w.Key)
		} else {
			err = b.txn.Set(w.Key, w.Value)
		}
		if err != nil {
			b.failure = fmt.Errorf("nothing was changed: %w", err)
		}
	}
}

// Discard drops a batch. It does nothing to one that was committed.
func (b *Batch) Discard() { b.txn.Discard() }

// Bulk writes more than one batch takes: it commits whenever one is full. What was
// committed before a failure stays.
type Bulk struct {
	db    *DB
	batch *Batch
}

// NewBulk begins a bulk. It must be flushed or discarded.
func (db *DB) NewBulk() *Bulk { return &Bulk{db, db.NewBatch()} }

// Add adds writes that belong together.
func (b *Bulk) Add(writes ...Write) error {
	if !b.batch.Fits(writes) {
		if err := b.Flush(); err != nil {
			return err
		}
	}
	b.batch.Add(writes...)
	return nil
}

// Flush commits what is left.
func (b *Bulk) Flush() error {
	err := b.db.Commit(b.batch)
	b.batch = b.db.NewBatch()
	return err
}

// Discard drops what was not committed.
func (b *Bulk) Discard() { b.batch.Discard() }
