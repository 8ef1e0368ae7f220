package kv_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"tokend/internal/testkit"
	"tokend/kv"
	"tokend/kv/kvtest"
)

// A newer version upgrades a store, and leaves the older one a way back.
func TestOpen_upgrade(t *testing.T) {
	store := kvtest.New(t, func(o *kv.Options) { o.Dir = filepath.Join(o.Dir, "store") })
	do(t, second(store.CreateAll(ctx, specs("x", 50))))
	want := everything(t, store)
	do(t, store.Close())
	broken := errors.New("broken off")
	older := kv.WithUpgrade(func() error { return broken })
	if _, err := kv.Open(store.Options); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	older()
	rollbackPath := store.Options.Dir + ".schema-2.backup"
	asItWas, err := os.Stat(rollbackPath)
	do(t, err)

	older = kv.WithUpgrade(func() error { return nil })
	upgraded := kvtest.New(t, func(o *kv.Options) { *o = store.Options })
	if diff := cmp.Diff(want, everything(t, upgraded)); diff != "" {
		t.Error(diff)
	}
	if now, err := os.Stat(rollbackPath); err != nil || !os.SameFile(asItWas, now) {
		t.Errorf("the way back was written again when the store was half upgraded (%v)", err)
	}
	upgraded.Reopen()
	do(t, upgraded.Close())
	older()
	if _, err := kv.Open(store.Options); !errors.Is(err, kv.ErrNewerSchema) {
		t.Errorf("the older version opens it: %v", err)
	}
	backup, err := os.Open(rollbackPath)
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

// A store of schema 1 becomes one of schema 2 when it is opened, with a way back.
func TestOpen_schema1(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t, func(o *kv.Options) { o.Dir = filepath.Join(o.Dir, "store") })
	do(t, second(store.CreateAll(ctx, specs("x", 50))))
	want := everything(t, store)
	edit(t, store, "m/schema", func([]byte) []byte { return []byte{1} })
	killed := filepath.Join(filepath.Dir(store.Options.Dir), ".store.schema-1.backup123456")
	do(t, os.WriteFile(killed, []byte("half a backup"), 0o600))
	upgraded := kvtest.New(t, func(o *kv.Options) { *o = store.Options })
	if diff := cmp.Diff(want, everything(t, upgraded)); diff != "" {
		t.Error(diff)
	}
	do(t, upgraded.Close())
	if _, err := os.Stat(killed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed start left is still there: %v", err)
	}
	do(t, kvtest.Edit(store.Options.Dir, func(e *kvtest.Edits) error {
		if schema, err := e.Get("m/schema"); err != nil || schema[0] != 2 {
			t.Errorf("schema %v, %v", schema, err)
		}
		return nil
	}))
	rollbackPath, err := os.Open(store.Options.Dir + ".schema-1.backup")
	do(t, err)
	defer func() { _ = rollbackPath.Close() }()
	o := store.Options
	o.Dir = filepath.Join(t.TempDir(), "store")
	do(t, second(kv.Restore(rollbackPath, o, nil)))
	do(t, kvtest.Edit(o.Dir, func(e *kvtest.Edits) error {
		if schema, err := e.Get("m/schema"); err != nil || schema[0] != 1 {
			t.Errorf("restored schema %v, %v", schema, err)
		}
		return nil
	}))
}

