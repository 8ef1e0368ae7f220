package kv_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/kvtest"
)

// What is wrong is said in words. An index that does not agree with the records is made
// anew, and no record is lost by that.
func TestCheck(t *testing.T) {
	t.Parallel()
	const noRepair = ""
	for _, c := range []struct {
		name   string
		damage func(*testing.T, *kvtest.Edits)
		want   string // a finding
		repair string
	}{
		{"a record without its entries", func(_ *testing.T, e *kvtest.Edits) {
			for _, key := range e.Keys("h/") {
				e.Delete(key)
			}
		}, `the token "x" is not found by its value: the index has no entry for it`, "the entry was made"},
		{"an entry that leads to another token", func(_ *testing.T, e *kvtest.Edits) {
			for _, key := range e.Keys("h/") {
				e.Set(key, []byte("other"))
			}
		}, `the token "x" is not found by its value: the index leads to "other"`, "the entry was made"},
		{"an entry without its record", func(_ *testing.T, e *kvtest.Edits) {
			e.Set("h/"+string(make([]byte, sha256.Size)), []byte("gone"))
		}, `an entry of the index leads to the token "gone", which does not exist`, "the entry was removed"},
		{"an entry for another value", func(_ *testing.T, e *kvtest.Edits) {
			e.Set("h/"+string(make([]byte, sha256.Size)), []byte("x"))
		}, `an entry of the index leads to the token "x", which has another value`, "the entry was removed"},
		{"last uses that are cut off", func(_ *testing.T, e *kvtest.Edits) {
			e.Set("u/\x00\x01", []byte{1, 2})
		}, `the last uses of some tokens (752f0001) are not readable`, "they were removed: when these tokens were last used is lost"},
		{"last uses in the wrong place", func(_ *testing.T, e *kvtest.Edits) {
			e.Set("u/\x00\x01", append([]byte{1}, make([]byte, 16)...))
		}, `the last uses of some tokens (752f0001) are not readable`, "they were removed: when these tokens were last used is lost"},
		{"a record that was changed", func(t *testing.T, e *kvtest.Edits) {
			raw, err := e.Get("t/x")
			do(t, err)
			raw[len(raw)-1] ^= 1
			e.Set("t/x", raw)
		}, `token "x": the store is damaged: the record does not match its seal`, noRepair},
		{"a key of no known kind", func(_ *testing.T, e *kvtest.Edits) {
			e.Set("zz", nil)
		}, `there is a key of no known kind: "zz"`, noRepair},
		{"an index key that is too short", func(_ *testing.T, e *kvtest.Edits) {
			e.Set("h/short", []byte("x"))
		}, `there is a key of no known kind: "h/short"`, noRepair},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, values := rotatedStore(t)
			withDatabase(t, store, func(e *kvtest.Edits) { c.damage(t, e) })
			options := store.Options
			report, err := kv.Check(options, unheard)
			do(t, err)
			expectFinding(t, report, kv.Finding{What: c.want, Repair: c.repair})
			before, after, err := kv.Repair(options, unheard)
			do(t, err)
			if diff := cmp.Diff(report, before); diff != "" {
				t.Error(diff)
			}
			if c.repair == noRepair {
				expectFinding(t, after, kv.Finding{What: c.want})
				return
			}
			if len(after.Findings) > 0 || after.Tokens != 2 {
				t.Errorf("after the repair: %+v", after)
			}
			repaired := kvtest.New(t, func(o *kv.Options) { *o = options })
			for _, value := range values {
				do(t, second(repaired.Verify([]byte(value.Reveal()))))
			}
		})
	}
}

// rotatedStore has two tokens, one with a value before its rotation, and gives the values.
func rotatedStore(t *testing.T) (*kvtest.Store, []kv.Value) {
	t.Helper()
	store := kvtest.New(t)
	_, old, err := store.Create(ctx, kv.Spec{Name: "x", Active: true})
	do(t, err)
	_, current, err := store.Rotate(ctx, "x", time.Hour)
	do(t, err)
	_, other, err := store.Create(ctx, kv.Spec{Name: "other", Active: true})
	do(t, err)
	return store, []kv.Value{old, current, other}
}

func expectFinding(t *testing.T, report kv.Report, want kv.Finding) {
	t.Helper()
	if !slices.Contains(report.Findings, want) {
		t.Errorf("%+v, want %+v", report.Findings, want)
	}
}

