package badgerdb_test

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

	"tokend/internal/testkit"
	"tokend/kv/internal/badgerdb"
)

// A compaction that cannot write what it makes loses nothing. It is undone, and done again
// when it can be. Here there are files already where Badger would make its next tables, which
// it takes for any other failure to make them.
func TestManifest_compactionThatCannotWrite(t *testing.T) {
	t.Parallel()
	var log testkit.Buffer
	o := options(t)
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	db := open(t, o)
	put(t, db, "first", 1)
	for i := range 2 {
		db = reopened(t, db, o)
		put(t, db, fmt.Sprint("again-", i), 1)
	}
	db = reopened(t, db, o)
	const tables = 3 // one less than are merged; the next is made of memory
	var obstacles []string
	for number := tables + 2; number < tables+10; number++ {
		path := filepath.Join(o.Dir, fmt.Sprintf("%06d.sst", number))
		obstacles = append(obstacles, path)
		testkit.Do(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	acknowledged := 3
	for batch := 0; !strings.Contains(log.String(), "was undone"); batch++ {
		if batch == 200 {
			t.Fatalf("no compaction of %d entries failed", acknowledged)
		}
		put(t, db, fmt.Sprint("fill-", batch), 3000)
		acknowledged += 3000
	}
	if got := count(t, db); got != acknowledged {
		t.Errorf("%d of %d entries", got, acknowledged)
	}
	t.Run("and the process is killed", func(t *testing.T) {
		killed := o
		killed.Dir = filepath.Join(t.TempDir(), "db")
		testkit.Do(t, os.CopyFS(killed.Dir, os.DirFS(o.Dir)))
		if got := count(t, open(t, killed)); got < acknowledged-3000 { // the copy is not of one moment
			t.Errorf("%d of %d entries", got, acknowledged)
		}
	})
	for _, path := range obstacles {
		_ = os.Remove(path)
	}
	before := manifest(t, o)
	if !testkit.Eventually(func() bool { return manifest(t, o) != before }, true) {
		t.Fatal("no compaction succeeds")
	}
	if got := count(t, reopened(t, db, o)); got != acknowledged {
		t.Errorf("%d of %d entries are there again", got, acknowledged)
	}
}

func manifest(t testing.TB, o badgerdb.Options) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(o.Dir, "MANIFEST"))
	testkit.Do(t, err)
	return string(content)
}

// A MANIFEST that cannot be synced is as it was before, and tried again: of a new database,
// and of one that has tables.
func TestManifest_thatCannotBeSynced(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.FailToSync(t, 2)
	db := open(t, o)
	for i := range 2 {
		put(t, db, fmt.Sprint("x", i), 10)
		db = reopened(t, db, o)
	}
	if got := count(t, db); got != 20 {
		t.Errorf("%d entries", got)
	}
}

// What a crash has torn off the last entry of MANIFEST is not put back.
func TestManifest_thatWasTorn(t *testing.T) {
	t.Parallel()
	o := options(t)
	db := open(t, o)
	put(t, db, "x", 10)
	db = reopened(t, db, o)
	put(t, db, "y", 10)
	crashed := crashedWith(t, o, nil)
	path := filepath.Join(crashed.Dir, "MANIFEST")
	info, err := os.Stat(path)
	testkit.Do(t, err)
	testkit.Do(t, os.Truncate(path, info.Size()-3))
	crashed.FailToSync(t, 1)
	for range 2 {
		db := open(t, crashed)
		if got := count(t, db); got != 20 {
			t.Errorf("%d entries", got)
		}
		testkit.Do(t, db.Close(0))
	}
}

// Badger may leave out a deletion of what is nowhere below. If it loses another one, what was
// deleted would be there again.
func TestManifest_lostDeletion(t *testing.T) {
	t.Parallel()
	o := options(t)
	db := open(t, o)
	put(t, db, "x", 10)
	db = reopened(t, db, o) // which makes a table
	remove(t, db, key("x", 3))
	db = reopened(t, db, o)
	put(t, db, "y", 1)
	crashed := crashedWith(t, o, []byte{0x0a, 4, 0x08, 2, 0x10, 1}) // ManifestChangeSet: delete 2
	if has(t, open(t, crashed), key("x", 3)) {
		t.Error("it is there again")
	}
}

// A process may be killed, or the power cut, between Badger's writing of a change of MANIFEST
// and the check of it.
func TestManifest_uncheckedChange(t *testing.T) {
	t.Parallel()
	o := options(t)
	db := open(t, o)
	put(t, db, "first", 10)
	db = reopened(t, db, o) // which makes a table
	put(t, db, "second", 10)
	db = reopened(t, db, o)
	put(t, db, "third", 10)
	for what, change := range map[string][]byte{
		"that loses a table":  {0x0a, 4, 0x08, 1, 0x10, 1}, // ManifestChangeSet: delete 1
		"that loses all":      {0x0a, 4, 0x08, 1, 0x10, 1, 0x0a, 4, 0x08, 2, 0x10, 1},
		"that makes an older": {0x0a, 4, 0x08, 2, 0x10, 1, 0x0a, 6, 0x08, 3, 0x10, 0, 0x18, 6}, // and create 3, at level 6
	} {
		t.Run(what, func(t *testing.T) {
			crashed := crashedWith(t, o, change)
			one, err := os.ReadFile(filepath.Join(crashed.Dir, "000001.sst"))
			testkit.Do(t, err)
			testkit.Do(t, os.WriteFile(filepath.Join(crashed.Dir, "000003.sst"), one, 0o600))
			if got := count(t, open(t, crashed)); got != 30 {
				t.Errorf("%d of 30 entries", got)
			}
		})
	}
	_ = db
}

// A start that is refused leaves a database that was closed as one that was closed. Without
// the mark, a MANIFEST of no table beside tables is damage, too.
func TestManifest_ofNoTable(t *testing.T) {
	t.Parallel()
	o := options(t)
	db := open(t, o)
	put(t, db, "x", 10)
	testkit.Do(t, db.Close(0))
	if marked, err := badgerdb.HasCleanMark(o.Dir); !marked || err != nil {
		t.Errorf("%v, %v", marked, err)
	}
	testkit.Do(t, os.Remove(filepath.Join(o.Dir, "CLOSED")))
	testkit.Do(t, os.Truncate(filepath.Join(o.Dir, "MANIFEST"), 8))
	if _, err := badgerdb.Open(o, badgerdb.Serve); !errors.Is(err, badgerdb.ErrCorrupt) {
		t.Errorf("opened without a list: %v", err)
	}
	if tables, err := filepath.Glob(filepath.Join(o.Dir, "*.sst")); err != nil || len(tables) == 0 {
		t.Errorf("the tables are gone: %v", err)
	}
}

// crashedWith is a copy of a database as after a kill, with another change of its MANIFEST.
func crashedWith(t testing.TB, o badgerdb.Options, change []byte) badgerdb.Options {
	t.Helper()
	original := o.Dir
	o.Dir = filepath.Join(t.TempDir(), "db")
	testkit.Do(t, os.CopyFS(o.Dir, os.DirFS(original)))
	path := filepath.Join(o.Dir, "MANIFEST")
	list, err := os.ReadFile(path)
	testkit.Do(t, err)
	list = binary.BigEndian.AppendUint32(list, uint32(len(change)))
	list = binary.BigEndian.AppendUint32(list, crc32.Checksum(change, crc32.MakeTable(crc32.Castagnoli)))
	testkit.Do(t, os.WriteFile(path, append(list, change...), 0o600))
	return o
}
