package badgerdb_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokend/internal/testkit"
	"tokend/kv/internal/badgerdb"
)

func options(t testing.TB) badgerdb.Options {
	t.Helper()
	return badgerdb.Options{Dir: filepath.Join(t.TempDir(), "db"), Log: slog.New(slog.DiscardHandler)}
}

// open gives a database that is closed when the test ends.
func open(t testing.TB, o badgerdb.Options) *badgerdb.DB {
	t.Helper()
	db, err := badgerdb.Open(o, badgerdb.Serve)
	testkit.Do(t, err)
	t.Cleanup(func() { _ = db.Close(0) })
	return db
}

// reopened closes a database, which makes a table of its memory, and opens it again.
func reopened(t testing.TB, db *badgerdb.DB, o badgerdb.Options) *badgerdb.DB {
	t.Helper()
	testkit.Do(t, db.Close(0))
	return open(t, o)
}

// put commits some entries under a prefix, each with a value of 100 bytes.
func put(t testing.TB, db *badgerdb.DB, prefix string, n int) {
	t.Helper()
	testkit.Do(t, tryPut(db, prefix, n))
}

func tryPut(db *badgerdb.DB, prefix string, n int) error {
	b := db.NewBatch()
	for i := range n {
		b.Add(badgerdb.Write{Key: key(prefix, i), Value: make([]byte, 100)})
	}
	return db.Commit(b)
}

func key(prefix string, i int) []byte { return fmt.Appendf(nil, "%s-%05d", prefix, i) }

func remove(t testing.TB, db *badgerdb.DB, key []byte) {
	t.Helper()
	b := db.NewBatch()
	b.Add(badgerdb.Write{Key: key})
	testkit.Do(t, db.Commit(b))
}

func count(t testing.TB, db *badgerdb.DB) (entries int) {
	t.Helper()
	testkit.Do(t, db.Read(func(v badgerdb.View) error {
		for _, err := range v.Entries("", nil) {
			if err != nil {
				return err
			}
			entries++
		}
		return nil
	}))
	return entries
}

func has(t testing.TB, db *badgerdb.DB, key []byte) (found bool) {
	t.Helper()
	testkit.Do(t, db.Read(func(v badgerdb.View) (err error) {
		found, err = v.Has(key)
		return err
	}))
	return found
}

func TestView(t *testing.T) {
	t.Parallel()
	db := open(t, options(t))
	put(t, db, "a", 3)
	put(t, db, "b", 3)
	view := db.View()
	defer view.Close()
	remove(t, db, key("b", 1))
	for _, c := range []struct {
		prefix string
		from   []byte
		want   string
	}{
		{"", nil, "a-00000 a-00001 a-00002 b-00000 b-00001 b-00002"},
		{"b", nil, "b-00000 b-00001 b-00002"},
		{"a", key("a", 1), "a-00001 a-00002"},
		{"", key("a", 2), "a-00002 b-00000 b-00001 b-00002"},
		{"c", nil, ""},
	} {
		var got []string
		for e, err := range view.Entries(c.prefix, c.from) {
			testkit.Do(t, err)
			got = append(got, string(e.Key))
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%q from %q: %q, want %q", c.prefix, c.from, got, c.want)
		}
	}
	for _, err := range view.Entries("", nil) {
		testkit.Do(t, err)
		break
	}
	if _, err := view.Get([]byte("c")); !errors.Is(err, badgerdb.ErrNotFound) {
		t.Error(err)
	}
	if has(t, db, key("b", 1)) {
		t.Error("the latest state has what was removed")
	}
}

// What fits is taken whole, and what does not fit is known before it is added.
func TestBatch_Fits(t *testing.T) {
	t.Parallel()
	db := open(t, options(t))
	for _, size := range []int{0, 10, 1000} {
		b := db.NewBatch()
		w := badgerdb.Write{Key: key("x", 0), Value: make([]byte, size)}
		n := 0
		for ; b.Fits([]badgerdb.Write{w}); n++ {
			w.Key = key("x", n)
			b.Add(w)
		}
		if n < 500 {
			t.Errorf("%d entries of %d bytes", n, size)
		}
		testkit.Do(t, db.Commit(b))
	}
	bulk := db.NewBulk()
	defer bulk.Discard()
	const many = 50_000
	for i := range many {
		testkit.Do(t, bulk.Add(badgerdb.Write{Key: key("many", i), Value: []byte("x")}))
	}
	testkit.Do(t, bulk.Flush())
	n := 0
	testkit.Do(t, db.Read(func(v badgerdb.View) error {
		for _, err := range v.Entries("many", nil) {
			testkit.Do(t, err)
			n++
		}
		return nil
	}))
	if n != many {
		t.Errorf("%d entries", n)
	}
}

