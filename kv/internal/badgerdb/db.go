package badgerdb

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"tokend/internal/durable"
)

// Options say where a database is and what it may do.
type Options struct {
	// Dir is the database's folder. Serve and Fill make it, with mode 0700, if it is
	// missing.
	Dir string

	// MinFree is the reserve, in bytes: with less free space, Commit fails with ErrFull.
	// Less than DefaultMinFree may let a full disk end the process. Zero is no reserve.
	MinFree uint64

	// FreeBytes tells the free space of a folder's disk, in bytes. Nil asks the system.
	FreeBytes func(dir string) (uint64, error)

	// Alarm is how long a commit may wait for the disk before Writable reports it. Zero is
	// 10 s.
	Alarm time.Duration

	// Log gets Badger's warnings and what this package does by itself. Nil is slog.Default.
	Log *slog.Logger

	hooks hooks
}

// hooks let a test have the disk fail.
type hooks struct {
	syncManifest func(*os.File) error
	writeAt      func(file *os.File, b []byte, offset int64) (int, error)
}

func (o Options) withDefaults() Options {
	o.Dir = filepath.Clean(o.Dir)
	if o.FreeBytes == nil {
		o.FreeBytes = freeBytes
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Alarm = cmp.Or(o.Alarm, 10*time.Second)
	if o.hooks.syncManifest == nil {
		o.hooks.syncManifest = (*os.File).Sync
	}
	if o.hooks.writeAt == nil {
		o.hooks.writeAt = (*os.File).WriteAt
	}
	return o
}

// Mode is what a database is opened for.
type Mode int

const (
	// Serve reads and writes. Every commit is synced.
	Serve Mode = iota

	// Inspect reads and changes nothing. A database that was not closed is copied first,
	// since Badger cannot look at what a crash left without clearing it up.
	Inspect

	// Fill writes a new database. Nothing is durable before Close, which syncs every file.
	Fill
)

// DB is an open database. Open makes one.
type DB struct {
	dir     string
	mode    Mode
	log     *slog.Logger
	badger  *badger.DB
	reserve reserve
	guard   *manifestGuard
	sync    func(*os.File) error // of MANIFEST
	drop    func() error         // removes what Inspect copied; nil: nothing
	alarm   time.Duration

	committing sync.Mutex // held for a commit; guards folder and prefault
	folder     *folder
	prefault   prefault

	closed atomic.Bool
	failed atomic.Bool  // a commit has; see ErrUnavailable
	began  atomic.Int64 // when the commit under way began, in Unix milliseconds; 0: none
}

// Open opens a database and reads all of its files once, to find damage. It fails with
// ErrLocked, ErrCorrupt or ErrFull, or with what the file system said. An ErrCorrupt may
// join several errors, one for each damaged file.
func Open(o Options, mode Mode) (*DB, error) {
	o = o.withDefaults()
	db := &DB{
		dir: o.Dir, mode: mode, log: o.Log, alarm: o.Alarm,
		reserve:  reserve{dir: o.Dir, min: o.MinFree, free: o.FreeBytes},
		prefault: prefault{writeAt: o.hooks.writeAt},
		sync:     o.hooks.syncManifest,
	}
	prepare := db.prepareServe
	switch mode {
	case Inspect:
		prepare = db.prepareInspect
	case Fill:
		prepare = db.prepareFill
	case Serve:
	}
	err := prepare()
	if err == nil {
		err = db.openBadger()
	}
	if err != nil {
		return nil, errors.Join(err, db.dropCopy())
	}
	return db, nil
}

func (db *DB) prepareServe() error {
	if err := durable.MakeDir(db.dir); err != nil {
		return err
	}
	release, err := lock(db.dir)
	if err != nil {
		return err
	}
	defer release() // Badger takes the lock itself
	if err := removeEmptyLogs(db.dir); err != nil {
		return err
	}
	if err := db.reserve.checkMemory(); err != nil {
		return err
	}
	mark, err := readCleanMark(db.dir)
	if err != nil {
		return err
	}
	list, err := db.inspectFiles(mark)
	if err != nil {
		return err
	}
	if err := probe(db.dir); err != nil {
		return err
	}
	if err := durable.Remove(cleanMarkPath(db.dir)); err != nil {
		return err
	}
	db.guard = newManifestGuard(db.dir, list, db.sync, db.log)
	return nil
}

func (db *DB) prepareInspect() error {
	release, err := lock(db.dir)
	if err != nil {
		return err
	}
	defer release()
	if err := removeStaleCopy(db.dir); err != nil {
		return err
	}
	mark, err := readCleanMark(db.dir)
	if err != nil {
		return err
	}
	if mark == nil {
		if err := db.workOnCopy(); err != nil {
			return err
		}
	}
	_, err = db.inspectFiles(mark)
	return err
}

func (db *DB) prepareFill() error {
	if err := durable.MakeDir(db.dir); err != nil {
		return err
	}
	if err := db.reserve.check(); err != nil {
		return err
	}
	if err := probe(db.dir); err != nil {
		return err
	}
	db.guard = newManifestGuard(db.dir, manifest{}, db.sync, db.log)
	return nil
}

// inspectFiles finds what is wrong with the files before Badger sees them. It undoes the
// last change of MANIFEST where that would lose something, and gives what is left.
func (db *DB) inspectFiles(mark *cleanMark) (manifest, error) {
	list, err := readManifest(db.dir)
	if err == nil && mark == nil {
		list, err = undoLastChange(db.dir, list, db.log)
	}
	if err == nil {
		if err = checkManifest(db.dir, list); err != nil {
			return list, err
		}
	}
	return list, errors.Join(err, mark.check(db.dir), checkTables(db.dir, list.tables), checkWALs(db.dir))
}

// openBadger opens Badger once nothing is against it.
func (db *DB) openBadger() error {
	o := badgerOptions(db.dir, db.log)
	switch db.mode {
	case Inspect: // of a copy, Badger reads the logs, which takes writing; it merges nothing
		o = o.WithReadOnly(db.drop == nil).WithNumCompactors(0).WithNumLevelZeroTablesStall(math.MaxInt)
	case Fill:
		o = o.WithSyncWrites(false)
	case Serve:
	}
	if db.guard != nil {
		db.guard.watch()
	}
	opened, err := badger.Open(o)
	if err != nil {
		if db.guard != nil {
			db.guard.release()
		}
		return damageUnlessSystem(err)
	}
	db.badger = opened
	if db.mode == Serve {
		if err = checkLog(opened, db.dir); err == nil {
			db.folder, err = openFolder(db.dir)
		}
	}
	if err != nil {
		return errors.Join(err, db.closeBadger())
	}
	return nil
}

func (db *DB) closeBadger() error {
	if db.guard != nil {
		defer db.guard.release()
		close(db.guard.closing)
	}
	return db.badger.Close()
}

// Close closes the database, and leaves a mark that it was closed, unless there was damage.
// It leaves the memory to the next Open where the disk lacks the room to write it out, and
// waits no longer than it is told to (0: for ever): Badger tries for as long as the disk
// refuses. A second Close does nothing.
func (db *DB) Close(wait time.Duration) error {
	if db.closed.Load() {
		return nil
	}
	if db.mode == Serve {
		if err := db.reserve.checkMemory(); err != nil {
			return fmt.Errorf("the store is left as after a crash: %w", err)
		}
	}
	return db.close(wait, true)
}

// CloseAfter closes a database with which something failed, whatever the room on the disk, so
// that nobody is locked out. Damage is not marked as what was closed.
func (db *DB) CloseAfter(failure error) error { return db.close(0, !errors.Is(failure, ErrCorrupt)) }

func (db *DB) close(wait time.Duration, mark bool) error {
	if db.closed.Swap(true) {
		return nil
	}
	if db.mode == Inspect {
		return errors.Join(db.closeBadger(), db.dropCopy())
	}
	if db.mode == Serve {
		defer db.folder.close()
	}
	closed := make(chan error, 1)
	go func() { closed <- db.closeBadger() }()
	var late <-chan time.Time
	if wait > 0 {
		late = time.After(wait)
	}
	select {
	case err := <-closed:
		if err == nil && mark {
			err = writeCleanMark(db.dir)
		}
		return err
	case <-late:
		return fmt.Errorf("not done after %v", wait)
	}
}

func (db *DB) dropCopy() error {
	if db.drop == nil {
		return nil
	}
	return db.drop()
}

// folder is the database's folder, held open: to open it again takes a descriptor, of which
// a busy process may have none left.
type folder struct {
	file   *os.File
	synced time.Time // the folder's mtime when it was last synced
}

func openFolder(path string) (*folder, error) {
	file, err := os.Open(path)
	return &folder{file: file}, err
}

// sync syncs the folder if something was added since the last time: Badger syncs its files,
// but not the folder's entry of a new one. A file system's clock is coarse, so a change of
// this moment counts as news again.
func (f *folder) sync() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if changed := info.ModTime(); changed.Equal(f.synced) && time.Since(changed) > 100*time.Millisecond {
		return nil
	}
	f.synced = info.ModTime()
	return f.file.Sync()
}

func (f *folder) close() { _ = f.file.Close() }
