package kv

import (
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// tally is how many tokens there are: those that a snapshot had, which are
// counted in the background, and what the writer has added to them since.
type tally struct {
	added   atomic.Int64
	found   atomic.Int64
	counted atomic.Bool
}

func (t *tally) publish(changes []change) {
	for _, c := range changes {
		switch {
		case c.before == nil:
			t.added.Add(1)
		case c.after == nil:
			t.added.Add(-1)
		}
	}
}

// count counts a snapshot that was taken before the first change, unless the
// store is closed before.
func (t *tally) count(snapshot *badger.Txn, closed *atomic.Bool) {
	it := snapshot.NewIterator(badger.IteratorOptions{Prefix: []byte(recordPrefix)})
	defer it.Close()
	n := int64(0)
	for it.Rewind(); it.Valid() && !closed.Load(); it.Next() {
		n++
	}
	t.found.Store(n)
	t.counted.Store(true)
}

// Count is how many tokens there are. It is not known in the first moments after
// Open.
func (s *Store) Count() (n int64, known bool) {
	if !s.tally.counted.Load() {
		return 0, false
	}
	return s.tally.found.Load() + s.tally.added.Load(), true
}
