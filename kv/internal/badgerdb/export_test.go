package badgerdb

import (
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sys/unix"
)

const (
	// BadgerVersion is the version whose insides are known.
	BadgerVersion = badgerVersion

	// WALOverhead is more than what an entry of the WAL takes beside its key and value.
	WALOverhead = walOverhead
)

var (
	ErrInsides = errInsides
	CheckWAL   = checkWAL
	Probe      = probeIn
)

// SyncsWrites reports whether Badger is told to sync, which no test that only kills a process
// can tell: the kernel keeps what was written.
func (db *DB) SyncsWrites() bool { return db.badger.Opts().SyncWrites }

// FailToSync lets MANIFEST fail to be synced some times.
func (o *Options) FailToSync(t testing.TB, times int32) {
	t.Helper()
	var left atomic.Int32
	left.Store(times)
	o.hooks.syncManifest = func(file *os.File) error {
		if left.Add(-1) >= 0 {
			return errors.New("on purpose")
		}
		return file.Sync()
	}
	t.Cleanup(func() {
		if left.Load() >= 0 {
			t.Error("it was not synced so often")
		}
	})
}

// FullWhile has the disk take nothing for a WAL while a switch is on.
func (o *Options) FullWhile(isFull *atomic.Bool) {
	o.hooks.writeAt = func(file *os.File, b []byte, offset int64) (int, error) {
		if isFull.Load() {
			return 0, unix.ENOSPC
		}
		return file.WriteAt(b, offset)
	}
}

// HangWhile has the disk not answer for a WAL until a channel is closed.
func (o *Options) HangWhile(hangs <-chan struct{}) {
	o.hooks.writeAt = func(file *os.File, b []byte, offset int64) (int, error) {
		<-hangs
		return file.WriteAt(b, offset)
	}
}

// HasCleanMark reports whether a folder is as it was when it was closed.
func HasCleanMark(dir string) (bool, error) {
	mark, err := readCleanMark(dir)
	return mark != nil, errors.Join(err, mark.check(dir))
}

// Tables is how many tables the MANIFEST of a folder names.
func Tables(dir string) (int, error) {
	m, err := readManifest(dir)
	return len(m.tables), err
}

// UndoLastChange undoes the last change of a folder's MANIFEST, if something would be lost by
// it.
func UndoLastChange(dir string) error {
	m, err := readManifest(dir)
	if err != nil {
		return nil //nolint:nilerr // damage is found before
	}
	_, err = undoLastChange(dir, m, slog.New(slog.DiscardHandler))
	return err
}

// CheckTable looks for damage in a table.
func CheckTable(path string, compression uint32) error {
	return checkTable(path, options.CompressionType(compression))
}

// ReadTable reads all of a table as Badger does.
func ReadTable(t testing.TB, path string, compression uint32) {
	t.Helper()
	file, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	read, err := table.OpenTable(file, table.Options{
		Compression: options.CompressionType(compression), BlockSize: badgerOptions("", nil).BlockSize, ChkMode: options.OnTableAndBlockRead,
	})
	if err != nil {
		t.Fatal(err)
	}
	it := read.NewIterator(0)
	for it.Rewind(); it.Valid(); it.Next() {
		_, _ = it.Key(), it.Value()
	}
	if err := errors.Join(it.Close(), read.Close(-1)); err != nil {
		t.Error(err)
	}
}

// Logged commits a batch, and gives how many bytes of the WAL were asked of the disk, and
// taken with an empty header after them.
func (db *DB) Logged(t testing.TB, b *Batch) (asked, taken int) {
	t.Helper()
	const header = 22
	before, err1 := logInUse(db.badger)
	err2 := db.Commit(b)
	after, err3 := logInUse(db.badger)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return b.logged, after.next - before.next + header
}

// WithoutHook has Badger sync MANIFEST by itself, as a version would that knows no hook.
func WithoutHook() (restore func()) {
	hook := syncFunc
	syncFunc = (*os.File).Sync
	return func() { syncFunc = hook }
}
