package kv_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/backup"
	"tokend/kv/kvtest"
)

// A backup and what is made of it are the store as it was when the snapshot was
// taken, whatever is changed meanwhile: names, rights, values, those before a
// rotation, last uses.
func TestBackup(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 100))))
	_, old, err := store.Create(ctx, kv.Spec{Name: "rotated", Active: true, Write: true})
	do(t, err)
	_, current, err := store.Rotate(ctx, "rotated", time.Hour)
	do(t, err)
	do(t, second(store.Verify([]byte(old.Reveal()))))
	store.Reopen() // which brings last uses to disk
	want := everything(t, store)
	snapshot, err := store.Snapshot()
	do(t, err)
	do(t, second(store.Delete(ctx, "x-00001")))
	do(t, second(store.CreateAll(ctx, specs("later", 1))))
	if _, _, err := store.Rotate(ctx, "rotated", 0); err != nil {
		t.Fatal(err)
	}
	written := backupOf(t, snapshot)
	if again := backupOf(t, snapshot); !bytes.Equal(again, written) {
		t.Error("read again, it is another one")
	}
	snapshot.Close()

	var progress []int
	info, err := backup.Check(iotest.OneByteReader(bytes.NewReader(written)), func(done, _ int) error {
		progress = append(progress, done)
		return nil
	})
	if want := (kv.BackupInfo{Taken: kvtest.Start, Tokens: 101}); err != nil || !cmp.Equal(want, info) {
		t.Errorf("%v, %v", info, err)
	}
	if len(progress) != 101 || progress[0] != 1 || progress[100] != 101 {
		t.Errorf("progress %v", progress)
	}
	restored := restore(t, store, written)
	if diff := cmp.Diff(want, everything(t, restored)); diff != "" {
		t.Error(diff)
	}
	if got := restored.LastBackup(); !got.Equal(kvtest.Start) {
		t.Errorf("last backup at %v", got)
	}
	for _, value := range []kv.Value{old, current} {
		do(t, second(restored.Verify([]byte(value.Reveal()))))
	}
	if store.Options.Dir == restored.Options.Dir {
		t.Error("it is the same store")
	}
}

// A snapshot gives the same backup again, whatever is counted meanwhile: HTTP/1.0 is told its
// length before it is sent.
func TestBackup_sameAgain(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 20))))
	census(t, store.Store)
	snapshot, err := store.Snapshot()
	do(t, err)
	defer snapshot.Close()
	before := backupOf(t, snapshot)
	do(t, second(store.CreateAll(ctx, specs("y", 300)))) // a larger number, which takes more bytes
	if again := backupOf(t, snapshot); !bytes.Equal(again, before) {
		t.Errorf("%d bytes, then %d", len(before), len(again))
	}
}

// What is not a whole backup, just as it was written, is refused, and leaves
// nothing behind.
func TestRestore_refuses(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 5))))
	_, value, err := store.Create(ctx, kv.Spec{Name: "used", Active: true})
	do(t, err)
	do(t, second(store.Verify([]byte(value.Reveal()))))
	store.Reopen()
	whole := backupStore(t, store)
	items := itemsOf(t, whole)
	if len(items) != 1+6+1+1 { // head, tokens, uses, end
		t.Fatal(len(items), "items")
	}
	without := func(drop ...int) []byte {
		var left [][]byte
		for i, item := range items {
			if !slices.Contains(drop, i) {
				left = append(left, item)
			}
		}
		return bytes.Join(left, nil)
	}
	swapped := slices.Clone(items)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	flip := func(i int) []byte {
		changed := slices.Clone(whole)
		changed[i] ^= 0x10
		return changed
	}
	reads := map[string]io.Reader{}
	for name, changed := range map[string][]byte{
		"nothing at all":              nil,
		"its head alone":              items[0],
		"cut in front of its end":     without(len(items) - 1),
		"cut behind a token":          without(4, 5, 6, 7, 8),
		"cut by a byte":               whole[:len(whole)-1],
		"a token less":                without(3),
		"the last uses less":          without(7),
		"two tokens swapped":          bytes.Join(swapped, nil),
		"a byte of its head":          flip(30),
		"a byte of a token":           flip(len(items[0]) + 40),
		"a byte of its MAC":           flip(len(whole) - 40),
		"a byte more":                 append(slices.Clone(whole), 0),
		"twice":                       append(slices.Clone(whole), whole...),
		"an export":                   []byte(`{"name":"x","active":true,"write":true}` + "\n"),
		"a length beyond all bounds":  append(slices.Clone(items[0]), 0x82, 0x5b, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"a token less, well counted":  forged(t, items, 3),
		"a token less, an old one in": forged(t, items, 1, 2),
	} {
		reads[name] = bytes.NewReader(changed)
	}
	for name, r := range reads {
		t.Run(name, func(t *testing.T) {
			expectRefusal(t, store, r, kv.ErrBackup)
		})
	}
	t.Run("of another store", func(t *testing.T) {
		other := kvtest.New(t)
		do(t, second(other.CreateAll(ctx, specs("x", 5))))
		expectRefusal(t, store, bytes.NewReader(backupStore(t, other)), kv.ErrWrongKey)
	})
	t.Run("that cannot be read", func(t *testing.T) {
		broken := errors.New("the disk is gone")
		expectRefusal(t, store, io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), iotest.ErrReader(broken)), broken)
	})
	t.Run("into a store", func(t *testing.T) {
		if _, err := kv.Restore(bytes.NewReader(whole), store.Options, unheard); !errors.Is(err, kv.ErrNotEmpty) {
			t.Errorf("error %v", err)
		}
	})
}

