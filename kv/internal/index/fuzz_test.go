package index_test

import (
	"testing"

	"tokend/kv/internal/index"
)

// Last uses are read as they were written, or are an error.
func FuzzUses(f *testing.F) {
	f.Add([]byte{1})
	f.Add(append([]byte{1}, make([]byte, 32)...))
	f.Add([]byte{1, 2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		uses, err := index.DecodeUses(raw)
		if err != nil {
			return
		}
		if n := uses.Len(); len(raw) != 1+16*n || string(uses.Encode()) != string(raw) {
			t.Errorf("%d bytes are %d uses", len(raw), n)
		}
		index.ExpectFound(t, uses)
	})
}
