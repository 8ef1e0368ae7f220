package kv_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// A compaction that cannot write what it makes loses nothing. It is undone, and done again
// when it can be. Here there are files already where Badger would make its next tables,
// which it takes for any other failure to make them.
func TestStore_compactionThatCannotWrite(t *testing.T) {
	var log lockedBuffer
	store := kvtest.New(t, func(o *kv.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	do(t, second(store.CreateAll(specs("first", 1))))
	for i := range 2 {
		store.Reopen() // which makes a table
		do(t, second(store.CreateAll(specs(fmt.Sprint("again-", i), 1))))
	}
	store.Reopen()
	const tables = 3 // one less than are merged; the next is made of memory
	var obstacles []string
	for number := tables + 2; number < tables+10; number++ {
		path := filepath.Join(store.Options.Dir, fmt.Sprintf("%06d.sst", number))
		obstacles = append(obstacles, path)
		do(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	acknowledged := 3
	for batch := 0; !strings.Contains(log.String(), "is undone"); batch++ {
		if batch == 100 {
			t.Fatalf("no compaction of %d tokens failed", acknowledged)
		}
		made, err := store.CreateAll(specs(fmt.Sprint("fill-", batch), 1500))
		do(t, err)
		acknowledged += len(made)
	}
	if got := count(t, store); got != acknowledged {
		t.Errorf("%d of %d tokens are listed", got, acknowledged)
	}
	t.Run("and the process is killed", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "store")
		do(t, os.CopyFS(dir, os.DirFS(store.Options.Dir)))
		o := store.Options
		o.Dir = dir
		again, err := kv.Open(o)
		do(t, err)
		do(t, integrity(t, again))
		if got, err := again.Get("first-00000"); err != nil || got.Name == "" {
			t.Error(got, err)
		}
		do(t, again.Close())
	})
	for _, path := range obstacles {
		_ = os.Remove(path)
	}
	list := func() string {
		content, err := os.ReadFile(filepath.Join(store.Options.Dir, "MANIFEST"))
		do(t, err)
		return string(content)
	}
	before := list()
	for deadline := time.Now().Add(time.Minute); len(list()) == len(before); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no compaction succeeds")
		}
	}
	store.Reopen() // after a look at all of it
	if got := count(t, store); got != acknowledged {
		t.Errorf("%d of %d tokens are there again", got, acknowledged)
	}
}

// A list that cannot be synced is as it was before, and tried again: of a new store, and of
// one that has tables.
func TestStore_listThatCannotBeSynced(t *testing.T) {
	store := kvtest.New(t)
	kv.FailToSync(t, store.Options.Dir, 2)
	for i := range 2 {
		do(t, second(store.CreateAll(specs(fmt.Sprint("x", i), 10))))
		store.Reopen() // after a look at all of it
	}
	if got := count(t, store); got != 20 {
		t.Errorf("%d tokens", got)
	}
}

// What a crash has torn off the list's last entry is not put back.
func TestStore_listThatWasTorn(t *testing.T) {
	store := kvtest.New(t)
	do(t, second(store.CreateAll(specs("x", 10))))
	store.Reopen() // which makes a table
	do(t, second(store.CreateAll(specs("y", 10))))
	o := crashedWith(t, store, nil)
	path := filepath.Join(o.Dir, "MANIFEST")
	info, err := os.Stat(path)
	do(t, err)
	do(t, os.Truncate(path, info.Size()-3))
	kv.FailToSync(t, o.Dir, 1)
	for range 2 {
		opened, err := kv.Open(o)
		do(t, err)
		do(t, integrity(t, opened))
		if _, err := opened.Get("y-00009"); err != nil {
			t.Error(err)
		}
		do(t, opened.Close())
	}
}

// Badger may leave out a deletion of what is nowhere below. If it loses another one, what
// was deleted would be there again.
func TestStore_deletionThatIsLost(t *testing.T) {
	store := kvtest.New(t)
	do(t, second(store.CreateAll(specs("x", 10))))
	store.Reopen() // which makes a table
	do(t, second(store.Delete("x-00003")))
	store.Reopen()
	do(t, second(store.CreateAll(specs("y", 1))))
	o := crashedWith(t, store, []byte{0x0a, 4, 0x08, 2, 0x10, 1}) // ManifestChangeSet: delete 2
	opened, err := kv.Open(o)
	do(t, err)
	defer func() { do(t, opened.Close()) }()
	if _, err := opened.Get("x-00003"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("it is there again: %v", err)
	}
	do(t, integrity(t, opened))
}

// A process may be killed, or the power cut, between Badger's writing of a change of its
// list and our look at it.
func TestOpen_changeThatNobodyLookedAt(t *testing.T) {
	store := kvtest.New(t)
	do(t, second(store.CreateAll(specs("first", 10))))
	store.Reopen() // which makes a table
	do(t, second(store.CreateAll(specs("second", 10))))
	store.Reopen()
	do(t, second(store.CreateAll(specs("third", 10))))
	for what, change := range map[string][]byte{
		"that loses a table":  {0x0a, 4, 0x08, 1, 0x10, 1}, // ManifestChangeSet: delete 1
		"that loses all":      {0x0a, 4, 0x08, 1, 0x10, 1, 0x0a, 4, 0x08, 2, 0x10, 1},
		"that makes an older": {0x0a, 4, 0x08, 2, 0x10, 1, 0x0a, 6, 0x08, 3, 0x10, 0, 0x18, 6}, // and create 3, at level 6
	} {
		t.Run(what, func(t *testing.T) {
			o := crashedWith(t, store, change)
			one, err := os.ReadFile(filepath.Join(o.Dir, "000001.sst"))
			do(t, err)
			do(t, os.WriteFile(filepath.Join(o.Dir, "000003.sst"), one, 0o600))
			opened, err := kv.Open(o)
			do(t, err)
			defer func() { do(t, opened.Close()) }()
			do(t, integrity(t, opened))
			snapshot, err := opened.Snapshot()
			do(t, err)
			defer snapshot.Close()
			if got := len(names(t, snapshot)); got != 30 {
				t.Errorf("%d of 30 tokens", got)
			}
		})
	}
}

// crashedWith is a copy of a store as after a kill, with another change of its list of
// tables.
func crashedWith(t *testing.T, store *kvtest.Store, change []byte) kv.Options {
	t.Helper()
	o := store.Options
	o.Dir = filepath.Join(t.TempDir(), "store")
	do(t, os.CopyFS(o.Dir, os.DirFS(store.Options.Dir)))
	path := filepath.Join(o.Dir, "MANIFEST")
	list, err := os.ReadFile(path)
	do(t, err)
	list = binary.BigEndian.AppendUint32(list, uint32(len(change)))
	list = binary.BigEndian.AppendUint32(list, crc32.Checksum(change, crc32.MakeTable(crc32.Castagnoli)))
	do(t, os.WriteFile(path, append(list, change...), 0o600))
	return o
}
