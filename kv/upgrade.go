package kv

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"tokend/internal/durable"
	"tokend/kv/internal/badgerdb"
)

// schemaUpgrade makes a store of one schema one of the next.
type schemaUpgrade struct {
	// rewrite is nil where only the number changes. It may be begun again after it was
	// broken off, so it must come to the same whatever of it is there already.
	rewrite func(view, *badgerdb.Bulk) error

	// canWait says that this version also serves a store that has not been upgraded yet.
	canWait bool
}

// upgrades are those from each schema to the next, the first from schema 1.
var upgrades = []schemaUpgrade{
	// Schema 2 keeps optional fields of a record that it does not know, so that the nodes of
	// a cluster can be upgraded one by one. A version that knows only schema 1 takes them
	// for damage, and so must not open the store. This version writes none by itself. The first
	// that does must not write them into a store that is still of schema 1, or not let it wait.
	{canWait: true},
}

// schemaVersion is the version of the key space. A store of a higher one is not opened; one
// of a lower one is upgraded.
func schemaVersion() byte { return byte(1 + len(upgrades)) } //nolint:gosec // there are few

// upgrade makes a store one of the latest schema. Before it changes anything it writes a
// backup of the store as it is, beside it: the version that wrote the store restores it.
func upgrade(db *badgerdb.DB, v vault, schema byte, o Options) error {
	if schema == schemaVersion() {
		return nil
	}
	rollbackPath := fmt.Sprintf("%s.schema-%d.backup", o.Dir, schema)
	if err := backupBeforeUpgrade(db, v, rollbackPath, o.Now()); err != nil {
		if canWait(schema) {
			o.Log.Warn("the upgrade of the store waits for the next start: the backup before it cannot be made",
				"schema", schema, "backup", rollbackPath, "err", err)
			return nil
		}
		return fmt.Errorf("back the store up before it is upgraded: %w", err)
	}
	for from := schema; from < schemaVersion(); from++ {
		if err := upgradeOnce(db, v, from); err != nil {
			return fmt.Errorf("upgrade the store from schema %d: %w", from, err)
		}
	}
	o.Log.Warn("the store was upgraded; the version before can restore the backup that was made of it",
		"schema", schema, "backup", rollbackPath)
	return nil
}

// canWait reports whether this version serves a store of an older schema.
func canWait(schema byte) bool {
	for _, u := range upgrades[schema-1:] {
		if !u.canWait {
			return false
		}
	}
	return true
}

func upgradeOnce(db *badgerdb.DB, v vault, from byte) error {
	if rewrite := upgrades[from-1].rewrite; rewrite != nil {
		bulk := db.NewBulk()
		defer bulk.Discard()
		err := db.Read(func(read badgerdb.View) error { return rewrite(view{View: read, vault: v}, bulk) })
		if err == nil {
			err = bulk.Flush()
		}
		if err != nil {
			return err
		}
	}
	return writeAtStart(db,
		badgerdb.Write{Key: []byte(metaSchema), Value: []byte{from + 1}},
		badgerdb.Write{Key: []byte(metaUpgrading)})
}

// backupBeforeUpgrade writes the backup unless an upgrade was begun and broken off: then it is
// there, and the store is not as it was any more.
func backupBeforeUpgrade(db *badgerdb.DB, v vault, path string, taken time.Time) error {
	begun := false
	err := db.Read(func(view badgerdb.View) (err error) {
		begun, err = view.Has([]byte(metaUpgrading))
		return err
	})
	if err != nil || begun {
		return err
	}
	if err := durable.RemoveLeft(path); err != nil { // of a start that was killed
		return err
	}
	if err := db.Writable(); err != nil {
		return err
	}
	if err := writeBackup(db, v, path, taken); err != nil {
		return err
	}
	return writeAtStart(db, badgerdb.Write{Key: []byte(metaUpgrading), Value: []byte(path)})
}

// writeBackup writes a file whole or not at all, and durable.
func writeBackup(db *badgerdb.DB, v vault, path string, taken time.Time) error {
	return durable.Write(path, 0o600, func(w io.Writer) error {
		out := bufio.NewWriterSize(&frugalWriter{w, db}, 1<<20)
		err := db.Read(func(read badgerdb.View) error { return view{View: read, vault: v}.backup(out, taken, 0) })
		return errors.Join(err, out.Flush())
	})
}

// frugalWriter leaves the reserve of a database's disk alone, as far as it writes to that disk.
type frugalWriter struct {
	io.Writer

	db *badgerdb.DB
}

func (w *frugalWriter) Write(p []byte) (int, error) {
	if err := w.db.Writable(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}
