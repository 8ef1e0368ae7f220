package kv_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// A newer version upgrades a store, and leaves the older one a way back.
func TestOpen_upgrade(t *testing.T) {
	store := kvtest.New(t, func(o *kv.Options) { o.Dir = filepath.Join(o.Dir, "store") })
	do(t, second(store.CreateAll(specs("x", 50))))
	want := everything(t, store)
	do(t, store.Close())
	broken := errors.New("broken off")
	older := kv.WithUpgrade(func() error { return broken })
	if _, err := kv.Open(store.Options); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	older()
	wayBack := store.Options.Dir + ".schema-1.backup"
	asItWas, err := os.Stat(wayBack)
	do(t, err)

	older = kv.WithUpgrade(func() error { return nil })
	upgraded := kvtest.New(t, func(o *kv.Options) { *o = store.Options })
	if diff := cmp.Diff(want, everything(t, upgraded)); diff != "" {
		t.Error(diff)
	}
	if now, err := os.Stat(wayBack); err != nil || !os.SameFile(asItWas, now) {
		t.Errorf("the way back was written again when the store was half upgraded (%v)", err)
	}
	upgraded.Reopen()
	do(t, upgraded.Close())
	older()
	if _, err := kv.Open(store.Options); !errors.Is(err, kv.ErrNewerSchema) {
		t.Errorf("the older version opens it: %v", err)
	}
	backup, err := os.Open(wayBack)
	do(t, err)
	defer func() { _ = backup.Close() }()
	options := store.Options
	options.Dir = filepath.Join(t.TempDir(), "store")
	do(t, second(kv.Restore(backup, options, unheard)))
	restored := kvtest.New(t, func(o *kv.Options) { *o = options })
	if diff := cmp.Diff(want, everything(t, restored)); diff != "" {
		t.Error(diff)
	}
}
