package kv

import (
	"iter"
	"time"
)

// Snapshot is the store at one moment. It must be closed, and the store's Close
// waits for that. One goroutine at a time may use it.
type Snapshot struct {
	view  view
	store *Store
	about int // roughly how many tokens there are; 0: unknown
}

// Snapshot takes hold of the latest state, in constant time and memory.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	about, _ := s.Census()
	return &Snapshot{view{s.db.View(), s.vault, s.index}, s, about.Total()}, nil
}

// Close lets go of the snapshot.
func (s *Snapshot) Close() {
	defer s.store.users.Done()
	_ = s.view.Guard(func() error { // Badger counts an iterator that it failed to make as open
		s.view.Close()
		return nil
	})
}

// Tokens are the tokens that a filter means at a moment, in the order of their
// names' bytes, after a name if one is given. Their last uses are those of the
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
		var from []byte
		if after != "" && after >= f.Prefix {
			from = append(recordKey(after), 0)
		}
		enough := false
		err := s.view.Guard(func() error {
			for r, err := range s.view.records(f.Prefix, from) {
				if err == nil {
					err = addUses(&r, s.view.index, s.store.uses)
				}
				if err != nil {
					return err
				}
				if f.Matches(r.Token, now) && !yield(r, nil) {
					enough = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !enough {
			yield(record{}, err)
		}
	}
}
