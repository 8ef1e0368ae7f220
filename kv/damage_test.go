package kv_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// A bit that changed in any file of a closed store is found before anything is read,
// with the file's name, or it means nothing. Each round changes one at random;
// TOKEND_TORTURE makes the rounds many.
func TestOpen_damage(t *testing.T) {
	rounds := 300
	if os.Getenv("TOKEND_TORTURE") != "" {
		rounds = 5_000
	}
	store := kvtest.New(t)
	do(t, second(store.CreateAll(specs("x", 800))))
	store.Reopen()
	do(t, second(store.CreateAll(specs("y", 50))))
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
		place := random(len(whole))
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

func random(below int) int {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(below)))
	if err != nil {
		panic(err)
	}
	return int(n.Int64())
}