func TestOpen_syncsWrites(t *testing.T) {
	t.Parallel()
	if !open(t, options(t)).SyncsWrites() {
		t.Error("what is answered may be in memory only")
	}
	db, err := badgerdb.Open(options(t), badgerdb.Fill)
	testkit.Do(t, err)
	defer func() { testkit.Do(t, db.Close(0)) }()
	if db.SyncsWrites() {
		t.Error("a bulk syncs each step")
	}
}

// Fill leaves a database that was closed.
func TestOpen_fill(t *testing.T) {
	t.Parallel()
	o := options(t)
	db, err := badgerdb.Open(o, badgerdb.Fill)
	testkit.Do(t, err)
	put(t, db, "x", 1000)
	testkit.Do(t, db.Close(0))
	if marked, err := badgerdb.HasCleanMark(o.Dir); !marked || err != nil {
		t.Error(marked, err)
	}
	if got := count(t, open(t, o)); got != 1000 {
		t.Errorf("%d entries", got)
	}
}

func TestOpen_locked(t *testing.T) {
	t.Parallel()
	o := options(t)
	open(t, o)
	for _, mode := range []badgerdb.Mode{badgerdb.Serve, badgerdb.Inspect} {
		if _, err := badgerdb.Open(o, mode); !errors.Is(err, badgerdb.ErrLocked) {
			t.Errorf("mode %d: %v", mode, err)
		}
	}
}

// Inspect changes nothing, neither in the folder nor beside it, of a database that was closed
// and of one that crashed.
func TestOpen_inspect(t *testing.T) {
	t.Parallel()
	o := options(t)
	db := open(t, o)
	put(t, db, "x", 10)
	crashed := o
	crashed.Dir = filepath.Join(t.TempDir(), "db")
	testkit.Do(t, os.CopyFS(crashed.Dir, os.DirFS(o.Dir)))
	testkit.Do(t, db.Close(0))
	for what, o := range map[string]badgerdb.Options{"closed": o, "crashed": crashed} {
		before := sums(t, filepath.Dir(o.Dir))
		db, err := badgerdb.Open(o, badgerdb.Inspect)
		testkit.Do(t, err)
		if got := count(t, db); got != 10 {
			t.Errorf("%s: %d entries", what, got)
		}
		testkit.Do(t, db.Close(0))
		if after := sums(t, filepath.Dir(o.Dir)); after != before {
			t.Errorf("%s: was\n%s, is\n%s", what, before, after)
		}
	}
}

func sums(t testing.TB, dir string) string {
	t.Helper()
	found, err := exec.Command("sh", "-c", `cd "$0" && find . -type f -exec sha256sum {} + | sort -k2`, dir).CombinedOutput()
	testkit.Do(t, err)
	return string(found)
}

// A WAL that the disk does not take is an error before the commit: nothing was changed, reads
// go on, and it heals.
func TestCommit_fullDisk(t *testing.T) {
	t.Parallel()
	var isFull atomic.Bool
	o := options(t)
	o.FullWhile(&isFull)
	db := open(t, o)
	put(t, db, "before", 1)
	isFull.Store(true)
	for range 3 {
		if err := tryPut(db, "during", 1000); !errors.Is(err, badgerdb.ErrFull) {
			t.Errorf("error %v", err)
		}
	}
	if got := count(t, db); got != 1 {
		t.Errorf("%d entries", got)
	}
	isFull.Store(false)
	put(t, db, "after", 1000)
	if got := count(t, reopened(t, db, o)); got != 1001 {
		t.Errorf("%d entries", got)
	}
}

// The reserve is for what a start must write, and for nothing else.
func TestCommit_reserve(t *testing.T) {
	t.Parallel()
	free := atomic.Uint64{}
	free.Store(1 << 40)
	options := options(t)
	o := options
	o.MinFree, o.FreeBytes = 1<<30, func(string) (uint64, error) { return free.Load(), nil }
	db := open(t, o)
	free.Store(1<<30 - 1)
	if err := tryPut(db, "x", 1); !errors.Is(err, badgerdb.ErrFull) || !errors.Is(db.Writable(), badgerdb.ErrFull) {
		t.Errorf("error %v", err)
	}
	b := db.NewBatch()
	b.UsesReserve = true
	b.Add(badgerdb.Write{Key: []byte("start"), Value: []byte("x")})
	testkit.Do(t, db.Commit(b))
	free.Store(1 << 20)
	if err := db.Close(0); !errors.Is(err, badgerdb.ErrFull) {
		t.Errorf("closed: %v", err)
	}
	if got := count(t, open(t, crashedWith(t, options, nil))); got != 1 {
		t.Errorf("%d entries", got)
	}
}

