package kv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tokend/internal/testkit"
	"tokend/kv"
	"tokend/kv/kvtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("KV_TEST_HOLD"); dir != "" {
		holdStore(dir)
	}
	testkit.Parallel()
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		// Badger leaves these behind where its Open fails.
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"))
}

func TestStore_Create(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	expiry := kvtest.Start.Add(time.Hour).Truncate(time.Millisecond)
	spec := kv.Spec{Name: "example", Active: true, Write: true, ExpiresAt: expiry}
	token, value, err := store.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	want := kv.Token{Spec: spec, CreatedAt: kvtest.Start, UpdatedAt: kvtest.Start}
	if diff := cmp.Diff(want, token); diff != "" {
		t.Error(diff)
	}
	t.Run("is seen by every read", func(t *testing.T) {
		expectToken(t, store, want, value)
	})
	t.Run("is seen after the store was opened again", func(t *testing.T) {
		store.Reopen()
		expectToken(t, store, want, value)
	})
	t.Run("a name is taken once", func(t *testing.T) {
		if _, _, err := store.Create(ctx, kv.Spec{Name: "example"}); !errors.Is(err, kv.ErrExists) {
			t.Errorf("error %v", err)
		}
		expectToken(t, store, want, value)
	})
	t.Run("a name is taken once, also when the expiry of a repeated create has passed", func(t *testing.T) {
		store.Clock.Advance(2 * time.Hour)
		if _, _, err := store.Create(ctx, spec); !errors.Is(err, kv.ErrExists) {
			t.Errorf("error %v", err)
		}
		batch, ok := errors.AsType[*kv.BatchError](second(store.CreateAll(ctx, []kv.NewToken{{Spec: spec}, {Spec: kv.Spec{Name: "new", ExpiresAt: expiry}}})))
		if !ok || len(batch.Refusals) != 2 {
			t.Fatal(batch)
		}
		if first := batch.Refusals[0]; !errors.Is(first.Err, kv.ErrExists) || !first.Same {
			t.Errorf("%+v", first)
		}
		if _, ok := errors.AsType[*kv.InvalidError](batch.Refusals[1].Err); !ok {
			t.Errorf("%+v", batch.Refusals[1])
		}
		expectToken(t, store, want, value)
	})
}

