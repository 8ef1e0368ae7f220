package kv

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// view reads records within one Badger transaction.
type view struct {
	txn   *badger.Txn
	vault *vault
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

// record is the token with a name.
func (v view) record(name string) (record, error) {
	raw, err := v.get(recordKey(name))
	if err != nil {
		return record{}, fmt.Errorf("a token named %q %w", name, err)
	}
	return v.vault.open(name, raw)
}

// lookup is the token that has a value. The index only leads to a record; the
// record itself, which is sealed, must then have the value.
func (v view) lookup(value Value) (record, error) {
	hash := v.vault.hash(value)
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
	if !r.hash.equal(hash) {
		return record{}, fmt.Errorf("%w: an index entry leads to %q, which has another value", ErrCorrupt, name)
	}
	return r, nil
}
