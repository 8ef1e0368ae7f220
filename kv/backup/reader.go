package backup

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Reader reads a backup and checks it on the way.
type Reader struct {
	Head

	from     boundedReader
	items    *cbor.Decoder
	progress Progress
	sum      hash.Hash
	last     string // key
	tokens   int
	end      endItem
	content  []byte // the SHA-256 of all but the end
}

// Entry is a key of the store and what it holds.
type Entry struct{ Key, Value []byte }

// boundedReader reads a bounded number of bytes for an item, lest a length that was
// changed have everything after it read into memory.
type boundedReader struct {
	io.Reader

	allowed int
	failure error // to read
}

// maxItem is more bytes than a transaction takes, and so an entry.
const maxItem = 2 << 20

var errTooLong = errors.New("an item is too long")

func (r *boundedReader) Read(p []byte) (int, error) {
	if r.allowed <= 0 {
		return 0, errTooLong
	}
	n, err := r.Reader.Read(p[:min(len(p), r.allowed)])
	r.allowed -= n
	if err != nil && !errors.Is(err, io.EOF) {
		r.failure = err
	}
	return n, err
}

// NewReader reads the head of a backup. It fails with ErrInvalid or ErrNewer, or with what
// the reader said. The progress may be nil.
func NewReader(r io.Reader, progress Progress) (*Reader, error) {
	if progress == nil {
		progress = func(int, int) error { return nil }
	}
	b := &Reader{from: boundedReader{Reader: r}, progress: progress, sum: sha256.New()}
	b.items = decoding.NewDecoder(&b.from)
	raw, err := b.item()
	var head headItem
	if err == nil {
		err = decoding.Unmarshal(raw, &head)
	}
	switch {
	case b.from.failure != nil:
		return nil, err
	case err != nil || head.Magic != magic:
		return nil, fmt.Errorf("%w: it does not begin like a backup of tokend", ErrInvalid)
	case head.Version > version:
		return nil, ErrNewer
	case head.Version < 1:
		return nil, fmt.Errorf("%w: its head is not readable", ErrInvalid)
	}
	b.sum.Write(raw)
	b.Head = Head{Schema: head.Schema, Taken: time.UnixMilli(head.Taken).UTC(), About: head.About, Key: head.Key}
	return b, nil
}

// decode gives the next item as it is, or io.EOF where there is none.
func (b *Reader) decode() (raw cbor.RawMessage, err error) {
	b.from.allowed = maxItem
	err = b.items.Decode(&raw)
	if b.from.failure != nil {
		err = fmt.Errorf("cannot read the backup: %w", b.from.failure)
	}
	return raw, err
}

// item gives the next item of those that must be there.
func (b *Reader) item() (cbor.RawMessage, error) {
	raw, err := b.decode()
	switch {
	case b.from.failure != nil || err == nil:
		return raw, err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: it is truncated after %s", ErrInvalid, b.place())
	}
	return nil, fmt.Errorf("%w: after %s it is not readable", ErrInvalid, b.place())
}

// place is how far the reading came, in words.
func (b *Reader) place() string {
	if name, ok := strings.CutPrefix(b.last, RecordPrefix); ok {
		return fmt.Sprintf("the token %q", name)
	}
	if b.last == "" {
		return "its head"
	}
	return "the last token"
}

// Entries are the backup's entries, up to its end, which has been held against all of
// them when they end without an error.
func (b *Reader) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			entry, more, err := b.next()
			if err == nil && !more {
				return
			}
			if !yield(entry, err) || err != nil {
				return
			}
		}
	}
}

func (b *Reader) next() (entry Entry, more bool, err error) {
	raw, err := b.item()
	if err != nil {
		return entry, false, err
	}
	if raw[0] == endBegins {
		return entry, false, b.finish(raw)
	}
	var item entryItem
	err = decoding.Unmarshal(raw, &item)
	entry = Entry{item.Key, item.Value}
	key := string(entry.Key)
	if err != nil || raw[0] != entryBegins || key <= b.last || !isRecord(key) && !isUses(key) {
		return entry, false, fmt.Errorf("%w: what follows %s is not an entry", ErrInvalid, b.place())
	}
	if isRecord(key) {
		b.tokens++
		if err := b.progress(b.tokens, b.About); err != nil {
			return entry, false, err
		}
	}
	b.last = key
	b.sum.Write(raw)
	return entry, true, nil
}

// finish holds all that was read against the end, of which every byte counts.
func (b *Reader) finish(raw []byte) error {
	err := decoding.Unmarshal(raw, &b.end)
	b.content = b.sum.Sum(nil)
	b.sum.Write(b.end.MAC)
	switch {
	case err != nil:
		return fmt.Errorf("%w: its end is not readable", ErrInvalid)
	case b.end.Tokens != b.tokens:
		return fmt.Errorf("%w: it has %d tokens, and should have %d", ErrInvalid, b.tokens, b.end.Tokens)
	case !bytes.Equal(b.end.SHA256, b.sum.Sum(nil)):
		return fmt.Errorf("%w: its SHA-256 does not match", ErrInvalid)
	}
	switch _, err := b.decode(); {
	case b.from.failure != nil:
		return err
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: something follows its end", ErrInvalid)
	}
	return nil
}

// Check reads a backup to its end and fails with ErrInvalid unless it is whole and as it was
// written. It needs no key, so it does not tell who wrote it. The progress may be nil.
func Check(r io.Reader, progress Progress) (Info, error) {
	b, err := NewReader(r, progress)
	if err == nil {
		err = b.Check()
	}
	if err != nil {
		return Info{}, err
	}
	return b.Info(), nil
}

// Check reads to the end.
func (b *Reader) Check() error {
	for _, err := range b.Entries() {
		if err != nil {
			return err
		}
	}
	return nil
}

// Info is what the backup says of itself, as far as it was read.
func (b *Reader) Info() Info { return Info{Taken: b.Taken, Tokens: b.tokens} }

// IsAuthentic reports whether somebody with the key wrote the backup. It must have been read
// to its end.
func (b *Reader) IsAuthentic(mac MAC) bool { return hmac.Equal(b.end.MAC, mac(b.tokens, b.content)) }
