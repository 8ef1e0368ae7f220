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

func TestTarget(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	testkit.Do(t, durable.WriteFile(at("file"), nil, 0o600))
	testkit.Do(t, os.Symlink("file", at("link")))
	testkit.Do(t, os.Symlink("link", at("link to a link")))
	testkit.Do(t, os.Symlink("missing", at("broken link")))
	for name, want := range map[string]string{"file": "file", "link": "file", "link to a link": "file", "missing": "missing"} {
		if got, err := durable.Target(at(name)); err != nil || got != at(want) {
			t.Errorf("%s leads to %s (%v), want %s", name, got, err, want)
		}
	}
	if got, err := durable.Target(at("broken link")); err == nil {
		t.Errorf("a link to nothing leads to %s", got)
	}
}
