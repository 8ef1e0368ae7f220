package kv

import (
	"errors"
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"
)

// view reads records within one Badger transaction.
type view struct {
	txn   *badger.Txn
	vault *vault
	index *index
}

// get is a copy of what is stored under a key, or ErrNotFound.
func (v view) get(key []byte) ([]byte, error) {
	item, err := v.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	raw, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return raw, nil
}

// has reports whether anything is stored under a key.
func (v view) has(key []byte) (bool, error) {
	_, err := v.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// record is the token with a name, without its last use.
func (v view) record(name string) (record, error) {
	raw, err := v.get(recordKey(name))
	if err != nil {
		return record{}, fmt.Errorf("a token named %q %w", name, err)
	}
	return v.vault.open(name, raw)
}

// used is the token with a name, and when it was last used. Only the writer may
// ask, beside whom nobody brings last uses to disk; others ask Store.used.
func (v view) used(name string) (record, error) {
	r, err := v.record(name)
	if err != nil {
		return record{}, err
	}
	err = v.index.addUses(&r, v.uses)
	return r, err
}

// lookup is the token whose value has a hash. The index on disk only leads to a
// record; the record itself, which is sealed, must then have the hash.
func (v view) lookup(hash lookupHash) (record, error) {
	name, err := v.get(indexKey(hash))
	if err != nil {
		return record{}, err
	}
	raw, err := v.get(recordKey(string(name)))
	if errors.Is(err, ErrNotFound) {
		return record{}, fmt.Errorf("%w: an index entry leads to %q, which does not exist", ErrCorrupt, name)
	}
	if err != nil {
		return record{}, err
	}
	r, err := v.vault.open(string(name), raw)
	if err != nil {
		return record{}, err
	}
	if !r.isFoundBy(hash) {
		return record{}, fmt.Errorf("%w: an index entry leads to %q, which has another value", ErrCorrupt, name)
	}
	return r, nil
}

// iterate prepares a reading of the keys that begin with a prefix.
func (v view) iterate(prefix string) *badger.Iterator {
	return v.txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
}

// records are the records from an iterator's place on, without their last uses.
// After an error there are no more.
func (v view) records(it *badger.Iterator) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		for ; it.Valid(); it.Next() {
			var r record
			err := it.Item().Value(func(raw []byte) (err error) {
				r, err = v.vault.open(nameOf(it.Item().Key()), raw)
				return err
			})
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
