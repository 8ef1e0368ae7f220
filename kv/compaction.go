package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
	_ "unsafe" // for linkname

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// Badger 4.9.6 loses what a compaction cannot write or read: it forgets the error of a
// table that it could not make (levels.go, subcompact: `defer inflightBuilders.Done(err)`
// takes err while it is nil), it takes a damaged block for the end of a table, and then it
// deletes the tables that it has merged. A disk that is full, or that fails, or a process
// without file descriptors would cost all tokens. So every change of the list of tables is
// looked at here before it counts: between its being written to MANIFEST and its being
// synced, which Badger does through a variable.

//go:linkname syncFunc github.com/dgraph-io/badger/v4.syncFunc
var syncFunc func(manifest *os.File) error

func init() {
	syncFunc = func(manifest *os.File) error {
		if l, ok := tableLists.Load(manifest.Name()); ok {
			if err := l.(*tableList).admit(manifest); err != nil {
				return err
			}
		}
		return manifest.Sync()
	}
}

var tableLists sync.Map // of *tableList, by the path of MANIFEST

// tableList is the list of a database's tables, of which no change is admitted that loses
// a record. Badger changes it in one goroutine at a time.
type tableList struct {
	dir     string
	log     *slog.Logger
	tables  map[uint64]badger.TableManifest // when a change was last admitted
	content []byte                          // of MANIFEST, then

	// Badger tries again what was not admitted. It waits for a time before that, or until
	// this is closed.
	closing chan struct{}
}

// watchTables looks at every change of a folder's list of tables, from before Badger opens
// the folder until it has closed it.
func watchTables(dir string, log *slog.Logger) (*tableList, error) {
	l := &tableList{dir: dir, log: log, closing: make(chan struct{})}
	if err := l.read(); err != nil {
		return nil, err
	}
	tableLists.Store(l.path(), l)
	return l, nil
}

func (l *tableList) path() string { return filepath.Join(l.dir, "MANIFEST") }

// close closes the database and ends the watch.
func (l *tableList) close(db *badger.DB) error {
	close(l.closing)
	err := db.Close()
	tableLists.CompareAndDelete(l.path(), l)
	return err
}

func (l *tableList) read() error {
	tables, err := listedTables(l.dir)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(l.path())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l.tables, l.content = tables, content
	return nil
}

// admit takes a change of the list that is written back, unless nothing is lost by it.
// Badger then keeps the tables that it has, and may succeed when it tries again.
func (l *tableList) admit(manifest *os.File) error {
	tables, content := l.tables, l.content
	err := l.read()
	if err == nil {
		err = verifyChange(l.dir, tables, l.tables)
	}
	if err == nil {
		return nil
	}
	l.tables, l.content = tables, content
	err = errors.Join(err, overwrite(manifest, content))
	l.log.Error("a change of the list of tables is undone, and tried again", "err", err)
	const pause = 5 * time.Second
	select {
	case <-l.closing:
	case <-time.After(pause):
	}
	return err
}

// undoLastChange is for a process that was killed before it had looked at the last change of
// the list: where something would be lost by it, and all is still there that it removed, it
// is taken back.
func undoLastChange(dir string, log *slog.Logger) error {
	path := filepath.Join(dir, "MANIFEST")
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	content = content[:lastEntry(content)]
	before, err1 := replay(content)
	after, err2 := listedTables(dir)
	removed := missing(before, after)
	isSound := errors.Join(err1, err2, verifyListed(dir, removed)) == nil
	if !isSound || len(removed) == 0 { // what is damaged is found later
		return nil
	}
	lost := verifyChange(dir, before, after)
	if lost == nil {
		return nil
	}
	log.Warn("the last change of the list of tables is undone", "err", lost)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(overwrite(file, content), file.Close())
}

// lastEntry is where the last entry of a MANIFEST begins. Behind a head of 8 bytes an entry
// is its length and its checksum, 32 bits each, and the bytes.
func lastEntry(content []byte) (last int) {
	const head = 8
	for next := head; next+head <= len(content); {
		last = next
		next += head + int(binary.BigEndian.Uint32(content[next:]))
	}
	return last
}

// overwrite gives a file another content, behind which it goes on. It needs no room on the
// disk where the file begins with that.
func overwrite(file *os.File, content []byte) error {
	if _, err := file.WriteAt(content, 0); err != nil {
		return err
	}
	end := int64(len(content))
	_, err := file.Seek(end, io.SeekStart)
	return errors.Join(err, file.Truncate(end), file.Sync())
}

// verifyChange makes sure that the tables which a change of the list added hold what those
// did that it removed.
func verifyChange(dir string, before, after map[uint64]badger.TableManifest) error {
	if len(missing(before, after)) == 0 { // a new one was made of memory, and its log is still there
		return nil
	}
	return recoverRead(func() (err error) {
		removed, err := openTables(dir, missing(before, after))
		defer func() { err = errors.Join(err, closeTables(removed)) }()
		if err != nil {
			return err
		}
		added, err := openTables(dir, missing(after, before))
		defer func() { err = errors.Join(err, closeTables(added)) }()
		if err != nil {
			return err
		}
		return verifyMerge(removed, added)
	})
}

// missing are the tables of one list that the other lacks.
func missing(one, other map[uint64]badger.TableManifest) map[uint64]badger.TableManifest {
	found := map[uint64]badger.TableManifest{}
	for number, about := range one {
		if _, ok := other[number]; !ok {
			found[number] = about
		}
	}
	return found
}

// openTables gives those that it has opened also where it fails.
func openTables(dir string, listed map[uint64]badger.TableManifest) (tables []*table.Table, err error) {
	for number, about := range listed {
		t, err := openTable(table.NewFilename(number, dir), about.Compression)
		if err != nil {
			return tables, err
		}
		tables = append(tables, t)
		if err := t.VerifyChecksum(); err != nil { // an iterator would end there, and say nothing
			return tables, err
		}
	}
	return tables, nil
}

func closeTables(tables []*table.Table) (err error) {
	for _, t := range tables {
		err = errors.Join(err, t.Close(-1))
	}
	return err
}

// verifyMerge makes sure that the latest version of each key in some tables is in those
// that were made of them, as it was. A deletion need not be.
func verifyMerge(removed, added []*table.Table) error {
	const isDeletion = 1 // in an entry's Meta
	in, out := iterate(removed), iterate(added)
	defer func() { _ = errors.Join(in.Close(), out.Close()) }()
	var last []byte
	out.Rewind()
	for in.Rewind(); in.Valid(); in.Next() {
		if y.SameKey(in.Key(), last) { // an older version
			continue
		}
		last = append(last[:0], in.Key()...)
		entry := in.Value()
		if entry.Meta&isDeletion != 0 {
			continue
		}
		for out.Valid() && y.CompareKeys(out.Key(), last) < 0 {
			out.Next()
		}
		if !out.Valid() || !bytes.Equal(out.Key(), last) || !bytes.Equal(out.Value().Value, entry.Value) {
			return fmt.Errorf("of %d tables Badger made %d that lack something", len(removed), len(added))
		}
	}
	return nil
}

// iterate goes through tables in the order of keys, the latest version of each first.
func iterate(tables []*table.Table) y.Iterator {
	all := make([]y.Iterator, len(tables))
	for i, t := range tables {
		all[i] = t.NewIterator(table.NOCACHE)
	}
	if len(all) == 0 {
		return y.Iterator(table.NewConcatIterator(nil, 0))
	}
	return table.NewMergeIterator(all, false)
}
