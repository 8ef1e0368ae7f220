package kv

import (
	"errors"
	"fmt"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/seal"
)

// unlock finds the master key that opens the store and makes the vault of its data key. A
// store without anything in it gets a data key; one that another key than the first opens is
// sealed with the first, and one of an older schema is upgraded.
func unlock(db *badgerdb.DB, o Options) (vault, error) {
	head, err := readHead(db, o.MasterKeys)
	if errors.Is(err, ErrNotFound) {
		return initialize(db, o)
	}
	if err != nil {
		return vault{}, err
	}
	defer clear(head.dataKey)
	v := vault{seal.NewVault(head.dataKey)}
	if err := upgrade(db, v, head.schema, o); err != nil {
		return vault{}, err
	}
	if head.keyIndex > 0 {
		if err := writeAtStart(db, dataKeyWrite(o.MasterKeys[0], head.dataKey)); err != nil {
			return vault{}, fmt.Errorf("take up the first master key: %w", err)
		}
		o.Log.Info("the store was rewrapped under the first master key", "opened_with_line", head.keyIndex+1)
	}
	return v, nil
}

// head is what comes before any record.
type head struct {
	schema   byte
	dataKey  []byte
	keyIndex int // which of the master keys opened it
}

// readHead opens the data key with the first of some master keys that does, and changes
// nothing. ErrNotFound is a store that has no head.
func readHead(db *badgerdb.DB, keys []MasterKey) (h head, err error) {
	stored, err := readStoredHead(db)
	switch {
	case err != nil:
		return head{}, err
	case stored.schema > schemaVersion():
		return head{}, fmt.Errorf("%w (schema %d; this one knows %d)", ErrNewerSchema, stored.schema, schemaVersion())
	case stored.schema < 1 || !seal.IsWrapped(stored.wrapped):
		return head{}, fmt.Errorf("%w: its data key is not readable", ErrCorrupt)
	}
	h.schema = stored.schema
	h.dataKey, h.keyIndex, err = unwrap(stored.wrapped, keys)
	return h, err
}

// unwrap opens a data key with the first of some master keys that does.
func unwrap(wrapped []byte, keys []MasterKey) (dataKey []byte, by int, err error) {
	for i, key := range keys {
		if dataKey, ok := key.Unwrap(wrapped); ok {
			return dataKey, i, nil
		}
	}
	return nil, 0, ErrWrongKey
}

// initialize gives an empty store its head: the data key that it was given, or a new one.
func initialize(db *badgerdb.DB, o Options) (vault, error) {
	empty, err := isEmpty(db)
	if err != nil {
		return vault{}, err
	}
	if !empty {
		return vault{}, fmt.Errorf("%w: it has entries but no data key", ErrCorrupt)
	}
	dataKey := seal.NewDataKey()
	if o.WrappedDataKey != nil {
		if dataKey, _, err = unwrap(o.WrappedDataKey, o.MasterKeys); err != nil {
			return vault{}, fmt.Errorf("the data key that was given: %w", err)
		}
	}
	defer clear(dataKey)
	if err := writeAtStart(db, headWrites(schemaVersion(), o.MasterKeys[0], dataKey)...); err != nil {
		return vault{}, fmt.Errorf("initialize the store: %w", err)
	}
	return vault{seal.NewVault(dataKey)}, nil
}

// storedHead is the head as it is on disk.
type storedHead struct {
	schema  byte
	wrapped []byte // the data key, sealed
}

func readStoredHead(db *badgerdb.DB) (h storedHead, err error) {
	err = db.Read(func(v badgerdb.View) error {
		h, err = view{View: v}.head()
		return err
	})
	return h, err
}

// head reads what comes before any key. ErrNotFound is a store that has neither part.
func (v view) head() (storedHead, error) {
	raw, schemaErr := v.get([]byte(metaSchema))
	wrapped, keyErr := v.get([]byte(metaDataKey))
	switch {
	case errors.Is(schemaErr, ErrNotFound) && errors.Is(keyErr, ErrNotFound):
		return storedHead{}, ErrNotFound
	case schemaErr != nil || keyErr != nil:
		return storedHead{}, fmt.Errorf("%w: its head is incomplete: %w", ErrCorrupt, errors.Join(schemaErr, keyErr))
	case len(raw) != 1:
		return storedHead{}, fmt.Errorf("%w: its schema is not readable", ErrCorrupt)
	}
	return storedHead{raw[0], wrapped}, nil
}

// headWrites are the schema, and the data key under a master key.
func headWrites(schema byte, key MasterKey, dataKey []byte) []badgerdb.Write {
	return []badgerdb.Write{{Key: []byte(metaSchema), Value: []byte{schema}}, dataKeyWrite(key, dataKey)}
}

func dataKeyWrite(key MasterKey, dataKey []byte) badgerdb.Write {
	return badgerdb.Write{Key: []byte(metaDataKey), Value: key.Wrap(dataKey)}
}

// writeAtStart commits what a start writes by itself. It may use the room that is kept in
// reserve: without these few bytes there is no store.
func writeAtStart(db *badgerdb.DB, writes ...badgerdb.Write) error {
	batch := db.NewBatch()
	batch.UsesReserve = true
	batch.Add(writes...)
	return db.Commit(batch)
}

func isEmpty(db *badgerdb.DB) (empty bool, err error) {
	empty = true
	err = db.Read(func(v badgerdb.View) error {
		for _, err := range v.Entries("", nil) {
			empty = false
			return err
		}
		return nil
	})
	return empty, err
}
