package seal_test

import (
	"bytes"
	"testing"

	"tokend/kv/internal/seal"
)

// A key file holds keys, each of which is written as it was read, or it is an error.
func FuzzParseMasterKeys(f *testing.F) {
	f.Add([]byte(seal.NewMasterKey().Encode() + "\n"))
	f.Add([]byte("\n \nAAAA\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		keys, err := seal.ParseMasterKeys(file)
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
