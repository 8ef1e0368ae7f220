package kv

import (
	"iter"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Snapshot is the store at one moment. It must be closed, and the store's Close
// waits for that. One goroutine at a time may use it.
type Snapshot struct {
	view
	store *Store
}

// Snapshot takes hold of the latest state, in constant time and memory.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	return &Snapshot{s.newView(), s}, nil
}

// Close lets go of the snapshot.
func (s *Snapshot) Close() {
	defer s.store.users.Done()
	var moot error // Badger counts an iterator that it failed to make as open
	defer s.store.writer.outlive(&moot)
	s.txn.Discard()
}

// Tokens are the tokens that a filter means at a moment, in the order of their
// names' bytes, behind a name if one is given. Their last uses are those of the
// time when they are read. It takes constant memory, and no longer than those with
// the filter's prefix need. It may be read more than once, though not while
// another reading is under way. After an error it ends.
func (s *Snapshot) Tokens(f Filter, after string, now time.Time) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		for r, err := range s.filtered(f, after, now) {
			if !yield(r.Token, err) {
				return
			}
		}
	}
}

// WithValues are all tokens with their values, as Tokens gives them.
func (s *Snapshot) WithValues() iter.Seq2[Created, error] {
	return func(yield func(Created, error) bool) {
		for r, err := range s.filtered(Filter{}, "", time.Time{}) {
			if !yield(Created{r.Token, r.value}, err) {
				return
			}
		}
	}
}

func (s *Snapshot) filtered(f Filter, after string, now time.Time) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		it, err := s.begin(recordPrefix + f.Prefix)
		if err != nil {
			yield(record{}, err)
			return
		}
		defer it.Close()
		if after != "" && after >= f.Prefix {
			it.Seek(append(recordKey(after), 0))
		}
		for r, err := range s.records(it) {
			if err == nil {
				err = s.index.addUses(&r, s.store.uses)
			}
			if err == nil && !f.Matches(r.Token, now) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// begin begins a reading of the keys that begin with a prefix.
func (s *Snapshot) begin(prefix string) (it *badger.Iterator, err error) {
	defer s.store.writer.outlive(&err)
	it = s.iterate(prefix)
	it.Rewind()
	return it, nil
}
