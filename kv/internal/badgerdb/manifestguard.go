package badgerdb

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Badger 4.9.6 loses what a compaction cannot write or read. It forgets the error of a
// table that it could not make (levels.go, subcompact: `defer inflightBuilders.Done(err)`
// takes err while it is nil), it takes a damaged block for the end of a table, and then it
// deletes the tables that it has merged. A full disk, a failing disk or a process without
// file descriptors would cost all tokens. So every change of MANIFEST is checked here
// before it counts: after Badger has written it and before Badger syncs it. After the sync
// Badger deletes tables.

// manifestGuard admits no change of MANIFEST that loses a record. Badger changes MANIFEST in
// one goroutine at a time.
type manifestGuard struct {
	dir    string
	log    *slog.Logger
	sync   func(*os.File) error
	last   manifest // what was last admitted; without content before the first change in a new folder
	undone bool     // a change was

	// Badger tries again what was not admitted. The guard pauses before that, until this
	// is closed.
	closing chan struct{}
}

func newManifestGuard(dir string, last manifest, sync func(*os.File) error, log *slog.Logger) *manifestGuard {
	return &manifestGuard{dir: dir, last: last, sync: sync, log: log, closing: make(chan struct{})}
}

// guards are those of open databases, by the path of MANIFEST.
var guards sync.Map

// watch begins before Badger opens the folder, and release ends it, when Badger has closed
// the folder or has failed to open it.
func (g *manifestGuard) watch()   { guards.Store(manifestPath(g.dir), g) }
func (g *manifestGuard) release() { guards.CompareAndDelete(manifestPath(g.dir), g) }

// syncOrUndo is called by Badger to sync a MANIFEST that it has changed.
func syncOrUndo(file *os.File) error {
	if g, ok := guards.Load(file.Name()); ok {
		return g.(*manifestGuard).checkAndSync(file)
	}
	return file.Sync()
}

// checkAndSync syncs a change, or undoes it if something would be lost by it. Badger then keeps
// the tables that it has, and may succeed when it tries again.
func (g *manifestGuard) checkAndSync(file *os.File) error {
	content, err := readAll(file)
	if err == nil && g.last.content == nil {
		g.last.content = content[:lastEntry(content)]
	}
	var next manifest
	if err == nil {
		next, err = parseFile(file)
	}
	if err == nil {
		err = g.check(next)
	}
	if err == nil {
		err = g.sync(file)
	}
	if err == nil {
		g.last = next
		return nil
	}
	g.undone = true
	if g.last.content != nil {
		err = errors.Join(err, overwrite(file, g.last.content))
	}
	g.log.Error("a change of MANIFEST was undone; Badger tries again", "err", err)
	const pause = 5 * time.Second
	select {
	case <-g.closing:
	case <-time.After(pause):
	}
	return err
}

// check looks at what MANIFEST would be. After an undo Badger's own idea of it is wrong;
// once in ten thousand changes Badger writes that idea in place of what was there.
func (g *manifestGuard) check(next manifest) error {
	if g.undone && !bytes.HasPrefix(next.content, g.last.content) {
		return errors.New("MANIFEST is rewritten after a change was undone")
	}
	return checkChange(g.dir, g.last.tables, next.tables)
}

// undoLastChange is for a process that was killed before it had checked the last change of
// MANIFEST. If the change would lose something, and all that it removed is still there, it
// is undone. It gives what MANIFEST is then.
func undoLastChange(dir string, m manifest, log *slog.Logger) (manifest, error) {
	if m.content == nil {
		return m, nil
	}
	before, err := parse(m.content[:lastEntry(m.content)])
	removed := before.tables.without(m.tables)
	if err != nil || len(removed) == 0 || checkTables(dir, removed) != nil {
		return m, nil //nolint:nilerr // there is nothing to go back to; what is damaged is found later
	}
	lost := checkChange(dir, before.tables, m.tables)
	if lost == nil {
		return m, nil
	}
	log.Warn("the last change of MANIFEST was undone", "err", lost)
	file, err := os.OpenFile(manifestPath(dir), os.O_RDWR, 0)
	if err != nil {
		return m, err
	}
	return before, errors.Join(overwrite(file, before.content), file.Close())
}
