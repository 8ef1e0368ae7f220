package kv

import (
	"errors"
	"fmt"
	"iter"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/index"
	"tokend/kv/internal/seal"
)

// view reads records at one moment.
type view struct {
	badgerdb.View

	vault vault
	index *index.Index
}

// get is a copy of what is stored under a key, or ErrNotFound.
func (v view) get(key []byte) ([]byte, error) {
	raw, err := v.Get(key)
	if errors.Is(err, badgerdb.ErrNotFound) {
		return nil, ErrNotFound
	}
	return raw, err
}

// record is the token with a name, without its last use.
func (v view) record(name string) (record, error) {
	raw, err := v.get(recordKey(name))
	if err != nil {
		return record{}, fmt.Errorf("a token named %q %w", name, err)
	}
	return v.vault.open(name, raw)
}

// used is the token with a name, and when it was last used. Only the writer may ask,
// since nobody else flushes last uses meanwhile; others ask Store.used.
func (v view) used(name string) (record, error) {
	r, err := v.record(name)
	if err != nil {
		return record{}, err
	}
	err = addUses(&r, v.index, v.uses)
	return r, err
}

// lookup is the token whose value has a hash. The index on disk only leads to a
// record; the record itself, which is sealed, must then have the hash.
func (v view) lookup(hash seal.Hash) (record, error) {
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

// records are the records whose names begin with a prefix, from a key on if one is given,
// without their last uses. After an error there are no more.
func (v view) records(prefix string, from []byte) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		for entry, err := range v.Entries(recordPrefix+prefix, from) {
			var r record
			if err == nil {
				r, err = v.vault.open(nameOf(entry.Key), entry.Value)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
