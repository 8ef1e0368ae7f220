package seal_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"tokend/internal/testkit"
	"tokend/kv/internal/seal"
)

// What was sealed opens with the same key and the same associated data, and no bit of either
// may differ.
func TestVault(t *testing.T) {
	key := seal.NewDataKey()
	v := seal.NewVault(key)
	value, associated := []byte("the value"), []byte("the rest of the record")
	sealed := v.Seal(value, associated)
	if bytes.Contains(sealed, value) || bytes.Equal(sealed, v.Seal(value, associated)) {
		t.Error("it is not sealed, or not with a nonce of its own")
	}
	same := seal.NewVault(key)
	if opened, err := same.Open(sealed, associated); err != nil || !bytes.Equal(opened, value) {
		t.Errorf("%q, %v", opened, err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := v.Open(changed, associated); err == nil {
			t.Errorf("byte %d does not count", i)
		}
	}
	for i := range associated {
		changed := bytes.Clone(associated)
		changed[i] ^= 1
		if _, err := v.Open(sealed, changed); err == nil {
			t.Errorf("byte %d of what is associated does not count", i)
		}
	}
	other := seal.NewVault(seal.NewDataKey())
	if _, err := other.Open(sealed, associated); err == nil {
		t.Error("another key opens it")
	}
	if v.Hash(value) != same.Hash(value) || v.Hash(value) == other.Hash(value) || v.Hash(value) == v.Hash(associated) {
		t.Error("hashes do not tell values and keys apart")
	}
	if mac := v.BackupMAC(1, value); !bytes.Equal(mac, same.BackupMAC(1, value)) || bytes.Equal(mac, v.BackupMAC(2, value)) || bytes.Equal(mac, other.BackupMAC(1, value)) {
		t.Error("the MAC of a backup does not tell what it should")
	}
	if allocations := testing.AllocsPerRun(100, func() { v.Hash(value) }); allocations > 0 && !testkit.Race {
		t.Errorf("a hash allocates %v times", allocations)
	}
}

// A data key opens with the master key that sealed it, and with no other.
func TestMasterKey(t *testing.T) {
	one, other := seal.NewMasterKey(), seal.NewMasterKey()
	dataKey := seal.NewDataKey()
	wrapped := one.Wrap(dataKey)
	if opened, ok := one.Unwrap(wrapped); !ok || !bytes.Equal(opened, dataKey) || !seal.IsWrapped(wrapped) {
		t.Error("it does not open again")
	}
	if _, ok := other.Unwrap(wrapped); ok {
		t.Error("another key opens it")
	}
	for i := range wrapped {
		changed := bytes.Clone(wrapped)
		changed[i] ^= 1
		if _, ok := one.Unwrap(changed); ok {
			t.Errorf("byte %d does not count", i)
		}
	}
	for _, raw := range [][]byte{nil, {1}, wrapped[:len(wrapped)-1], append(bytes.Clone(wrapped), 0)} {
		if _, ok := one.Unwrap(raw); ok || seal.IsWrapped(raw) {
			t.Errorf("%d bytes are a data key", len(raw))
		}
	}
	read, err := seal.ParseMasterKeys([]byte(one.Encode() + "\n\n" + other.Encode() + "\n"))
	if err != nil || len(read) != 2 || read[0].Encode() != one.Encode() || read[1].Encode() != other.Encode() {
		t.Error(err)
	}
	one.Wipe()
	if _, ok := one.Unwrap(wrapped); ok {
		t.Error("a key that was wiped opens it")
	}
}

// A key does not show itself, whatever prints it.
func TestRedacted(t *testing.T) {
	key := seal.NewMasterKey()
	encoded, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key)
	for _, shown := range []string{fmt.Sprint(key), fmt.Sprintf("%v %+v %#v %x %s %q %d", key, key, key, key, key, key, key), string(encoded), log.String()} {
		if !strings.Contains(shown, "[secret]") || strings.Contains(shown, key.Encode()) || strings.Contains(shown, key.Encode()[:8]) {
			t.Errorf("it shows itself: %s", shown)
		}
	}
}