// Two records with the same value cannot both be found, and nobody but the operator
// knows which is the right one.
func TestCheck_sameValue(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	_, value, err := store.Create(ctx, kv.Spec{Name: "x"})
	do(t, err)
	do(t, store.Close())
	twin := kvtest.New(t, func(o *kv.Options) { o.MasterKeys = store.Options.MasterKeys })
	do(t, twin.Close())
	var head []byte // with the same keys, it takes the same value
	do(t, kvtest.Edit(store.Options.Dir, func(e *kvtest.Edits) (err error) {
		head, err = e.Get("m/key")
		return err
	}))
	do(t, kvtest.Edit(twin.Options.Dir, func(e *kvtest.Edits) error { e.Set("m/key", head); return nil }))
	other, err := kv.Open(twin.Options)
	do(t, err)
	do(t, second(other.CreateAll(ctx, []kv.NewToken{{Spec: kv.Spec{Name: "y"}, Value: value}})))
	do(t, other.Close())
	var record []byte
	do(t, kvtest.Edit(twin.Options.Dir, func(e *kvtest.Edits) (err error) {
		record, err = e.Get("t/y")
		return err
	}))
	do(t, kvtest.Edit(store.Options.Dir, func(e *kvtest.Edits) error { e.Set("t/y", record); return nil }))
	before, after, err := kv.Repair(store.Options, unheard)
	do(t, err)
	want := kv.Finding{What: `the tokens "y" and "x" have the same value`}
	expectFinding(t, before, want)
	expectFinding(t, after, want)
}

// Looking changes nothing, also of what a crash left.
func TestCheck_changesNothing(t *testing.T) {
	t.Parallel()
	store, _ := rotatedStore(t)
	crashed := filepath.Join(t.TempDir(), "store")
	do(t, os.CopyFS(crashed, os.DirFS(store.Options.Dir)))
	do(t, os.WriteFile(filepath.Join(crashed, "00009.mem"), nil, 0o600)) // stillborn
	if _, err := kv.Check(store.Options, unheard); !regexp.MustCompile("in use by another process").MatchString(fmt.Sprint(err)) {
		t.Errorf("while it is open: %v", err)
	}
	do(t, store.Close())
	for _, dir := range []string{store.Options.Dir, crashed} {
		before := contents(t, filepath.Dir(dir))
		options := store.Options
		options.Dir = dir
		report, err := kv.Check(options, unheard)
		if diff := cmp.Diff(kv.Report{Tokens: 2}, report); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if diff := cmp.Diff(before, contents(t, filepath.Dir(dir))); diff != "" {
			t.Error(diff)
		}
	}
	store.Options.MasterKeys = []kv.MasterKey{kv.NewMasterKey()}
	if _, err := kv.Check(store.Options, unheard); !regexp.MustCompile("no master key opens").MatchString(fmt.Sprint(err)) {
		t.Errorf("with another key: %v", err)
	}
}

func contents(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	sums := map[string][sha256.Size]byte{}
	do(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		sums[path] = sha256.Sum256(content)
		return err
	}))
	return sums
}

// A store that was killed again and again may have many tables, to which Badger adds none
// before it has merged them, and many logs, of which it makes some. Check lets it merge none.
func TestCheck_manyTables(t *testing.T) {
	t.Parallel()
	store := kvtest.New(t)
	do(t, second(store.CreateAll(ctx, specs("x", 1))))
	store.Reopen() // which makes a table
	do(t, second(store.CreateAll(ctx, specs("y", 1))))
	var changes []byte // the same again changes nothing
	for number := range byte(9) {
		changes = append(changes, 0x0a, 2, 0x08, 2+number) // ManifestChangeSet: create a table, at level 0
	}
	o := crashedWith(t, store, changes)
	table, err := os.ReadFile(filepath.Join(o.Dir, "000001.sst"))
	do(t, err)
	for number := range 9 {
		do(t, os.WriteFile(filepath.Join(o.Dir, fmt.Sprintf("%06d.sst", 2+number)), table, 0o600))
	}
	logs, err := filepath.Glob(filepath.Join(o.Dir, "*.mem"))
	do(t, err)
	log, err := os.ReadFile(logs[0])
	do(t, err)
	for number := range 5 {
		do(t, os.WriteFile(filepath.Join(o.Dir, fmt.Sprintf("%05d.mem", 90+number)), log, 0o600))
	}
	type result struct {
		report kv.Report
		err    error
	}
	checked := make(chan result, 1)
	go func() {
		report, err := kv.Check(o, func(int, int) error { return nil })
		checked <- result{report, err}
	}()
	select {
	case r := <-checked:
		if r.err != nil || r.report.Tokens != 2 || len(r.report.Findings) > 0 {
			t.Errorf("%+v", r)
		}
	case <-time.After(time.Minute):
		t.Fatal("it hangs")
	}
}

// crashedWith is a copy of a store as after a kill, with another change of its MANIFEST.
func crashedWith(t *testing.T, store *kvtest.Store, change []byte) kv.Options {
	t.Helper()
	o := store.Options
	o.Dir = filepath.Join(t.TempDir(), "store")
	do(t, os.CopyFS(o.Dir, os.DirFS(store.Options.Dir)))
	path := filepath.Join(o.Dir, "MANIFEST")
	list, err := os.ReadFile(path)
	do(t, err)
	list = binary.BigEndian.AppendUint32(list, uint32(len(change)))
	list = binary.BigEndian.AppendUint32(list, crc32.Checksum(change, crc32.MakeTable(crc32.Castagnoli)))
	do(t, os.WriteFile(path, append(list, change...), 0o600))
	return o
}
