package durable_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"tokend/internal/durable"
	"tokend/internal/testkit"
)

// A file is the old one or the new one, and nothing is left beside it.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	expect := func(want string) {
		t.Helper()
		content, err := os.ReadFile(path)
		testkit.Do(t, err)
		entries, err := os.ReadDir(dir)
		testkit.Do(t, err)
		if string(content) != want || len(entries) != 1 {
			t.Errorf("%q, beside %v", content, entries)
		}
	}
	testkit.Do(t, durable.WriteFile(path, []byte("one"), 0o600))
	expect("one")
	broken := errors.New("on purpose")
	err := durable.Write(path, 0o600, func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	expect("one")
	testkit.Do(t, durable.WriteFile(path, []byte("two"), 0o640))
	expect("two")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Error(info.Mode(), err)
	}
	testkit.Do(t, durable.Remove(path))
	testkit.Do(t, durable.Remove(path)) // missing is no error
}

func TestMakeDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir")
	for range 2 {
		testkit.Do(t, durable.MakeDir(path))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info.Mode(), err)
	}
	if err := durable.MakeDir(filepath.Join(path, "no", "parent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if err := durable.SyncFile(filepath.Join(path, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