func TestStore_Replace(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	created, value, err := store.Create(ctx, kv.Spec{Name: "x", Active: true, Write: true})
	if err != nil {
		t.Fatal(err)
	}
	replace := func(t *testing.T, spec kv.Spec) kv.Token {
		t.Helper()
		token, err := store.Replace(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		expectToken(t, store, token, value)
		return token
	}

	t.Run("decides everything anew and keeps the value", func(t *testing.T) {
		store.Clock.Advance(time.Second)
		got := replace(t, kv.Spec{Name: "x"})
		want := kv.Token{Spec: kv.Spec{Name: "x"}, CreatedAt: created.CreatedAt, UpdatedAt: store.Clock.Now()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("what is shown can be written back: none stays none", func(t *testing.T) {
		shown, err := store.Get("x")
		if err != nil {
			t.Fatal(err)
		}
		store.Clock.Advance(time.Second)
		got := replace(t, kv.Spec{Name: "x", Active: true, ExpiresAt: shown.ExpirationDate()})
		if got.Expires() || !got.Active {
			t.Errorf("%+v", got)
		}
	})
	t.Run("what is shown can be written back: expired stays expired", func(t *testing.T) {
		expiry := store.Clock.Now().Add(time.Minute)
		replace(t, kv.Spec{Name: "x", Active: true, ExpiresAt: expiry})
		store.Clock.Advance(time.Hour)
		got := replace(t, kv.Spec{Name: "x", Active: false, ExpiresAt: expiry})
		if !got.ExpiresAt.Equal(expiry) {
			t.Errorf("expiry %v, want %v", got.ExpiresAt, expiry)
		}
	})
	t.Run("another time that is past is refused and changes nothing", func(t *testing.T) {
		before, err := store.Get("x")
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.Replace(ctx, kv.Spec{Name: "x", ExpiresAt: store.Clock.Now().Add(-time.Second)})
		if _, ok := errors.AsType[*kv.InvalidError](err); !ok {
			t.Errorf("error %v", err)
		}
		expectToken(t, store, before, value)
	})
	t.Run("a clock that was set back moves updated_at nowhere", func(t *testing.T) {
		before, err := store.Get("x")
		if err != nil {
			t.Fatal(err)
		}
		store.Clock.Advance(-24 * time.Hour)
		if got := replace(t, kv.Spec{Name: "x"}); !got.UpdatedAt.Equal(before.UpdatedAt) {
			t.Errorf("updated_at %v, was %v", got.UpdatedAt, before.UpdatedAt)
		}
	})
	t.Run("a missing name is not found", func(t *testing.T) {
		if _, err := store.Replace(ctx, kv.Spec{Name: "y"}); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("error %v", err)
		}
	})
}

// A change to what is so already moves nothing. It costs no commit, so that a full disk does
// not refuse it.
func TestStore_soAlready(t *testing.T) {
	t.Parallel()
	free := uint64(64 << 20)
	store := kvtest.New(t, func(o *kv.Options) {
		o.MinFreeBytes = 32 << 20
		o.FreeBytes = func(string) (uint64, error) { return free, nil }
	})
	_, value, err := store.Create(ctx, kv.Spec{Name: "x", Active: true, Write: true})
	do(t, err)
	before, _, err := store.Rotate(ctx, "x", time.Hour)
	do(t, err)
	store.Clock.Advance(time.Minute)
	free = 0
	no, yes, shown := false, true, before.ExpirationDate()
	for name, edit := range map[string]func() (kv.Token, error){
		"Replace": func() (kv.Token, error) { return store.Replace(ctx, before.Spec) },
		"Replace, with the expiry that is shown": func() (kv.Token, error) {
			return store.Replace(ctx, kv.Spec{Name: "x", Active: true, Write: true, ExpiresAt: shown})
		},
		"Update": func() (kv.Token, error) {
			return store.Update(ctx, "x", kv.Patch{Active: &yes, Write: &yes, ExpiresAt: &shown})
		},
	} {
		if got, err := edit(); err != nil || got != before {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := store.Update(ctx, "x", kv.Patch{Write: &no}); !errors.Is(err, kv.ErrFull) {
		t.Errorf("error %v", err)
	}
	if _, err := store.Lookup(value); err != nil {
		t.Errorf("the old value: %v", err)
	}
	free = 64 << 20 // which closing needs
}

func TestStore_Delete(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	created, value, err := store.Create(ctx, kv.Spec{Name: "x", Active: true})
	if err != nil {
		t.Fatal(err)
	}
	deleted, err := store.Delete(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(created, deleted); diff != "" {
		t.Error(diff)
	}
	t.Run("the token and its value are gone", func(t *testing.T) {
		for _, err := range []error{
			second(store.Get("x")), second(store.Value("x")), second(store.Lookup(value)), second(store.Delete(ctx, "x")),
		} {
			if !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("error %v", err)
			}
		}
	})
	t.Run("the name is free and gets another value", func(t *testing.T) {
		_, again, err := store.Create(ctx, kv.Spec{Name: "x"})
		if err != nil || again.Equal(value) {
			t.Errorf("same value: %v, %v", again.Equal(value), err)
		}
		if _, err := store.Lookup(value); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("the old value: %v", err)
		}
	})
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	for _, name := range []string{"b", "a", "é", "B", "a b"} {
		if _, _, err := store.Create(ctx, kv.Spec{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	if _, err := store.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Create(ctx, kv.Spec{Name: "c"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"B", "a", "a b", "b", "é"}
	for range 2 { // a snapshot can be read again
		if diff := cmp.Diff(want, names(t, snapshot)); diff != "" {
			t.Error(diff)
		}
	}
}

// Many clients at once: what was answered is there, each name went to one.
func TestStore_concurrentClients(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	const clients, tries = 16, 50
	won := make([]map[string]kv.Value, clients)
	var wg sync.WaitGroup
	for client := range clients {
		won[client] = map[string]kv.Value{}
		wg.Go(func() {
			for i := range tries {
				name := fmt.Sprint("contested-", i)
				switch _, value, err := store.Create(ctx, kv.Spec{Name: name}); {
				case err == nil:
					won[client][name] = value
				case !errors.Is(err, kv.ErrExists):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	store.Reopen()
	total := 0
	for client := range clients {
		for name, value := range won[client] {
			total++
			if token, err := store.Lookup(value); err != nil || token.Name != name {
				t.Errorf("%s: %v, %v", name, token.Name, err)
			}
		}
	}
	if total != tries {
		t.Errorf("%d names were given away, of %d", total, tries)
	}
}

// A change that is larger than a transaction is refused whole; several that do
// not fit one together are split between transactions, each whole.
func TestStore_largeChanges(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	t.Run("too large is refused and changes nothing", func(t *testing.T) {
		if _, err := store.CreateAll(ctx, specs("huge", 20000)); !errors.Is(err, kv.ErrTooLarge) {
			t.Errorf("error %v", err)
		}
		if got := count(t, store); got != 0 {
			t.Errorf("%d tokens", got)
		}
	})
	t.Run("the largest that is taken is one that Badger takes", func(t *testing.T) {
		taken, refused := 0, 20000
		for round := 0; refused-taken > 1; round++ {
			n := (taken + refused) / 2
			switch _, err := store.CreateAll(ctx, specs(fmt.Sprintf("edge-%02d", round), n)); {
			case err == nil:
				taken = n
			case errors.Is(err, kv.ErrTooLarge):
				refused = n
			default:
				t.Fatalf("%d: %v", n, err)
			}
		}
		t.Logf("%d tokens fit one change", taken)
	})
	t.Run("900 with the longest names are taken", func(t *testing.T) {
		all := make([]kv.NewToken, 900)
		for i := range all {
			all[i].Name = fmt.Sprintf("%s%03d", strings.Repeat("\U00020000", 125), i)
		}
		if _, err := store.CreateAll(ctx, all); err != nil {
			t.Error(err)
		}
	})
	t.Run("what fits only apart is split", func(t *testing.T) {
		var wg sync.WaitGroup
		before := count(t, store)
		for i := range 8 {
			wg.Go(func() {
				if _, err := store.CreateAll(ctx, specs(fmt.Sprint("large-", i), 3000)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := count(t, store) - before; got != 8*3000 {
			t.Errorf("%d tokens", got)
		}
	})
}

func TestStore_panicInAChange(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	if err := store.Panic(); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("error %v", err)
	}
	if _, _, err := store.Create(ctx, kv.Spec{Name: "after"}); err != nil {
		t.Error(err)
	}
}

func TestStore_fullDisk(t *testing.T) {
	t.Parallel()
	free, unknown := uint64(64<<20), error(nil)
	store := kvtest.New(t, func(o *kv.Options) {
		o.MinFreeBytes = 32 << 20
		o.FreeBytes = func(string) (uint64, error) { return free, unknown }
	})
	_, value, err := store.Create(ctx, kv.Spec{Name: "before"})
	if err != nil {
		t.Fatal(err)
	}
	free = 32<<20 - 1
	if _, _, err := store.Create(ctx, kv.Spec{Name: "during"}); !errors.Is(err, kv.ErrFull) {
		t.Errorf("error %v", err)
	}
	if err := store.Writable(); !errors.Is(err, kv.ErrFull) {
		t.Errorf("writable: %v", err)
	}
	if _, err := store.Lookup(value); err != nil {
		t.Errorf("reads must go on: %v", err)
	}
	free = 32 << 20
	if _, _, err := store.Create(ctx, kv.Spec{Name: "after"}); err != nil {
		t.Errorf("room must heal it: %v", err)
	}
	unknown = errors.New("the disk is gone")
	if _, _, err := store.Create(ctx, kv.Spec{Name: "never"}); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	unknown = nil
}

// A failed commit has an unknown outcome, so nothing more is changed. It fails
// here for real: Badger cannot make its next log in a folder that is gone.
func TestStore_failedCommit(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	dir := store.Options.Dir
	_, value, err := store.Create(ctx, kv.Spec{Name: "before"})
	do(t, err)
	do(t, os.Rename(dir, dir+"-gone"))
	acknowledged := 0
	for err == nil && acknowledged < 100 {
		_, err = store.CreateAll(ctx, specs(fmt.Sprint("fill-", acknowledged), 3000))
		if err == nil {
			acknowledged++
		}
	}
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Fatalf("error %v", err)
	}
	t.Run("no change is taken any more", func(t *testing.T) {
		if _, _, err := store.Create(ctx, kv.Spec{Name: "after"}); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("create: %v", err)
		}
		if err := store.Writable(); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("writable: %v", err)
		}
	})
	t.Run("reads that it took with it are errors, not panics", func(t *testing.T) {
		for what, err := range map[string]error{
			"ping":     store.Ping(ctx),
			"lookup":   second(store.Lookup(value)),
			"snapshot": integrity(t, store.Store),
		} {
			if !errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	t.Run("Close does not wait for a disk that refuses", func(t *testing.T) {
		begin := time.Now()
		if err := store.Close(); err == nil {
			t.Error("no error")
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("what was acknowledged is there when the disk is back", func(t *testing.T) {
		do(t, os.Rename(dir+"-gone", dir))
		awaitUnlocked(t, dir) // Badger is done with closing
		again, err := kv.Open(store.Options)
		do(t, err)
		defer func() { do(t, again.Close()) }()
		if _, err := again.Lookup(value); err != nil {
			t.Error(err)
		}
		for i := range acknowledged {
			if _, err := again.Get(fmt.Sprintf("fill-%d-%05d", i, 2999)); err != nil {
				t.Errorf("batch %d of %d: %v", i, acknowledged, err)
			}
		}
		if err := integrity(t, again); err != nil {
			t.Error(err)
		}
	})
}

// A change is waited for until its context ends, and is still made. Nobody else waits longer
// for that.
func TestStore_contextEnds(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	open := store.Gate()
	ended, end := context.WithCancel(ctx)
	end()
	if _, _, err := store.Create(ended, kv.Spec{Name: "x"}); !errors.Is(err, kv.ErrStalled) || !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	open()
	if _, _, err := store.Create(ctx, kv.Spec{Name: "x"}); !errors.Is(err, kv.ErrExists) {
		t.Errorf("it was not made: %v", err)
	}
	do(t, store.Writable())
}

// What was decided on the state of a group whose commit failed is not tried:
// Badger would end the process, or take a change that rests on what is unknown.
func TestStore_failedCommitOfAGroup(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	dir := store.Options.Dir
	open := store.Gate()
	results := make(chan error)
	const changes = 30
	for i := range changes {
		go func() { results <- second(store.CreateAll(ctx, specs(fmt.Sprint("fill-", i), 1500))) }()
	}
	for store.Waiting() < changes {
		runtime.Gosched()
	}
	do(t, os.Rename(dir, dir+"-gone"))
	open()
	failed := 0
	for range changes {
		switch err := <-results; {
		case errors.Is(err, kv.ErrUnavailable):
			failed++
		case err != nil:
			t.Error(err)
		}
	}
	if failed == 0 || failed == changes {
		t.Errorf("%d of %d failed; this test wants some", failed, changes)
	}
	do(t, os.Rename(dir+"-gone", dir))
	_ = store.Close()
	awaitUnlocked(t, dir)
}

func TestStore_queue(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	open := store.Gate()
	var wg sync.WaitGroup
	for i := range kv.MaxWaiting {
		wg.Go(func() {
			if _, _, err := store.Create(ctx, kv.Spec{Name: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	for store.Waiting() < kv.MaxWaiting {
		runtime.Gosched()
	}
	if _, _, err := store.Create(ctx, kv.Spec{Name: "one more"}); !errors.Is(err, kv.ErrBusy) {
		t.Errorf("error %v", err)
	}
	open()
	wg.Wait()
	if got := count(t, store); got != kv.MaxWaiting {
		t.Errorf("%d tokens", got)
	}
}

func awaitUnlocked(t *testing.T, dir string) {
	t.Helper()
	folder, err := os.Open(dir)
	do(t, err)
	defer func() { _ = folder.Close() }()
	do(t, syscall.Flock(int(folder.Fd()), syscall.LOCK_EX))
}

func specs(prefix string, n int) []kv.NewToken {
	specs := make([]kv.NewToken, n)
	for i := range specs {
		specs[i].Name = fmt.Sprintf("%s-%05d", prefix, i)
	}
	return specs
}

func TestStore_Close(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	snapshot, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- store.Close() }()
	for store.Ping(ctx) == nil { // Close has begun once an operation is refused
	}
	select {
	case err := <-closed:
		t.Fatalf("Close did not wait for a snapshot: %v", err)
	case <-time.After(100 * time.Millisecond): // in which it would be done
	}
	snapshot.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		second(store.Get("x")), second(store.Replace(ctx, kv.Spec{})), second(store.Snapshot()), store.Close(),
	} {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
}

func TestOpen_lockedByAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "KV_TEST_HOLD="+dir)
	release, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	ready, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, err = kv.Open(kv.Options{Dir: dir, MasterKeys: []kv.MasterKey{kv.NewMasterKey()}})
	if !errors.Is(err, kv.ErrLocked) {
		t.Errorf("error %v", err)
	}
	if err := release.Close(); err != nil {
		t.Error(err)
	}
	if err := holder.Wait(); err != nil {
		t.Error(err)
	}
}

// holdStore is the other process: it holds a store until its input ends.
func holdStore(dir string) {
	store, err := kv.Open(kv.Options{Dir: dir, MasterKeys: []kv.MasterKey{kv.NewMasterKey()}})
	if err != nil {
		os.Exit(1)
	}
	fmt.Print("!")
	_, _ = os.Stdin.Read(make([]byte, 1))
	if err := store.Close(); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func expectToken(t *testing.T, store *kvtest.Store, want kv.Token, value kv.Value) {
	t.Helper()
	if got, err := store.Get(want.Name); err != nil || !cmp.Equal(want, got) {
		t.Errorf("Get: %v\n%s", err, cmp.Diff(want, got))
	}
	if got, err := store.Lookup(value); err != nil || !cmp.Equal(want, got) {
		t.Errorf("Lookup: %v\n%s", err, cmp.Diff(want, got))
	}
	if got, err := store.Value(want.Name); err != nil || !got.Equal(value) {
		t.Errorf("Value: %v", err)
	}
}

func names(t *testing.T, snapshot *kv.Snapshot) []string {
	t.Helper()
	var names []string
	for token, err := range snapshot.Tokens(kv.Filter{}, "", time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, token.Name)
	}
	return names
}

func count(t *testing.T, store *kvtest.Store) int {
	t.Helper()
	snapshot, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	return len(names(t, snapshot))
}

func second[T any](_ T, err error) error { return err }

// A page that the disk does not give is an error, not the end of the process.
func TestStore_unreadableDisk(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 800))))
	store.Reopen() // which writes a table
	store.AwaitFilled()
	census(t, store.Store)
	tables, err := filepath.Glob(filepath.Join(store.Options.Dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, table := range tables {
		do(t, os.Truncate(table, 0)) // what is behind a file's end is a fault, too
	}
	snapshot, err := store.Snapshot()
	do(t, err)
	var listing error
	for _, listing = range snapshot.Tokens(kv.Filter{}, "", kvtest.Start) {
		break
	}
	for what, err := range map[string]error{
		"get":       second(store.Get("x-00001")),
		"value":     second(store.Value("x-00001")),
		"list":      listing,
		"backup":    snapshot.Backup(io.Discard, kvtest.Start),
		"update":    second(store.Update(ctx, "x-00001", kv.Patch{})),
		"create":    second(store.CreateAll(ctx, specs("x", 1))),
		"integrity": snapshot.CheckIntegrity(),
	} {
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	snapshot.Close()
	_ = store.Close()
	if _, err := kv.Open(store.Options); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("opened again: %v", err)
	}
}