// Whoever gives up a database lets go of it, also where the disk lacks the room to close it well.
func TestCloseAfter(t *testing.T) {
	t.Parallel()
	free := atomic.Uint64{}
	free.Store(1 << 40)
	o := options(t)
	o.MinFree, o.FreeBytes = 1<<20, func(string) (uint64, error) { return free.Load(), nil }
	db := open(t, o)
	put(t, db, "x", 10)
	free.Store(0)
	testkit.Do(t, db.CloseAfter(badgerdb.ErrCorrupt))
	if marked, err := badgerdb.HasCleanMark(o.Dir); marked || err != nil {
		t.Errorf("marked: %v, %v", marked, err)
	}
	free.Store(1 << 40)
	if got := count(t, open(t, o)); got != 10 {
		t.Errorf("%d entries", got)
	}
}

// A commit that waits for the disk is told of, and goes on when the disk does.
func TestCommit_hangingDisk(t *testing.T) {
	t.Parallel()
	var log testkit.Buffer
	hangs := make(chan struct{})
	o := options(t)
	o.Alarm, o.Log = 10*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
	o.HangWhile(hangs)
	db := open(t, o)
	done := make(chan error, 1)
	go func() { done <- tryPut(db, "x", 1) }()
	stalled := func() bool { return errors.Is(db.Writable(), badgerdb.ErrStalled) && db.HasWaited(time.Millisecond) }
	if !testkit.Eventually(stalled, true) {
		t.Error("it is not told of")
	}
	warned := func() bool { return strings.Contains(log.String(), "a commit waits for the disk") }
	if !testkit.Eventually(warned, true) {
		t.Error("it is not in the log")
	}
	close(hangs)
	testkit.Do(t, <-done)
	testkit.Do(t, db.Writable())
	if !strings.Contains(log.String(), "has ended") {
		t.Errorf("its end is not in the log:\n%s", &log)
	}
}

// What is asked of the disk is what a commit takes, and not much more.
func TestCommit_asksForTheWAL(t *testing.T) {
	t.Parallel()
	db := open(t, options(t))
	for _, entries := range []int{1, 2, 100, 500} {
		for _, bytes := range []int{0, 1, 200, 1000} {
			for _, value := range [][]byte{make([]byte, bytes), nil} { // and gone again
				b := db.NewBatch()
				for i := range entries {
					b.Add(badgerdb.Write{Key: fmt.Appendf(nil, "x/%d/%s", i, strings.Repeat("k", bytes/10)), Value: value})
				}
				asked, taken := db.Logged(t, b)
				if asked < taken || asked > taken+200+entries*badgerdb.WALOverhead {
					t.Errorf("%d entries with values of %d bytes: %d bytes are asked for, %d are taken", entries, len(value), asked, taken)
				}
			}
		}
	}
}

// Another version of Badger may work differently inside, in ways that no test shows.
func TestBadgerVersion(t *testing.T) {
	if os.Getenv("TOKEND_BADGER_NEXT") != "" {
		t.Skip("this is a try of another version")
	}
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/dgraph-io/badger/v4").CombinedOutput()
	testkit.Do(t, err)
	if got := strings.TrimSpace(string(version)); got != badgerdb.BadgerVersion {
		t.Errorf("go.mod has Badger %s; insides.go was written for %s: look at each place that it lists, "+
			"run `make torture`, then change badgerVersion there", got, badgerdb.BadgerVersion)
	}
}

// A hook that Badger does not call is found, and so is one that it does.
func TestProbe(t *testing.T) {
	if err := badgerdb.Probe(filepath.Join(t.TempDir(), "probe")); err != nil {
		t.Error(err)
	}
	restore := badgerdb.WithoutHook()
	defer restore()
	if err := badgerdb.Probe(filepath.Join(t.TempDir(), "probe")); !errors.Is(err, badgerdb.ErrInsides) {
		t.Errorf("error %v", err)
	}
}
