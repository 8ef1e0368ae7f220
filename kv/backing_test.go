package kv_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// A log that the disk does not take is an error before the commit: nothing was changed,
// reads go on, and it heals.
func TestStore_logThatTheDiskDoesNotTake(t *testing.T) {
	store := kvtest.New(t)
	_, value, err := store.Create(kv.Spec{Name: "before", Active: true})
	do(t, err)
	kv.FillDisk(true)
	defer kv.FillDisk(false)
	for what, err := range map[string]error{
		"create": second(store.CreateAll(specs("x", 1))),
		"bulk":   second(store.CreateAll(specs("x", 1000))),
		"delete": second(store.Delete("before")),
	} {
		if !errors.Is(err, kv.ErrFull) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := store.Verify([]byte(value.Reveal())); err != nil {
		t.Error(err)
	}
	kv.FillDisk(false)
	do(t, second(store.CreateAll(specs("x", 1000))))
	store.Reopen()
	if got := count(t, store); got != 1001 {
		t.Errorf("%d tokens", got)
	}
}

// What is asked of the disk is what a commit takes, and not much more.
func TestStore_logTaken(t *testing.T) {
	store := kvtest.New(t)
	for _, entries := range []int{1, 2, 100, 500} {
		for _, bytes := range []int{0, 1, 200, 1000} {
			keys := make([][]byte, entries)
			for i := range keys {
				keys[i] = fmt.Appendf(nil, "x/%d/%s", i, strings.Repeat("k", bytes/10))
			}
			for _, value := range [][]byte{make([]byte, bytes), nil} { // and gone again
				asked, taken := store.LogTaken(keys, value)
				if asked < taken || asked > taken+200+entries*kv.LogOverhead {
					t.Errorf("%d entries with values of %d bytes: %d bytes are asked for, %d are taken", entries, len(value), asked, taken)
				}
			}
		}
	}
}
