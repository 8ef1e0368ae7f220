package kv

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// unlock finds the master key that opens the store and makes the vault of its
// data key. A store without anything in it gets a data key of its own; one that
// another key than the first opens is sealed with the first, and one of an older
// schema is upgraded.
func unlock(db *badger.DB, o Options) (*vault, error) {
	head, err := readHead(db, o.MasterKeys)
	if errors.Is(err, ErrNotFound) {
		return initialize(db, o.MasterKeys[0])
	}
	if err != nil {
		return nil, err
	}
	defer clear(head.dataKey)
	v := newVault(head.dataKey)
	if err := upgrade(db, v, head.schema, o); err != nil {
		return nil, err
	}
	if head.by > 0 {
		if err := writeMeta(db, schemaVersion(), o.MasterKeys[0], head.dataKey); err != nil {
			return nil, fmt.Errorf("take up the first master key: %w", err)
		}
		o.Log.Info("the store was rewrapped under the first master key", "opened_with_line", head.by+1)
	}
	return v, nil
}

// head is what comes before any record.
type head struct {
	schema  byte
	dataKey []byte
	by      int // which of the master keys opened it
}

// readHead opens the data key with the first of some master keys that does, and changes
// nothing. ErrNotFound is a store that has no head.
func readHead(db *badger.DB, keys []MasterKey) (h head, err error) {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	var wrapped []byte
	h.schema, wrapped, err = view{txn: txn}.readMeta()
	switch {
	case err != nil:
		return head{}, err
	case h.schema > schemaVersion():
		return head{}, fmt.Errorf("%w (schema %d; this one knows %d)", ErrNewerSchema, h.schema, schemaVersion())
	case h.schema < 1 || !isWrapped(wrapped):
		return head{}, fmt.Errorf("%w: its data key is not readable", ErrCorrupt)
	}
	h.dataKey, h.by, err = unwrap(wrapped, keys)
	return h, err
}

// unwrap opens a data key with the first of some master keys that does.
func unwrap(wrapped []byte, keys []MasterKey) (dataKey []byte, by int, err error) {
	for i, key := range keys {
		if dataKey, ok := key.unwrap(wrapped); ok {
			return dataKey, i, nil
		}
	}
	return nil, 0, ErrWrongKey
}

func initialize(db *badger.DB, key MasterKey) (*vault, error) {
	empty, err := isEmpty(db)
	if err != nil {
		return nil, err
	}
	if !empty {
		return nil, fmt.Errorf("%w: it has entries but no data key", ErrCorrupt)
	}
	dataKey := make([]byte, keySize)
	defer clear(dataKey)
	rand.Read(dataKey)
	if err := writeMeta(db, schemaVersion(), key, dataKey); err != nil {
		return nil, fmt.Errorf("initialize the store: %w", err)
	}
	return newVault(dataKey), nil
}

// readMeta reads what comes before any key. ErrNotFound is a store that has
// neither part.
func (v view) readMeta() (schema byte, wrapped []byte, err error) {
	raw, schemaErr := v.get([]byte(metaSchema))
	wrapped, keyErr := v.get([]byte(metaDataKey))
	switch {
	case errors.Is(schemaErr, ErrNotFound) && errors.Is(keyErr, ErrNotFound):
		return 0, nil, ErrNotFound
	case schemaErr != nil || keyErr != nil:
		return 0, nil, fmt.Errorf("%w: its head is incomplete: %w", ErrCorrupt, errors.Join(schemaErr, keyErr))
	case len(raw) != 1:
		return 0, nil, fmt.Errorf("%w: its schema is not readable", ErrCorrupt)
	}
	return raw[0], wrapped, nil
}

// writeMeta stores the schema, and the data key under a master key, in one commit.
func writeMeta(db *badger.DB, schema byte, key MasterKey, dataKey []byte) error {
	return db.Update(func(txn *badger.Txn) error {
		return errors.Join(
			txn.Set([]byte(metaSchema), []byte{schema}),
			txn.Set([]byte(metaDataKey), key.wrap(dataKey)))
	})
}

func isEmpty(db *badger.DB) (bool, error) {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	it.Rewind()
	return !it.Valid(), nil
}
