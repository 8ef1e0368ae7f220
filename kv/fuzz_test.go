package kv_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// Whatever is read as a backup, it is one just as it was written or an error, and takes
// no more memory than an item may.
func FuzzCheckBackup(f *testing.F) {
	store := kvtest.New(f)
	_, _, err := store.Create(kv.Spec{Name: "x"})
	if err != nil {
		f.Fatal(err)
	}
	snapshot, err := store.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	var whole []byte
	for piece, err := range snapshot.Backup(kvtest.Start) {
		if err != nil {
			f.Fatal(err)
		}
		whole = append(whole, piece...)
	}
	snapshot.Close()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte{0x82, 0x5b, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(bytes.Repeat([]byte{0x81}, 1000))
	f.Fuzz(func(t *testing.T, backup []byte) {
		tokens := 0
		info, err := kv.CheckBackup(bytes.NewReader(backup), func(done, _ int) error {
			tokens = done
			return nil
		})
		if err == nil && info.Tokens != tokens {
			t.Errorf("%d tokens, told of %d", info.Tokens, tokens)
		}
		if err != nil && !errors.Is(err, kv.ErrBackup) && !errors.Is(err, kv.ErrNewerSchema) {
			t.Errorf("error %v", err)
		}
	})
}

// A key file holds keys, each of which is written as it was read, or it is an error.
func FuzzParseMasterKeys(f *testing.F) {
	f.Add([]byte(kv.NewMasterKey().Encode() + "\n"))
	f.Add([]byte("\n \nAAAA\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		keys, err := kv.ParseMasterKeys(file)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, key := range keys {
			if !bytes.Contains(file, []byte(key.Encode())) {
				t.Error("a key that is not in the file")
			}
		}
	})
}

func FuzzUses(f *testing.F) {
	f.Add([]byte{1})
	f.Add(append([]byte{1}, make([]byte, 32)...))
	f.Add([]byte{1, 2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n, err := kv.ReadUses(raw); err == nil && len(raw) != 1+16*n {
			t.Errorf("%d bytes are %d uses", len(raw), n)
		}
	})
}

// What a store was when it was closed: whatever the file says, the folder is as it says,
// or something is wrong, or nothing can be told.
func FuzzClosed(f *testing.F) {
	store := kvtest.New(f)
	if err := store.Close(); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(store.Options.Dir, "CLOSED"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(filepath.Join(store.Options.Dir, "CLOSED"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		closed, err := kv.CheckClosed(store.Options.Dir)
		if err == nil && closed != bytes.Equal(bytes.TrimSuffix(content, []byte("\n")), bytes.TrimSuffix(good, []byte("\n"))) {
			t.Errorf("closed: %v", closed)
		}
		if err != nil && !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("error %v", err)
		}
	})
}

// A log is sound or damaged, whatever is in it; cut anywhere, as a crash does, a sound one
// stays sound.
func FuzzLog(f *testing.F) {
	store := kvtest.New(f)
	do(f, second(store.CreateAll(specs("x", 3))))
	content := onlyFile(f, store.Options.Dir, "*.mem")
	f.Add(bytes.TrimRight(content, "\x00"), 100)
	f.Add([]byte{}, 0)
	f.Add(bytes.Repeat([]byte{0x40}, 100), 50)
	path := filepath.Join(f.TempDir(), "00001.mem")
	verify := func(t *testing.T, content []byte) error {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return kv.VerifyLog(path)
	}
	f.Fuzz(func(t *testing.T, content []byte, cut int) {
		if verify(t, content) != nil || cut < 0 || cut > len(content) {
			return
		}
		if err := verify(t, content[:cut]); err != nil {
			t.Errorf("cut behind byte %d: %v", cut, err)
		}
	})
}

// A list of tables is sound, or damaged, whatever is in it. None of its changes is taken
// back where the tables are not there that it removed.
func FuzzManifest(f *testing.F) {
	store := kvtest.New(f)
	if err := store.Close(); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(store.Options.Dir, "MANIFEST"))
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
		if _, err := kv.ListedTables(dir); err != nil && !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("error %v", err)
		}
		if err := kv.UndoLastChange(dir); err != nil {
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
	store := kvtest.New(f)
	do(f, second(store.CreateAll(specs("x", 3))))
	do(f, store.Close())
	content := onlyFile(f, store.Options.Dir, "*.sst")
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
		if kv.VerifyTable(path, compression) == nil {
			kv.ReadTable(t, path, compression)
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
	do(t, err)
	return content
}
