package badgerdb

import (
	"errors"
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"
)

// View reads the database at one moment. It must be closed. One goroutine at a time may
// use it.
type View struct {
	txn *badger.Txn
	db  *DB
}

// View takes hold of the latest state, in constant time and memory. It waits for a commit
// under way.
func (db *DB) View() View { return View{db.badger.NewTransaction(false), db} }

// Close lets go of the view.
func (v View) Close() { v.txn.Discard() }

// Read reads the latest state. Memory that the disk does not give is ErrUnavailable.
func (db *DB) Read(read func(View) error) error {
	return db.guardRead(func() error {
		v := db.View()
		defer v.Close()
		return read(v)
	})
}

// Guard has a function read a view that is held for longer. Memory that the disk does not
// give is ErrUnavailable.
func (v View) Guard(read func() error) error { return v.db.guardRead(read) }

// Get is a copy of what is stored under a key. It fails with ErrNotFound.
func (v View) Get(key []byte) ([]byte, error) {
	item, err := v.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, unreadable(err)
	}
	raw, err := item.ValueCopy(nil)
	if err != nil {
		return nil, unreadable(err)
	}
	return raw, nil
}

// Has reports whether anything is stored under a key.
func (v View) Has(key []byte) (bool, error) {
	_, err := v.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, unreadable(err)
	}
	return true, nil
}

// Entry is a key and what it holds. Both are good until the next one is read.
type Entry struct{ Key, Value []byte }

// Entries are the entries whose keys begin with a prefix, in the order of their keys, from
// a key on if one is given. After an error there are no more.
func (v View) Entries(prefix string, from []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		it := v.txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
		defer it.Close()
		it.Rewind()
		if from != nil {
			it.Seek(from)
		}
		for more := true; more && it.Valid(); it.Next() {
			item := it.Item()
			err := item.Value(func(value []byte) error {
				more = yield(Entry{item.Key(), value}, nil)
				return nil
			})
			if err != nil {
				yield(Entry{}, unreadable(err))
				return
			}
		}
	}
}

func unreadable(err error) error { return fmt.Errorf("cannot be read: %w", err) }

// About is roughly how many entries there are on disk, without counting them.
func (db *DB) About() (entries int) {
	for _, table := range db.badger.Tables() {
		entries += int(table.KeyCount)
	}
	return entries
}
