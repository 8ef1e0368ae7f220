package kv

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"github.com/dgraph-io/badger/v4"
)

// schemaVersion is the version of the key space. A store of a higher one is not
// opened.
const schemaVersion = 1

// unlock finds the master key that opens the store and makes the vault of its
// data key. A store without anything in it gets a data key of its own.
func unlock(db *badger.DB, keys []MasterKey, log *slog.Logger) (*vault, error) {
	schema, wrapped, err := readMeta(db)
	if errors.Is(err, ErrNotFound) {
		return initialize(db, keys[0])
	}
	if err != nil {
		return nil, err
	}
	if schema > schemaVersion {
		return nil, fmt.Errorf("%w (schema %d; this one knows %d)", ErrNewerSchema, schema, schemaVersion)
	}
	if !isWrapped(wrapped) {
		return nil, fmt.Errorf("%w: its data key is not readable", ErrCorrupt)
	}
	for i, key := range keys {
		dataKey, ok := key.unwrap(wrapped)
		if !ok {
			continue
		}
		if i > 0 {
			if err := writeMeta(db, keys[0], dataKey); err != nil {
				return nil, fmt.Errorf("take up the first master key: %w", err)
			}
			log.Info("the store was rewrapped under the first master key", "opened_with_line", i+1)
		}
		return newVault(dataKey), nil
	}
	return nil, ErrWrongKey
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
	rand.Read(dataKey)
	if err := writeMeta(db, key, dataKey); err != nil {
		return nil, fmt.Errorf("initialize the store: %w", err)
	}
	return newVault(dataKey), nil
}

// readMeta reads what comes before any key. ErrNotFound is a store that has
// neither part.
func readMeta(db *badger.DB) (schema byte, wrapped []byte, err error) {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	raw, schemaErr := view{txn: txn}.get([]byte(metaSchema))
	wrapped, keyErr := view{txn: txn}.get([]byte(metaDataKey))
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

// writeMeta stores the data key under a master key, in one commit.
func writeMeta(db *badger.DB, key MasterKey, dataKey []byte) error {
	return db.Update(func(txn *badger.Txn) error {
		return errors.Join(
			txn.Set([]byte(metaSchema), []byte{schemaVersion}),
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
