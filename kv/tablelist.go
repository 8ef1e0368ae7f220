package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
	_ "unsafe" // for linkname

	"github.com/dgraph-io/badger/v4"
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
			return l.(*tableList).admit(manifest)
		}
		return manifest.Sync()
	}
}

var syncManifest = (*os.File).Sync // which a test lets fail

var tableLists sync.Map // of *tableList, by the path of MANIFEST

// tableList is the list of a database's tables, of which no change is admitted that loses
// a record. Badger changes it in one goroutine at a time.
type tableList struct {
	dir     string
	log     *slog.Logger
	tables  map[uint64]badger.TableManifest // when a change was last admitted
	content []byte                          // of MANIFEST, then; none before the first in a new folder
	undone  bool                            // a change was

	// Badger tries again what was not admitted. It waits for a time before that, or until
	// this is closed.
	closing chan struct{}
}

// watchTables looks at every change of a folder's list of tables, from before Badger opens
// the folder until it has closed it, or has failed to open it.
func watchTables(dir string, log *slog.Logger) (*tableList, error) {
	l := &tableList{dir: dir, log: log, closing: make(chan struct{})}
	file, err := os.Open(l.path())
	switch {
	case errors.Is(err, os.ErrNotExist): // Badger makes one
	case err != nil:
		return nil, err
	default:
		defer func() { _ = file.Close() }()
		var end int64
		if l.tables, end, err = replayFile(file); err == nil {
			l.content, err = readAll(file)
		}
		if err != nil {
			return nil, err
		}
		l.content = l.content[:end] // Badger cuts off what a crash has torn
	}
	tableLists.Store(l.path(), l)
	return l, nil
}

func (l *tableList) path() string { return filepath.Join(l.dir, "MANIFEST") }

func (l *tableList) forget() { tableLists.CompareAndDelete(l.path(), l) }

// close closes the database and ends the watch.
func (l *tableList) close(db *badger.DB) error {
	close(l.closing)
	defer l.forget()
	return db.Close()
}

// admit syncs a change of the list that was written, or takes it back if something is lost
// by it. Badger then keeps the tables that it has, and may succeed when it tries again.
func (l *tableList) admit(manifest *os.File) error {
	content, err := readAll(manifest)
	if err == nil && l.content == nil {
		l.content = content[:lastEntry(content)]
	}
	var tables map[uint64]badger.TableManifest
	if err == nil {
		tables, err = replayOpened(manifest)
	}
	if err == nil {
		err = l.verify(tables, content)
	}
	if err == nil {
		err = syncManifest(manifest)
	}
	if err == nil {
		l.tables, l.content = tables, content
		return nil
	}
	l.undone = true
	if l.content != nil {
		err = errors.Join(err, overwrite(manifest, l.content))
	}
	l.log.Error("a change of the list of tables is undone, and tried again", "err", err)
	const pause = 5 * time.Second
	select {
	case <-l.closing:
	case <-time.After(pause):
	}
	return err
}

// verify looks at what the list would be. Badger's own idea of it is wrong after a change
// was undone; once in ten thousand changes it writes that, in place of what was there.
func (l *tableList) verify(tables map[uint64]badger.TableManifest, content []byte) error {
	if l.undone && !bytes.HasPrefix(content, l.content) {
		return errors.New("MANIFEST is written anew after a change was undone")
	}
	return verifyChange(l.dir, l.tables, tables)
}

func readAll(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	content := make([]byte, info.Size())
	_, err = file.ReadAt(content, 0)
	return content, err
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
