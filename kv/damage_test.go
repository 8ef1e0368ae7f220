package kv_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokend/internal/testkit"
	"tokend/kv"
	"tokend/kv/kvtest"
)

// A bit that changed in any file of a closed store is found before anything is read,
// with the file's name, or it means nothing. Each round changes one at random;
// TOKEND_TORTURE makes the rounds many.
func TestOpen_damage(t *testing.T) {
	t.Parallel()
	random := testkit.Rand(t, 0)
	rounds := 120
	if os.Getenv("TOKEND_TORTURE") != "" {
		rounds = 5_000
	}
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 800))))
	store.Reopen()
	do(t, second(store.CreateAll(ctx, specs("y", 50))))
	store.Reopen() // another table
	want := everything(t, store)
	do(t, store.Close())
	files, err := filepath.Glob(filepath.Join(store.Options.Dir, "*"))
	do(t, err)
	found, harmless := 0, 0
	for round := range rounds {
		file := files[round%len(files)]
		whole, err := os.ReadFile(file)
		do(t, err)
		if len(whole) == 0 {
			continue
		}
		place := random.IntN(len(whole))
		what := fmt.Sprintf("bit %d of byte %d of %s", round%8, place, filepath.Base(file))
		options := store.Options
		options.Dir = filepath.Join(t.TempDir(), "store")
		do(t, os.CopyFS(options.Dir, os.DirFS(store.Options.Dir)))
		whole[place] ^= 1 << (round % 8)
		do(t, os.WriteFile(filepath.Join(options.Dir, filepath.Base(file)), whole, 0o600))
		report, err := kv.Check(options, unheard)
		if errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("%s: check fails: %v", what, err)
		}
		opened, err := kv.Open(options)
		switch {
		case errors.Is(err, kv.ErrCorrupt):
			found++
			if len(report.Findings) == 0 {
				t.Errorf("%s: found at the start (%v), not by check", what, err)
			}
			do(t, os.RemoveAll(options.Dir))
			continue
		case err != nil:
			t.Errorf("%s: %v", what, err)
			continue
		}
		harmless++
		if len(report.Findings) > 0 {
			t.Errorf("%s: found by check, not at the start: %v", what, report.Findings)
		}
		if diff := cmp.Diff(want, everything(t, &kvtest.Store{Store: opened})); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		do(t, opened.Close())
		do(t, os.RemoveAll(options.Dir))
	}
	t.Logf("%d bits: %d found, %d mean nothing", rounds, found, harmless)
	if found < rounds/2 {
		t.Error("the test finds too little")
	}
}

// What a crash left has no seal. A bit that changed there is found all the same, unless
// it is in the last commit, where damage and a crash look alike.
func TestOpen_damageAfterCrash(t *testing.T) {
	t.Parallel()
	random := testkit.Rand(t, 0)
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 100))))
	store.Reopen() // which writes a table
	for _, spec := range specs("y", 60) {
		_, _, err := store.Create(ctx, spec.Spec)
		do(t, err)
	}
	want := everything(t, store)
	crashed := t.TempDir()
	do(t, os.CopyFS(crashed, os.DirFS(store.Options.Dir)))
	files := []string{filepath.Join(crashed, "MANIFEST")}
	logs, err := filepath.Glob(filepath.Join(crashed, "*.mem"))
	do(t, err)
	files = append(files, logs...)
	found, last, harmless := 0, 0, 0
	for round := range 80 {
		file := files[round%len(files)]
		whole, err := os.ReadFile(file)
		do(t, err)
		place := random.IntN(len(bytes.TrimRight(whole, "\x00")))
		what := fmt.Sprintf("bit %d of byte %d of %s", round%8, place, filepath.Base(file))
		options := store.Options
		options.Dir = filepath.Join(t.TempDir(), "store")
		do(t, os.CopyFS(options.Dir, os.DirFS(crashed)))
		whole[place] ^= 1 << (round % 8)
		do(t, os.WriteFile(filepath.Join(options.Dir, filepath.Base(file)), whole, 0o600))
		report, err := kv.Check(options, unheard)
		do(t, err)
		opened, err := kv.Open(options)
		if err != nil {
			found++
			if !errors.Is(err, kv.ErrCorrupt) || len(report.Findings) == 0 {
				t.Errorf("%s: %v, check: %v", what, err, report)
			}
			do(t, os.RemoveAll(options.Dir))
			continue
		}
		got := everything(t, &kvtest.Store{Store: opened})
		do(t, opened.Close())
		do(t, os.RemoveAll(options.Dir))
		switch diff := cmp.Diff(want, got); {
		case diff == "":
			harmless++
		case len(got) == len(want)-1 && got["y-00059"] == "":
			last++
		default:
			t.Errorf("%s: %d of %d tokens", what, len(got), len(want))
		}
	}
	t.Logf("%d found, %d mean nothing, %d are in the last commit", found, harmless, last)
	if found < 40 {
		t.Error("the test finds too little")
	}
}

// A start that is refused leaves a store that was closed as one that was closed.
func TestOpen_staysClosed(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 10))))
	do(t, store.Close())
	options := store.Options
	options.MasterKeys = []kv.MasterKey{kv.NewMasterKey()}
	if _, err := kv.Open(options); !errors.Is(err, kv.ErrWrongKey) {
		t.Errorf("error %v", err)
	}
	do(t, second(os.Stat(filepath.Join(options.Dir, "CLOSED"))))
}
