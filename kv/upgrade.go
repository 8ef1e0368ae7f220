package kv

import (
	"bufio"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/renameio/v2"
)

// upgrades are what makes a store of each schema one of the next: the first of schema 1.
// One may be begun again after it was broken off, so it must come to the same whatever
// of it is there already. There is none yet.
var upgrades []func(view, *badger.WriteBatch) error

// schemaVersion is the version of the key space. A store of a higher one is not
// opened; one of a lower one is upgraded.
func schemaVersion() byte { return byte(1 + len(upgrades)) } //nolint:gosec // there are few

// upgrade makes a store one of the latest schema. Before it changes anything it writes a
// backup of the store as it is, beside it: the version that wrote the store restores it.
func upgrade(db *badger.DB, v *vault, schema byte, o Options) error {
	if schema == schemaVersion() {
		return nil
	}
	wayBack := fmt.Sprintf("%s.schema-%d.backup", o.Dir, schema)
	if err := leaveWayBack(db, v, wayBack, o.Now()); err != nil {
		return fmt.Errorf("back the store up before it is upgraded: %w", err)
	}
	for ; schema < schemaVersion(); schema++ {
		if err := upgradeOnce(db, v, schema); err != nil {
			return fmt.Errorf("upgrade the store from schema %d: %w", schema, err)
		}
	}
	o.Log.Warn("the store was upgraded; the version before can restore the backup that was made of it",
		"schema", schema, "backup", wayBack)
	return nil
}

func upgradeOnce(db *badger.DB, v *vault, from byte) error {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	err := upgrades[from-1](view{txn: txn, vault: v}, batch)
	if err == nil {
		err = batch.Flush()
	}
	if err != nil {
		return err
	}
	return db.Update(func(txn *badger.Txn) error {
		return errors.Join(txn.Set([]byte(metaSchema), []byte{from + 1}), txn.Delete([]byte(metaUpgrading)))
	})
}

// leaveWayBack writes the backup unless an upgrade was begun and broken off: then it is
// there, and the store is not as it was any more.
func leaveWayBack(db *badger.DB, v *vault, path string, taken time.Time) error {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	if begun, err := (view{txn: txn}).has([]byte(metaUpgrading)); err != nil || begun {
		return err
	}
	if err := writeBackup(db, v, path, taken); err != nil {
		return err
	}
	return db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(metaUpgrading), []byte(path)) })
}

// writeBackup writes a file whole or not at all, and durable.
func writeBackup(db *badger.DB, v *vault, path string, taken time.Time) error {
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = file.Cleanup() }()
	txn := db.NewTransaction(false)
	defer txn.Discard()
	out := bufio.NewWriter(file)
	b := newBackup(view{txn: txn, vault: v}, func(piece []byte, _ error) bool {
		_, err := out.Write(piece)
		return err == nil // it is told again by Flush
	})
	if err := errors.Join(guard(func() error { return b.write(taken, 0) }), out.Flush()); err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}
