package kv

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sys/unix"
)

// FormatValue makes a value of given random bits.
var FormatValue = formatValue

// Checksum is the checksum of a value's random digits.
var Checksum = checksum

// SyncsWrites reports whether Badger is told to sync, which no test that only
// kills a process can tell: the kernel keeps what was written.
func SyncsWrites() bool { return badgerOptions(Options{}).SyncWrites }

// Gate has the writer wait until it is opened.
func (s *Store) Gate() (open func()) {
	entered, opened := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.change(func(view) ([]change, error) {
			close(entered)
			<-opened
			return nil, nil
		})
	}()
	<-entered
	return func() { close(opened) }
}

// MaxWaiting is the length of the queue.
const MaxWaiting = maxWaiting

// Waiting is how many changes are in the queue.
func (s *Store) Waiting() int { return len(s.writer.queue) }

// Panic has a change panic in the writer.
func (s *Store) Panic() error {
	return s.change(func(view) ([]change, error) { panic("on purpose") })
}

// Recode decodes a stored record and encodes it again.
func Recode(raw []byte) ([]byte, error) {
	stored, f, err := decodeRecord(raw)
	if err != nil {
		return nil, err
	}
	encoded, err := encoding.Marshal(f)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(encoded, stored.Fields) {
		return nil, nil // readable, but not in the one form that we write
	}
	return encodeRecord(stored), nil
}

// SampleRecord is a record as it is stored.
func SampleRecord() []byte {
	v := newVault(make([]byte, keySize))
	spec := Spec{Name: "sample", Active: true, Write: true, ExpiresAt: fromMilli(1893456000000)}
	token, err := New{Spec: spec}.token(fromMilli(1760000000000))
	if err != nil {
		panic(err)
	}
	return v.seal(record{Token: token, value: formatValue("tkd", [32]byte{1, 2, 3}), valueMade: token.CreatedAt}).sealed
}

// Lookup is the token that has a value, valid or not, from the disk.
func (s *Store) Lookup(value Value) (token Token, err error) {
	err = s.operate(func() error {
		r, err := s.lookup(s.vault.hash([]byte(value.Reveal())))
		if err != nil {
			return err
		}
		err = s.index.addUses(&r, s.uses)
		token = r.Token
		return err
	})
	return token, err
}

// AwaitFilled waits until the index has been offered everything.
func (s *Store) AwaitFilled() { <-s.filled }

// Indexed is how many tokens the index holds.
func (s *Store) Indexed() int { return int(s.index.count.Load()) }

// Holds reports whether the index holds a value.
func (s *Store) Holds(value Value) bool {
	_, ok := s.index.find(s.fingerprint(value))
	return ok
}

func (s *Store) fingerprint(value Value) fingerprint {
	return s.vault.hash([]byte(value.Reveal())).fingerprint()
}

// Forget drops a value from the index, as if there had been no room for it.
func (s *Store) Forget(value Value) {
	<-s.filled
	s.index.overflowed.Store(true)
	s.index.remove(s.fingerprint(value), 0)
}

// SlowReader reads the record of a value that the index does not hold, and
// gives what is to be done with it afterwards.
func (s *Store) SlowReader(value Value) (offer func()) {
	since := s.index.changes.Load()
	hash := s.vault.hash([]byte(value.Reveal()))
	r, err := s.lookup(hash)
	if err != nil {
		panic(err)
	}
	return func() { s.index.offer(&r, hash, since, true) }
}

// Moments are a multiset of milliseconds.
type Moments struct{ moments }

func (m *Moments) Add(at int64) { m.add(at) }

func (m *Moments) Remove(at int64) { m.remove(at) }

func (m *Moments) UpTo(at int64) int { return m.upTo(at) }

// ReadUses reads last uses as they are stored, and gives how many there are.
func ReadUses(raw []byte) (int, error) {
	u, err := decodeUses(raw)
	for i := range u.len() {
		tag, at := u.at(i)
		if first := u.of(tag); first != at && i == 0 {
			panic("the first use is not found")
		}
	}
	return u.len(), err
}

// CheckClosed holds a folder against what its CLOSED says.
var CheckClosed = checkClosed

// WithUpgrade adds a schema, to which a store comes by writing each of its records
// again, unless the upgrade fails. Until it is taken away again, this is a newer version.
func WithUpgrade(failure func() error) (older func()) {
	upgrades = append(upgrades, func(v view, batch *badger.WriteBatch) error {
		it := v.iterate(recordPrefix)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			raw, err := it.Item().ValueCopy(nil)
			if err == nil {
				err = batch.Set(it.Item().KeyCopy(nil), raw)
			}
			if err != nil {
				return err
			}
		}
		return failure()
	})
	return func() { upgrades = upgrades[:len(upgrades)-1] }
}

// VerifyLog looks for damage in a log.
var VerifyLog = verifyLog

// ListedTables reads the list of tables in a folder.
func ListedTables(dir string) (tables int, err error) {
	listed, err := listedTables(dir)
	return len(listed), err
}

// VerifyTable looks for damage in a table.
func VerifyTable(path string, compression uint32) error {
	return verifyTable(path, options.CompressionType(compression))
}

// ReadTable reads all of a table as Badger does.
func ReadTable(t testing.TB, path string, compression uint32) {
	t.Helper()
	file, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	read, err := table.OpenTable(file, table.Options{
		Compression: options.CompressionType(compression), BlockSize: badgerOptions(Options{}).BlockSize, ChkMode: options.OnTableAndBlockRead,
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

// LogOverhead is more than what an entry of the log takes beside its key and value.
const LogOverhead = logOverhead

// LogTaken writes a value under keys, or removes them, and gives how many bytes of the log
// were asked of the disk, and taken with an empty header behind them.
func (s *Store) LogTaken(keys [][]byte, value []byte) (asked, taken int) {
	const header = 22
	g := newGroup(s.db)
	for _, key := range keys {
		g.write([]write{{key, value}})
	}
	before := logInUse(s.db).next
	if err := errors.Join(g.failure, g.commit()); err != nil {
		panic(err)
	}
	after := logInUse(s.db).next
	return g.logged, after - before + header
}

// UndoLastChange takes the last change of a folder's list of tables back, if something
// would be lost by it.
func UndoLastChange(dir string) error { return undoLastChange(dir, slog.New(slog.DiscardHandler)) }

// AwaitNoOutcome waits for a change that never ends.
func AwaitNoOutcome() error { return (&operation{done: make(chan struct{})}).await() }

// SetCommitBegan has a commit be under way since a moment, or none since zero.
func (s *Store) SetCommitBegan(at int64) { s.writer.began.Store(at) }

// FailToSync lets the list of a folder's tables fail to be synced some times.
func FailToSync(t *testing.T, dir string, times int32) {
	t.Helper()
	var left atomic.Int32
	left.Store(times)
	syncManifest = func(manifest *os.File) error {
		if filepath.Dir(manifest.Name()) == dir && left.Add(-1) >= 0 {
			return errors.New("on purpose")
		}
		return manifest.Sync()
	}
	t.Cleanup(func() {
		syncManifest = (*os.File).Sync
		if left.Load() >= 0 {
			t.Error("it was not synced so often")
		}
	})
}

// FillDisk has the disk take nothing for a log any more, or again.
func FillDisk(isFull bool) {
	writeAt = (*os.File).WriteAt
	if isFull {
		writeAt = func(*os.File, []byte, int64) (int, error) { return 0, unix.ENOSPC }
	}
}
