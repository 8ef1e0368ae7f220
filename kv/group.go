package kv

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// write is a key and what it shall hold; no value removes it.
type write struct {
	key, value []byte
}

// group is the operations that share a transaction. Badger has no savepoints,
// so an operation's writes are added all together or not at all, and only where
// they fit.
type group struct {
	txn *badger.Txn

	// What the transaction can still take. The limits are those of Badger's own
	// bookkeeping (Txn.checkSize), so that it never has to refuse.
	entries, bytes int64

	logged int // bytes that it takes in Badger's log, at most

	operations []*operation
	refusals   []error  // beside operations: why one was refused, or nil
	changes    []change // of those that were not, in their order

	wrote bool // anything

	// failure is what Badger has against an entry that should fit. Half an
	// operation must not be committed.
	failure error
}

const (
	// entryOverhead is what Badger reckons for an entry beside its key and value.
	entryOverhead = 12

	// logOverhead is what an entry takes in the log beside them, at most: a header, a
	// version, a checksum.
	logOverhead = 22 + 8 + 4
)

func newGroup(db *badger.DB) *group {
	return &group{
		txn:     db.NewTransaction(true),
		entries: db.MaxBatchCount() - 2, // the limit is exclusive; one marks the end
		bytes:   db.MaxBatchSize() - 64,
		logged:  2 * 64, // the end's mark, and an empty header behind it
	}
}

func size(writes []write) (bytes int64) {
	for _, w := range writes {
		bytes += int64(len(w.key)+len(w.value)) + entryOverhead
	}
	return bytes
}

func (g *group) fits(writes []write) bool {
	return int64(len(writes)) <= g.entries && size(writes) <= g.bytes
}

// add puts an operation into the group, with its changes or with the reason why
// it has none.
func (g *group) add(op *operation, changes []change, writes []write, refusal error) {
	g.operations = append(g.operations, op)
	g.refusals = append(g.refusals, refusal)
	g.changes = append(g.changes, changes...)
	g.write(writes)
}

func (g *group) write(writes []write) {
	g.wrote = g.wrote || len(writes) > 0
	g.entries -= int64(len(writes))
	g.bytes -= size(writes)
	for _, w := range writes {
		g.logged += len(w.key) + len(w.value) + logOverhead
		var err error
		if w.value == nil {
			err = g.txn.Delete(w.key)
		} else {
			err = g.txn.Set(w.key, w.value)
		}
		if err != nil {
			g.failure = fmt.Errorf("nothing was changed: %w", err)
		}
	}
}

// commit syncs the group to disk as one transaction.
func (g *group) commit() error { return g.txn.Commit() }
