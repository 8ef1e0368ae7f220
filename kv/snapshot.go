package kv

import (
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"
)

// Snapshot is the store at one moment. It must be closed, and the store's Close
// waits for that. One goroutine at a time may use it.
type Snapshot struct {
	store *Store
	txn   *badger.Txn
}

// Snapshot takes hold of the latest state, in constant time and memory.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	return &Snapshot{store: s, txn: s.db.NewTransaction(false)}, nil
}

// Close lets go of the snapshot.
func (s *Snapshot) Close() {
	defer s.store.users.Done()
	var moot error // Badger counts an iterator that it failed to make as open
	defer s.store.writer.outlive(&moot)
	s.txn.Discard()
}

// Tokens are the tokens in the order of their names' bytes. It takes constant
// memory and may be read more than once, though not while another reading is
// under way. After an error it ends.
func (s *Snapshot) Tokens() iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		for r, err := range s.records() {
			if !yield(r.Token, err) {
				return
			}
		}
	}
}

func (s *Snapshot) records() iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		it, err := s.iterate(recordPrefix)
		if err != nil {
			yield(record{}, err)
			return
		}
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			var r record
			err := it.Item().Value(func(raw []byte) (err error) {
				r, err = s.store.vault.open(nameOf(it.Item().Key()), raw)
				return err
			})
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// iterate begins a reading of the keys that begin with a prefix.
func (s *Snapshot) iterate(prefix string) (it *badger.Iterator, err error) {
	defer s.store.writer.outlive(&err)
	return s.txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)}), nil
}

// CheckIntegrity reads everything and reports what is wrong: a record that does
// not match its seal, a record without its index entry, an index entry without
// its record, a key of no known kind.
func (s *Snapshot) CheckIntegrity() error {
	records := 0
	view := view{s.txn, s.store.vault}
	for r, err := range s.records() {
		if err != nil {
			return err
		}
		if _, err := view.lookup(r.value); err != nil {
			return fmt.Errorf("token %q is not found by its value: %w", r.Name, err)
		}
		records++
	}
	it, err := s.iterate("")
	if err != nil {
		return err
	}
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()
		switch {
		case string(key) == metaSchema, string(key) == metaDataKey:
		case len(key) > 2 && string(key[:2]) == recordPrefix:
		case len(key) > 2 && string(key[:2]) == indexPrefix:
			records--
		default:
			return fmt.Errorf("%w: a key of no known kind: %q", ErrCorrupt, key)
		}
	}
	if records != 0 {
		return fmt.Errorf("%w: %d index entries too many", ErrCorrupt, -records)
	}
	return nil
}
