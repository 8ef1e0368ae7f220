package kv

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// backupReader reads a backup and checks it on the way.
type backupReader struct {
	backupHead

	from     boundedReader
	items    *cbor.Decoder
	progress Progress
	sum      hash.Hash
	last     string // key
	tokens   int
	end      backupEnd
	content  []byte // the SHA-256 of all but the end
}

// Progress is told of every token that is done, and about how many there will be, 0 where
// nobody knows. An error of it ends what is under way, with that error.
type Progress func(done, about int) error

// boundedReader reads a bounded number of bytes for an item, lest a length that was
// changed have everything behind it read into memory.
type boundedReader struct {
	io.Reader

	allowed int
	failure error // to read
}

// maxBackupItem is more bytes than a transaction takes, and so an entry.
const maxBackupItem = 2 << 20

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

func newBackupReader(r io.Reader, progress Progress) (*backupReader, error) {
	b := &backupReader{from: boundedReader{Reader: r}, progress: progress, sum: sha256.New()}
	b.items = decoding.NewDecoder(&b.from)
	raw, err := b.item()
	if err == nil {
		err = decoding.Unmarshal(raw, &b.backupHead)
	}
	switch {
	case b.from.failure != nil:
		return nil, err
	case err != nil || b.Magic != backupMagic:
		return nil, fmt.Errorf("%w: it does not begin as one of tokend does", ErrBackup)
	case b.Version > backupVersion || b.Schema > schemaVersion():
		return nil, fmt.Errorf("the backup: %w", ErrNewerSchema)
	case b.Version < 1 || !isWrapped(b.Key):
		return nil, fmt.Errorf("%w: its head is not readable", ErrBackup)
	}
	b.sum.Write(raw)
	return b, nil
}

// decode gives the next item as it is, or io.EOF where there is none.
func (b *backupReader) decode() (raw cbor.RawMessage, err error) {
	b.from.allowed = maxBackupItem
	err = b.items.Decode(&raw)
	if b.from.failure != nil {
		err = fmt.Errorf("the backup cannot be read: %w", b.from.failure)
	}
	return raw, err
}

// item gives the next item of those that must be there.
func (b *backupReader) item() (cbor.RawMessage, error) {
	raw, err := b.decode()
	switch {
	case b.from.failure != nil || err == nil:
		return raw, err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: it ends behind %s", ErrBackup, b.place())
	}
	return nil, fmt.Errorf("%w: behind %s it is not readable", ErrBackup, b.place())
}

// place is how far the reading came, in words.
func (b *backupReader) place() string {
	if name, ok := strings.CutPrefix(b.last, recordPrefix); ok {
		return fmt.Sprintf("the token %q", name)
	}
	if b.last == "" {
		return "its head"
	}
	return "the last token"
}

// entries are the backup's entries, up to its end, which has been held against all of
// them when they end without an error.
func (b *backupReader) entries() iter.Seq2[backupEntry, error] {
	return func(yield func(backupEntry, error) bool) {
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

func (b *backupReader) next() (entry backupEntry, more bool, err error) {
	raw, err := b.item()
	if err != nil {
		return entry, false, err
	}
	if raw[0] == endBegins {
		return entry, false, b.finish(raw)
	}
	err = decoding.Unmarshal(raw, &entry)
	key := string(entry.Key)
	isRecord := len(key) > len(recordPrefix) && strings.HasPrefix(key, recordPrefix)
	isUses := len(key) == len(usesPrefix)+2 && strings.HasPrefix(key, usesPrefix)
	if err != nil || raw[0] != entryBegins || key <= b.last || !isRecord && !isUses {
		return entry, false, fmt.Errorf("%w: what follows %s is no entry", ErrBackup, b.place())
	}
	if isRecord {
		b.tokens++
		if err := b.progress(b.tokens, b.Tokens); err != nil {
			return entry, false, err
		}
	}
	b.last = key
	b.sum.Write(raw)
	return entry, true, nil
}

// finish holds all that was read against the end, of which every byte counts.
func (b *backupReader) finish(raw []byte) error {
	err := decoding.Unmarshal(raw, &b.end)
	b.content = b.sum.Sum(nil)
	b.sum.Write(b.end.MAC)
	switch {
	case err != nil:
		return fmt.Errorf("%w: its end is not readable", ErrBackup)
	case b.end.Tokens != b.tokens:
		return fmt.Errorf("%w: it has %d tokens, and should have %d", ErrBackup, b.tokens, b.end.Tokens)
	case !bytes.Equal(b.end.SHA256, b.sum.Sum(nil)):
		return fmt.Errorf("%w: its SHA-256 does not match", ErrBackup)
	}
	switch _, err := b.decode(); {
	case b.from.failure != nil:
		return err
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: something follows its end", ErrBackup)
	}
	return nil
}

// CheckBackup reads a backup to its end and fails with ErrBackup unless it is whole
// and as it was written. It needs no key, so it does not tell who wrote it.
func CheckBackup(r io.Reader, progress Progress) (BackupInfo, error) {
	b, err := newBackupReader(r, progress)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return BackupInfo{}, err
	}
	return b.info(), nil
}

// check reads to the end.
func (b *backupReader) check() error {
	for _, err := range b.entries() {
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *backupReader) info() BackupInfo {
	return BackupInfo{Taken: fromMilli(b.Taken), Tokens: b.tokens}
}