// A backup that could not be restored is not taken.
func TestBackup_damagedRecord(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 3))))
	store.Damage("x-00001")
	snapshot, err := store.Snapshot()
	do(t, err)
	defer snapshot.Close()
	err = snapshot.Backup(io.Discard, kvtest.Start)
	if !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), `"x-00001"`) {
		t.Errorf("error %v", err)
	}
}

// A restore that was broken off is no obstacle to the next.
func TestRestore_again(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 3))))
	whole := backupStore(t, store)
	options := store.Options
	options.Dir = filepath.Join(t.TempDir(), "store")
	do(t, os.MkdirAll(options.Dir+".restoring", 0o700))
	do(t, os.WriteFile(filepath.Join(options.Dir+".restoring", "00001.mem"), []byte("x"), 0o600))
	do(t, os.Mkdir(options.Dir, 0o700)) // empty
	do(t, second(kv.Restore(bytes.NewReader(whole), options, unheard)))
	if left, err := os.ReadDir(filepath.Dir(options.Dir)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// forged is a backup without some items whose count and SHA-256 are right, as
// somebody could make it who does not have the key.
func forged(t *testing.T, items [][]byte, drop ...int) []byte {
	t.Helper()
	var whole []byte
	for i, item := range items[:len(items)-1] {
		if !slices.Contains(drop, i) {
			whole = append(whole, item...)
		}
	}
	var end []any
	do(t, cbor.Unmarshal(items[len(items)-1], &end))
	sum := sha256.Sum256(append(slices.Clone(whole), end[1].([]byte)...)) // the MAC stays
	end[0], end[2] = end[0].(uint64)-uint64(len(drop)), sum[:]
	encoded, err := cbor.Marshal(end)
	do(t, err)
	return append(whole, encoded...)
}

func expectRefusal(t *testing.T, store *kvtest.Store, r io.Reader, want error) {
	t.Helper()
	options := store.Options
	options.Dir = filepath.Join(t.TempDir(), "store")
	if _, err := kv.Restore(r, options, unheard); !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if left, err := os.ReadDir(filepath.Dir(options.Dir)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func itemsOf(t *testing.T, whole []byte) (items [][]byte) {
	t.Helper()
	decoder := cbor.NewDecoder(bytes.NewReader(whole))
	for {
		var raw cbor.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return items
		}
		do(t, err)
		items = append(items, raw)
	}
}

func unheard(int, int) error { return nil }

func backupStore(t *testing.T, store *kvtest.Store) []byte {
	t.Helper()
	snapshot, err := store.Snapshot()
	do(t, err)
	defer snapshot.Close()
	return backupOf(t, snapshot)
}

func backupOf(t *testing.T, snapshot *kv.Snapshot) []byte {
	t.Helper()
	var whole bytes.Buffer
	do(t, snapshot.Backup(&whole, kvtest.Start))
	return whole.Bytes()
}

// restore opens what is made of a backup of a store.
func restore(t *testing.T, store *kvtest.Store, whole []byte) *kvtest.Store {
	t.Helper()
	return kvtest.New(t, func(o *kv.Options) {
		o.Dir = filepath.Join(o.Dir, "store")
		o.MasterKeys, o.Now = store.Options.MasterKeys, store.Options.Now
		do(t, second(kv.Restore(bytes.NewReader(whole), *o, unheard)))
	})
}

// everything is all tokens with their values.
func everything(t *testing.T, store *kvtest.Store) map[string]string {
	t.Helper()
	snapshot, err := store.Snapshot()
	do(t, err)
	defer snapshot.Close()
	all := map[string]string{}
	for token, err := range snapshot.WithValues() {
		do(t, err)
		all[token.Name] = cmp.Diff(nil, token.Token) + token.Value.Reveal()
	}
	return all
}
