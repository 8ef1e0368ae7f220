package badgerdb_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tokend/internal/testkit"
	"tokend/kv/internal/badgerdb"
)

// What a store was when it was closed: whatever the file says, the folder is as it says,
// or something is wrong, or nothing can be told.
func FuzzCleanMark(f *testing.F) {
	o := options(f)
	testkit.Do(f, open(f, o).Close(0))
	good, err := os.ReadFile(filepath.Join(o.Dir, "CLOSED"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(filepath.Join(o.Dir, "CLOSED"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		closed, err := badgerdb.HasCleanMark(o.Dir)
		if err == nil && closed != bytes.Equal(bytes.TrimSuffix(content, []byte("\n")), bytes.TrimSuffix(good, []byte("\n"))) {
			t.Errorf("closed: %v", closed)
		}
		if err != nil && !errors.Is(err, badgerdb.ErrCorrupt) {
			t.Errorf("error %v", err)
		}
	})
}

// A log is sound or damaged, whatever is in it; cut anywhere, as a crash does, a sound one
// stays sound.
func FuzzWAL(f *testing.F) {
	o := options(f)
	put(f, open(f, o), "x", 3)
	content := onlyFile(f, o.Dir, "*.mem")
	f.Add(bytes.TrimRight(content, "\x00"), 100)
	f.Add([]byte{}, 0)
	f.Add(bytes.Repeat([]byte{0x40}, 100), 50)
	path := filepath.Join(f.TempDir(), "00001.mem")
	verify := func(t *testing.T, content []byte) error {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return badgerdb.CheckWAL(path)
	}
	f.Fuzz(func(t *testing.T, content []byte, cut int) {
		if verify(t, content) != nil || cut < 0 || cut > len(content) {
			return
		}
		if err := verify(t, content[:cut]); err != nil {
			t.Errorf("cut after byte %d: %v", cut, err)
		}
	})
}

// A list of tables is sound, or damaged, whatever is in it. None of its changes is taken
// back where the tables are not there that it removed.
func FuzzManifest(f *testing.F) {
	o := options(f)
	testkit.Do(f, open(f, o).Close(0))
	content, err := os.ReadFile(filepath.Join(o.Dir, "MANIFEST"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(content[:len(content)-1])
	f.Add(append(bytes.Clone(content), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
	f.Add([]byte{})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := badgerdb.Tables(dir); err != nil && !errors.Is(err, badgerdb.ErrCorrupt) {
			t.Errorf("error %v", err)
		}
		if err := badgerdb.UndoLastChange(dir); err != nil {
			t.Errorf("undo: %v", err)
		}
		if after, err := os.ReadFile(filepath.Join(dir, "MANIFEST")); err != nil || !bytes.Equal(after, content) {
			t.Errorf("it was changed: %v", err)
		}
	})
}

// A table is sound, or damaged, whatever is in it and whatever the list says of it. All of
// one that is sound can be read.
func FuzzTable(f *testing.F) {
	o := options(f)
	db := open(f, o)
	put(f, db, "x", 3)
	testkit.Do(f, db.Close(0))
	content := onlyFile(f, o.Dir, "*.sst")
	for compression := range uint32(4) {
		f.Add(content, compression)
	}
	f.Add(content[:len(content)/2], uint32(0))
	f.Add(append(bytes.Clone(content), 0, 0, 0xff, 0), uint32(0))
	f.Add(append(bytes.Clone(content), 0xff, 0xff, 0xff, 0xff), uint32(0))
	f.Add(make([]byte, 20), uint32(0))
	path := filepath.Join(f.TempDir(), "000001.sst")
	f.Fuzz(func(t *testing.T, content []byte, compression uint32) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if badgerdb.CheckTable(path, compression) == nil {
			badgerdb.ReadTable(t, path, compression)
		}
	})
}

// onlyFile is what is in the one file of a folder whose name matches.
func onlyFile(t testing.TB, dir, pattern string) []byte {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	content, err := os.ReadFile(found[0])
	testkit.Do(t, err)
	return content
}
