package kv_test

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokend/kv"
	"tokend/kv/kvtest"
)

func TestOpen_masterKeys(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	_, value, err := store.Create(ctx, kv.Spec{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	old, current := store.Options.MasterKeys[0], kv.NewMasterKey()
	opens := func(t *testing.T, keys ...kv.MasterKey) {
		t.Helper()
		store.Options.MasterKeys = keys
		store.Reopen()
		if token, err := store.Lookup(value); err != nil || token.Name != "x" {
			t.Errorf("%v, %v", token.Name, err)
		}
	}
	refuses := func(t *testing.T, keys ...kv.MasterKey) {
		t.Helper()
		if err := store.Close(); err != nil && !errors.Is(err, kv.ErrClosed) {
			t.Fatal(err)
		}
		options := store.Options
		options.MasterKeys = keys
		if _, err := kv.Open(options); !errors.Is(err, kv.ErrWrongKey) {
			t.Errorf("error %v", err)
		}
	}
	t.Run("an older line opens it and the first takes over", func(t *testing.T) { opens(t, current, old) })
	t.Run("then the older line can go", func(t *testing.T) { opens(t, current) })
	t.Run("the older key opens it no more", func(t *testing.T) { refuses(t, old) })
	t.Run("a strange key is refused", func(t *testing.T) { refuses(t, kv.NewMasterKey()) })
	t.Run("a refusal changes nothing", func(t *testing.T) { opens(t, kv.NewMasterKey(), current) })
}

// A new master key takes over while the store serves, and survives whatever follows.
func TestStore_Rekey(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	_, value, err := store.Create(ctx, kv.Spec{Name: "x", Active: true})
	do(t, err)
	old, current := store.Options.MasterKeys[0], kv.NewMasterKey()
	rekey := func(wantChange bool, want error, keys ...kv.MasterKey) {
		t.Helper()
		if changed, err := store.Rekey(ctx, keys); changed != wantChange || !errors.Is(err, want) {
			t.Errorf("%v, %v", changed, err)
		}
	}
	rekey(false, nil, old)
	rekey(false, kv.ErrWrongKey, current)
	rekey(true, nil, current, old)
	rekey(false, nil, current, old)
	rekey(false, nil, current)
	rekey(false, kv.ErrWrongKey, old)
	do(t, second(store.Verify([]byte(value.Reveal()))))
	do(t, second(store.CreateAll(ctx, specs("y", 3))))
	store.Options.MasterKeys = []kv.MasterKey{current}
	store.Reopen()
	do(t, second(store.Verify([]byte(value.Reveal()))))
	do(t, store.Close())
	rekey(false, kv.ErrClosed, current)
	store.Options.MasterKeys = []kv.MasterKey{old}
	if _, err := kv.Open(store.Options); !errors.Is(err, kv.ErrWrongKey) {
		t.Errorf("the old key: %v", err)
	}
}

func TestOpen_refuses(t *testing.T) {
	t.Parallel()
	good := kv.Options{MasterKeys: []kv.MasterKey{kv.NewMasterKey()}}
	t.Run("no key", func(t *testing.T) {
		if _, err := kv.Open(kv.Options{Dir: t.TempDir()}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a prefix that no scanner would match", func(t *testing.T) {
		o := good
		o.Dir, o.TokenPrefix = t.TempDir(), "TKD_"
		var invalid *kv.InvalidError
		if _, err := kv.Open(o); !errors.As(err, &invalid) || invalid.Field != "prefix" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a file in the folder's place", func(t *testing.T) {
		o := good
		o.Dir = filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(o.Dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Open(o); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a newer schema", func(t *testing.T) {
		store := kvtest.New(t)
		edit(t, store, "m/schema", func([]byte) []byte { return []byte{3} })
		_, err := kv.Open(store.Options)
		if !errors.Is(err, kv.ErrNewerSchema) || !strings.Contains(err.Error(), "(schema 3; this one knows 2)") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("records without their data key never get a new one", func(t *testing.T) {
		store := kvtest.New(t)
		if _, _, err := store.Create(ctx, kv.Spec{Name: "x"}); err != nil {
			t.Fatal(err)
		}
		edit(t, store, "m/schema", func([]byte) []byte { return nil })
		if _, err := kv.Open(store.Options); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("half a head: %v", err)
		}
		edit(t, store, "m/key", func([]byte) []byte { return nil })
		if _, err := kv.Open(store.Options); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("no head: %v", err)
		}
	})
}

// Last uses under keys of no shard, or in the wrong one, keep nobody from starting, and are found.
func TestOpen_usesOfNoShard(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	_, value, err := store.Create(ctx, kv.Spec{Name: "x", Active: true})
	do(t, err)
	do(t, second(store.Verify([]byte(value.Reveal()))))
	store.Reopen() // which brings its use to disk
	withDatabase(t, store, func(e *kvtest.Edits) {
		for _, key := range []string{"u/", "u/\x00", "u/\xff\xff", "u/\xff\xff\xff"} {
			e.Set(key, []byte{1})
		}
	})
	report, err := kv.Check(store.Options, unheard)
	if err != nil || len(report.Findings) < 4 {
		t.Errorf("%v, %v", report.Findings, err)
	}
	again, err := kv.Open(store.Options)
	do(t, err)
	again.AwaitFilled()
	if token, err := again.Get("x"); err != nil || token.LastUsedAt.IsZero() {
		t.Errorf("%+v, %v", token, err)
	}
	do(t, again.Close())
}

// Whoever can write the disk must not be able to change a token unnoticed.
func TestSeal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		edit func(t *testing.T, store *kvtest.Store)
	}{
		{"every bit of a record counts", func(t *testing.T, store *kvtest.Store) {
			edit(t, store, "t/x", func(raw []byte) []byte {
				raw[len(raw)/2] ^= 1
				return raw
			})
		}},
		{"a record cut short", func(t *testing.T, store *kvtest.Store) {
			edit(t, store, "t/x", func(raw []byte) []byte { return raw[:len(raw)-1] })
		}},
		{"an index entry that leads to another record", func(t *testing.T, store *kvtest.Store) {
			edit(t, store, "t/x", func([]byte) []byte { return nil })
			withDatabase(t, store, func(e *kvtest.Edits) {
				for _, key := range e.Keys("h/") {
					e.Set(key, []byte("y"))
				}
			})
		}},
		{"a record under another name", func(t *testing.T, store *kvtest.Store) {
			var other []byte
			edit(t, store, "t/y", func(raw []byte) []byte { other = raw; return raw })
			edit(t, store, "t/x", func([]byte) []byte { return other })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := kvtest.New(t)
			_, value, err := store.Create(ctx, kv.Spec{Name: "x", Active: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := store.Create(ctx, kv.Spec{Name: "y", Active: true, Write: true}); err != nil {
				t.Fatal(err)
			}
			c.edit(t, store)
			damaged, err := kv.Open(store.Options)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = damaged.Close() }()
			wrong := map[string]error{"lookup": second(damaged.Lookup(value)), "integrity": integrity(t, damaged)}
			if !strings.HasPrefix(c.name, "an index entry") {
				wrong["get"] = second(damaged.Get("x"))
				wrong["value"] = second(damaged.Value("x"))
				wrong["replace"] = second(damaged.Replace(ctx, kv.Spec{Name: "x", Active: true, Write: true}))
			}
			for what, err := range wrong {
				if !errors.Is(err, kv.ErrCorrupt) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// Without its list of files Badger would take a store for an empty one and
// delete what is there.
func TestOpen_missingManifest(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t, func(o *kv.Options) { o.Dir = filepath.Join(o.Dir, "a[1]*") }) // no pattern
	do(t, second(store.CreateAll(ctx, specs("x", 10))))
	do(t, store.Close())
	manifest := filepath.Join(store.Options.Dir, "MANIFEST")
	do(t, os.Rename(manifest, manifest+"-kept"))
	if _, err := kv.Open(store.Options); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("error %v", err)
	}
	do(t, os.Rename(manifest+"-kept", manifest))
	again, err := kv.Open(store.Options)
	do(t, err)
	if got := count(t, &kvtest.Store{Store: again}); got != 10 {
		t.Errorf("%d tokens", got)
	}
	do(t, again.Close())
}

// A process that is killed between making a log and giving it a size leaves an
// empty file, which Badger does not open.
func TestOpen_stillbornLogs(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 10))))
	do(t, store.Close())
	for _, name := range []string{"00009.mem", "000009.vlog"} {
		do(t, os.WriteFile(filepath.Join(store.Options.Dir, name), nil, 0o600))
	}
	again, err := kv.Open(store.Options)
	do(t, err)
	if got := count(t, &kvtest.Store{Store: again}); got != 10 {
		t.Errorf("%d tokens", got)
	}
	do(t, again.Close())
}

// A disk without room for Badger's memory is an error at both ends, not the
// end of the process.
func TestOpen_fullDisk(t *testing.T) {
	t.Parallel()
	free := uint64(1 << 40)
	store := kvtest.New(t, func(o *kv.Options) {
		o.MinFreeBytes = 1
		o.FreeBytes = func(string) (uint64, error) { return free, nil }
	})
	do(t, second(store.CreateAll(ctx, specs("x", 2000))))
	do(t, store.Close())
	free = 1 << 20
	if _, err := kv.Open(store.Options); !errors.Is(err, kv.ErrFull) || !strings.Contains(err.Error(), "are needed to open") {
		t.Errorf("error %v", err)
	}
}

// Neither a value nor the keys to them may lie in the store's files.
func TestFilesHoldNoSecret(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	var secrets []string
	for _, name := range []string{"a", "b", "c"} {
		_, value, err := store.Create(ctx, kv.Spec{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, value.Reveal(), strings.TrimPrefix(value.Reveal(), "tkd_")[:43])
	}
	key := store.Options.MasterKeys[0].Encode()
	raw, err := base64.StdEncoding.DecodeString(key)
	do(t, err)
	secrets = append(secrets, key, string(raw))
	look := func() {
		files, err := filepath.Glob(filepath.Join(store.Options.Dir, "*"))
		if err != nil || len(files) < 3 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range secrets {
				if strings.Contains(string(content), secret) {
					t.Errorf("%s holds a secret", file)
				}
			}
		}
	}
	look() // in the log
	store.Reopen()
	look() // in the tables
}

// edit changes what is stored under a key behind the store's back, which it
// closes. Nil removes the key.
func edit(t *testing.T, store *kvtest.Store, key string, change func([]byte) []byte) {
	t.Helper()
	withDatabase(t, store, func(e *kvtest.Edits) {
		raw, err := e.Get(key)
		do(t, err)
		if raw = change(raw); raw == nil {
			e.Delete(key)
		} else {
			e.Set(key, raw)
		}
	})
}

func withDatabase(t *testing.T, store *kvtest.Store, change func(*kvtest.Edits)) {
	t.Helper()
	if err := store.Close(); err != nil && !errors.Is(err, kv.ErrClosed) {
		t.Fatal(err)
	}
	do(t, kvtest.Edit(store.Options.Dir, func(e *kvtest.Edits) error { change(e); return nil }))
}

// ctx is that of changes that wait as long as it takes.
var ctx = context.Background()

func do(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func integrity(t *testing.T, store *kv.Store) error {
	t.Helper()
	snapshot, err := store.Snapshot()
	do(t, err)
	defer snapshot.Close()
	return snapshot.CheckIntegrity()
}