// Where the way back cannot be made, because the disk is nearly full or a record is damaged,
// a store of schema 1 is served as it is, and another master key takes over all the same.
func TestOpen_upgradeThatMustWait(t *testing.T) {
	t.Parallel()
	for what, prevent := range map[string]func(t *testing.T, store *kvtest.Store){
		"nearly full disk": func(_ *testing.T, store *kvtest.Store) {
			store.Options.MinFreeBytes = 1 << 30
			store.Options.FreeBytes = func(string) (uint64, error) { return 100 << 20, nil }
		},
		"damaged record": func(t *testing.T, store *kvtest.Store) {
			edit(t, store, "t/x-00001", func(raw []byte) []byte { raw[len(raw)-1] ^= 1; return raw })
		},
	} {
		t.Run(what, func(t *testing.T) {
			var log testkit.Buffer
			store := kvtest.New(t, func(o *kv.Options) { o.Dir = filepath.Join(o.Dir, "store") })
			do(t, second(store.CreateAll(ctx, specs("x", 3))))
			edit(t, store, "m/schema", func([]byte) []byte { return []byte{1} })
			prevent(t, store)
			old, current := store.Options.MasterKeys[0], kv.NewMasterKey()
			o := store.Options
			o.MasterKeys, o.Log = []kv.MasterKey{current, old}, slog.New(slog.NewTextHandler(&log, nil))
			opened, err := kv.Open(o)
			do(t, err)
			do(t, second(opened.Get("x-00002")))
			do(t, opened.Close())
			if left, err := filepath.Glob(o.Dir + "*backup*"); err != nil || len(left) > 0 {
				t.Errorf("left on the disk: %v, %v", left, err)
			}
			if !strings.Contains(log.String(), "the upgrade of the store waits for the next start") {
				t.Errorf("the log:\n%s", &log)
			}
			o.MasterKeys = []kv.MasterKey{current}
			opened, err = kv.Open(o)
			do(t, err)
			do(t, opened.Close())
			do(t, kvtest.Edit(o.Dir, func(e *kvtest.Edits) error {
				if schema, err := e.Get("m/schema"); err != nil || schema[0] != 1 {
					t.Errorf("schema %v, %v", schema, err)
				}
				return nil
			}))
		})
	}
}

// Optional fields that a newer version wrote are kept by every change, in a backup, and in
// what is restored. What is not optional is an error.
func TestRecord_optionalFields(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	_, _, err := store.Create(ctx, kv.Spec{Name: "x", Active: true})
	do(t, err)
	do(t, store.SetExtra("x", -7, "kept"))
	expect := func(s *kvtest.Store) {
		t.Helper()
		raw, err := s.Extra("x", -7)
		do(t, err)
		var got string
		do(t, cbor.Unmarshal(raw, &got))
		if got != "kept" {
			t.Errorf("%q", got)
		}
		do(t, integrity(t, s.Store))
	}
	do(t, second(store.Update(ctx, "x", kv.Patch{Write: new(true)})))
	expect(store)
	if _, _, err := store.Rotate(ctx, "x", time.Hour); err != nil {
		t.Fatal(err)
	}
	expect(store)
	do(t, second(store.Bulk(ctx, kv.Bulk{Action: kv.Deactivate, Names: []string{"x"}})))
	store.Reopen()
	expect(store)
	expect(restore(t, store, backupStore(t, store)))
	do(t, store.SetExtra("x", 99, "of a newer schema"))
	if _, err := store.Get("x"); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("error %v", err)
	}
	_ = store.Close() // its integrity is not looked at
}

// Two stores with the same data key can open each other's records, which a store that makes
// its own cannot.
func TestOpen_givenDataKey(t *testing.T) {
	t.Parallel()
	first := kvtest.New(t)
	_, _, err := first.Create(ctx, kv.Spec{Name: "x", Active: true})
	do(t, err)
	do(t, first.Close())
	var wrapped, record []byte
	do(t, kvtest.Edit(first.Options.Dir, func(e *kvtest.Edits) (err error) {
		wrapped, err = e.Get("m/key")
		do(t, err)
		record, err = e.Get("t/x")
		return err
	}))
	given := kvtest.New(t, func(o *kv.Options) { o.MasterKeys, o.WrappedDataKey = first.Options.MasterKeys, wrapped })
	edits := func(s *kvtest.Store) {
		do(t, s.Close())
		do(t, kvtest.Edit(s.Options.Dir, func(e *kvtest.Edits) error { e.Set("t/x", record); return nil }))
	}
	edits(given)
	o := given.Options
	o.WrappedDataKey = nil // a store that exists keeps its own
	again, err := kv.Open(o)
	do(t, err)
	do(t, second(again.Get("x")))
	do(t, again.Close())

	o.Dir, o.WrappedDataKey = t.TempDir(), wrapped
	o.MasterKeys = []kv.MasterKey{kv.NewMasterKey()}
	if _, err := kv.Open(o); !errors.Is(err, kv.ErrWrongKey) {
		t.Errorf("with another master key: %v", err)
	}
	o.WrappedDataKey = []byte("x")
	if _, err := kv.Open(o); err == nil {
		t.Error("opened with what is not a data key")
	}
}
