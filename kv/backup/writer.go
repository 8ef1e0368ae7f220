package backup

import (
	"crypto/sha256"
	"hash"
	"io"
)

// Writer writes a backup.
type Writer struct {
	to     io.Writer
	sum    hash.Hash
	tokens int
}

// NewWriter begins a backup with its head.
func NewWriter(w io.Writer, h Head) (*Writer, error) {
	b := &Writer{to: w, sum: sha256.New()}
	return b, b.item(headItem{
		Magic: magic, Version: version, Schema: h.Schema, Taken: h.Taken.UnixMilli(), About: h.About, Key: h.Key,
	})
}

// Write adds an entry. Keys must come in their order.
func (b *Writer) Write(key, value []byte) error {
	if isRecord(string(key)) {
		b.tokens++
	}
	return b.item(entryItem{Key: key, Value: value})
}

// Close writes the end, without which the backup is worth nothing.
func (b *Writer) Close(mac MAC) error {
	end := endItem{Tokens: b.tokens, MAC: mac(b.tokens, b.sum.Sum(nil))}
	b.sum.Write(end.MAC)
	end.SHA256 = b.sum.Sum(nil)
	return b.item(end)
}

func (b *Writer) item(item any) error {
	encoded, err := encoding.Marshal(item)
	if err != nil {
		return err
	}
	b.sum.Write(encoded)
	_, err = b.to.Write(encoded)
	return err
}
