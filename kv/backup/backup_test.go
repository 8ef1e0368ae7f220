package backup_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/internal/testkit"
	"tokend/kv/backup"
)

var taken = time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC)

func mac(tokens int, sum []byte) []byte {
	whole := sha256.Sum256(append([]byte{byte(tokens)}, sum...))
	return whole[:]
}

// writeSample writes a backup of two tokens and a shard of last uses.
func writeSample(t testing.TB, to io.Writer) {
	t.Helper()
	w, err := backup.NewWriter(to, backup.Head{Schema: 1, Taken: taken, About: 2, Key: []byte("sealed")})
	testkit.Do(t, err)
	for _, key := range []string{"t/a", "t/b", "u/\x00\x01"} {
		testkit.Do(t, w.Write([]byte(key), []byte("content of "+key)))
	}
	testkit.Do(t, w.Close(mac))
}

// What was written is read, and only with the key it is authentic.
func TestReader(t *testing.T) {
	var whole bytes.Buffer
	writeSample(t, &whole)
	var progress []int
	r, err := backup.NewReader(iotest.OneByteReader(&whole), func(done, about int) error {
		progress = append(progress, done, about)
		return nil
	})
	testkit.Do(t, err)
	if want := (backup.Head{Schema: 1, Taken: taken, About: 2, Key: []byte("sealed")}); !cmp.Equal(want, r.Head) {
		t.Error(cmp.Diff(want, r.Head))
	}
	var keys []string
	for entry, err := range r.Entries() {
		testkit.Do(t, err)
		keys = append(keys, string(entry.Key))
		if string(entry.Value) != "content of "+string(entry.Key) {
			t.Errorf("%q", entry.Value)
		}
	}
	if want := []string{"t/a", "t/b", "u/\x00\x01"}; !cmp.Equal(want, keys) {
		t.Error(keys)
	}
	if want := []int{1, 2, 2, 2}; !cmp.Equal(want, progress) {
		t.Error(progress)
	}
	if want := (backup.Info{Taken: taken, Tokens: 2}); r.Info() != want {
		t.Error(r.Info())
	}
	if !r.IsAuthentic(mac) || r.IsAuthentic(func(int, []byte) []byte { return []byte("another key") }) {
		t.Error("the MAC does not tell who wrote it")
	}
}

// Every bit of a backup counts.
func TestCheck_everyBit(t *testing.T) {
	var written bytes.Buffer
	writeSample(t, &written)
	whole := written.Bytes()
	for i := range whole {
		for bit := range 8 {
			whole[i] ^= 1 << bit
			if _, err := backup.Check(bytes.NewReader(whole), nil); err == nil {
				t.Errorf("bit %d of byte %d of %d is not missed", bit, i, len(whole))
			}
			whole[i] ^= 1 << bit
		}
	}
	for i := range whole {
		if _, err := backup.Check(bytes.NewReader(whole[:i]), nil); !errors.Is(err, backup.ErrInvalid) {
			t.Errorf("cut after byte %d: %v", i, err)
		}
	}
}

// What a reader or a progress has against it ends the reading with that.
func TestCheck_ends(t *testing.T) {
	var whole bytes.Buffer
	writeSample(t, &whole)
	broken := errors.New("on purpose")
	half := io.MultiReader(bytes.NewReader(whole.Bytes()[:whole.Len()/2]), iotest.ErrReader(broken))
	if _, err := backup.Check(half, nil); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if _, err := backup.Check(&whole, func(int, int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// Whatever is read as a backup, it is one just as it was written or an error, and takes
// no more memory than an item may.
func FuzzCheck(f *testing.F) {
	var whole bytes.Buffer
	writeSample(f, &whole)
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:whole.Len()/2])
	f.Add([]byte{0x82, 0x5b, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(bytes.Repeat([]byte{0x81}, 1000))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tokens := 0
		info, err := backup.Check(bytes.NewReader(raw), func(done, _ int) error {
			tokens = done
			return nil
		})
		if err == nil && info.Tokens != tokens {
			t.Errorf("%d tokens, told of %d", info.Tokens, tokens)
		}
		if err != nil && !errors.Is(err, backup.ErrInvalid) && !errors.Is(err, backup.ErrNewer) {
			t.Errorf("error %v", err)
		}
	})
}
