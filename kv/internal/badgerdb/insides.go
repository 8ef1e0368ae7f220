package badgerdb

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for linkname

	"github.com/dgraph-io/badger/v4"
)

// What this file reaches into is private to Badger, and may change with any version. It was
// read in badgerVersion. With another one, look at each of these, then change the constant:
//
//   - manifest.go: addChanges writes a change to MANIFEST and then calls syncFunc, and
//     levels.go deletes tables only after that. The file is a head of 8 bytes and entries
//     of length, CRC-32C and bytes (manifest.go here).
//   - levels.go: the error of addChanges makes Badger keep the tables of a compaction. To
//     delete a table that MANIFEST does not name must stay a warning (badger#2198): after an
//     undo Badger's memory and MANIFEST differ.
//   - db.go, memtable.go: DB.mt.wal is the WAL in use, with MmapFile.{Fd,Data} and writeAt;
//     only a commit changes it; a WAL is zeros after writeAt.
//   - memtable.go, structs.go: the layout of a WAL (wal.go here); value.go: bitTxn 64,
//     bitFinTxn 128, bitDelete 1.
//   - txn.go, checkSize: what a transaction takes (batch.go here).
//   - The kinds of files in the folder (files.go here).
//
// What it answers, upstream: the lost error of a compaction (levels.go, subcompact: `defer
// inflightBuilders.Done(err)`), for which there is no issue; a SIGBUS on a full disk
// (badger#1279, badger#1578). `make badger-next` runs the tests against the newest Badger.
const badgerVersion = "v4.9.6"

//go:linkname syncFunc github.com/dgraph-io/badger/v4.syncFunc
var syncFunc func(manifest *os.File) error

func init() { syncFunc = syncOrUndo }

// errInsides is what a Badger is refused with that is not as this package knows it.
var errInsides = errors.New("this build of tokend cannot protect the store: it was built with a version of Badger other than " +
	badgerVersion + " that works differently inside; use a released build")

// probe makes sure, once in a process, that Badger calls our syncFunc when it changes MANIFEST. If
// it did not, the guard would be gone without a word. It makes a tiny database in a folder within
// the folder, and removes it.
func probe(dir string) error {
	probed.Lock()
	defer probed.Unlock()
	if probed.done {
		return nil
	}
	scratch := filepath.Join(dir, "probe") // on the same disk, whose room was looked at
	if err := os.RemoveAll(scratch); err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() { result <- probeIn(scratch) }()
	var err error
	select { // Badger tries for as long as the disk refuses
	case err = <-result:
	case <-time.After(30 * time.Second):
		return errors.New("probe Badger: not done after 30 s")
	}
	err = errors.Join(err, os.RemoveAll(scratch))
	probed.done = err == nil
	return err
}

var probed struct {
	sync.Mutex

	done bool
}

func probeIn(dir string) error {
	const small = 64 << 10
	o := badgerOptions(dir, slog.New(slog.DiscardHandler)).WithSyncWrites(false).
		WithMemTableSize(small).WithValueThreshold(small / 100).WithNumMemtables(1).WithNumCompactors(0)
	db, err := badger.Open(o)
	if err != nil {
		return fmt.Errorf("probe Badger: %w", err)
	}
	var calls atomic.Int64
	g := newManifestGuard(dir, manifest{}, func(*os.File) error { calls.Add(1); return nil }, o.Logger.(badgerLog).log)
	g.watch()
	defer g.release()
	err = db.Update(func(txn *badger.Txn) error { return txn.Set([]byte("probe"), []byte("x")) })
	if err := errors.Join(err, db.Close()); err != nil { // which writes a table
		return fmt.Errorf("probe Badger: %w", err)
	}
	if calls.Load() == 0 {
		return fmt.Errorf("%w (syncFunc is not called)", errInsides)
	}
	return nil
}

// usedLog is the WAL that Badger writes next.
type usedLog struct {
	file    *os.File
	content []byte // all of it, mapped
	next    int    // where it goes on; there are zeros from there on
}

// logInUse finds what Badger does not tell. Nothing but a commit changes it.
func logInUse(db *badger.DB) (log usedLog, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (its WAL is not found: %v)", errInsides, p)
		}
	}()
	wal := reflect.ValueOf(db).Elem().FieldByName("mt").Elem().FieldByName("wal").Elem()
	file := wal.FieldByName("MmapFile").Elem()
	return usedLog{
		file:    (*os.File)(file.FieldByName("Fd").UnsafePointer()),
		content: file.FieldByName("Data").Bytes(),
		next:    int(wal.FieldByName("writeAt").Uint()), //nolint:gosec // below 16 MiB
	}, nil
}

// checkLog makes sure that the WAL in use is what this package takes it for.
func checkLog(db *badger.DB, dir string) error {
	log, err := logInUse(db)
	if err != nil {
		return err
	}
	var what string
	switch {
	case log.file == nil || filepath.Ext(log.file.Name()) != walSuffix || !isIn(dir, log.file):
		what = "its WAL is another file"
	case len(log.content) != 2*memtableSize:
		what = "its WAL has another size"
	case log.next < walHead || log.next >= len(log.content) || log.content[log.next] != 0:
		what = "its WAL goes on somewhere else"
	default:
		return nil
	}
	return fmt.Errorf("%w (%s)", errInsides, what)
}

// isIn reports whether an open file is the one of its name in a folder.
func isIn(dir string, file *os.File) bool {
	opened, err1 := file.Stat()
	named, err2 := os.Stat(filepath.Join(dir, filepath.Base(file.Name())))
	return err1 == nil && err2 == nil && os.SameFile(opened, named)
}
