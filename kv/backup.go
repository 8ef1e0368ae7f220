package kv

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"iter"
	"time"
)

// A backup is a sequence of CBOR items (RFC 8742): a head, an entry for each
// record and each shard of last uses in the order of their keys, and an end. What
// leads to the records is left out, since it follows from them.

// backupMagic and backupVersion begin every backup.
const (
	backupMagic   = "tokend backup"
	backupVersion = 1
)

type backupHead struct {
	_       struct{} `cbor:",toarray"`
	Magic   string
	Version int
	Schema  byte
	Taken   int64  // Unix milliseconds
	Tokens  int    // about how many follow, for who shows progress
	Key     []byte // the data key, sealed by the master key
}

type backupEntry struct {
	_          struct{} `cbor:",toarray"`
	Key, Value []byte
}

// backupEnd is what everything before it is held against.
type backupEnd struct {
	_      struct{} `cbor:",toarray"`
	Tokens int
	MAC    []byte // of the number and of the SHA-256 of all bytes before this item, under a key that comes from the data key
	SHA256 []byte // of all bytes before this item, and the MAC
}

// The first bytes of an entry and of an end: arrays of two and of three.
const (
	entryBegins = 0x82
	endBegins   = 0x83
)

// BackupInfo is what a backup says of itself.
type BackupInfo struct {
	Taken  time.Time
	Tokens int
}

// Backup is the snapshot as a backup, in pieces, each of which is good until the
// next. Values are sealed in it as they are in the store. Every record's seal is
// checked, since a backup is of no use if it cannot be restored: the pieces end with
// ErrCorrupt otherwise. Last uses are those on disk, up to 5 s old. It may be read
// more than once.
func (s *Snapshot) Backup(taken time.Time) iter.Seq2[[]byte, error] {
	about, _ := s.store.Census()
	return func(yield func([]byte, error) bool) {
		enough := false
		piece := func(piece []byte, err error) bool {
			enough = !yield(piece, err)
			return !enough
		}
		err := s.store.writer.guard(func() error { return newBackup(s.view, piece).write(taken, about.Total()) })
		if err != nil && !enough {
			yield(nil, err)
		}
	}
}

// errEnough ends a backup that nobody reads on.
var errEnough = errors.New("nobody reads on")

// backup is one on its way out.
type backup struct {
	view
	yield  func([]byte, error) bool
	sum    hash.Hash
	tokens int
}

func newBackup(v view, yield func([]byte, error) bool) *backup {
	return &backup{view: v, yield: yield, sum: sha256.New()}
}

// write writes all of it. About how many tokens there are it is told.
func (b *backup) write(taken time.Time, about int) error {
	schema, wrapped, err := b.readMeta()
	if err != nil {
		return err
	}
	head := backupHead{
		Magic: backupMagic, Version: backupVersion, Schema: schema,
		Taken: taken.UnixMilli(), Tokens: about, Key: wrapped,
	}
	if err := b.item(head); err != nil {
		return err
	}
	for _, prefix := range []string{recordPrefix, usesPrefix} {
		if err := b.entries(prefix); err != nil {
			return err
		}
	}
	end := backupEnd{Tokens: b.tokens, MAC: b.vault.backupMAC(b.tokens, b.sum.Sum(nil))}
	b.sum.Write(end.MAC)
	end.SHA256 = b.sum.Sum(nil)
	return b.item(end)
}

func (b *backup) item(item any) error {
	encoded, err := encoding.Marshal(item)
	if err != nil {
		return err
	}
	b.sum.Write(encoded)
	if !b.yield(encoded, nil) {
		return errEnough
	}
	return nil
}

func (b *backup) entries(prefix string) error {
	it := b.iterate(prefix)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()
		err := it.Item().Value(func(raw []byte) error {
			if prefix == recordPrefix {
				b.tokens++
				if _, err := b.vault.open(nameOf(key), raw); err != nil {
					return err
				}
			}
			return b.item(backupEntry{Key: key, Value: raw})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// backupMAC authenticates a backup by the number of its tokens and the SHA-256 of all but
// its end.
func (v *vault) backupMAC(tokens int, sum []byte) []byte {
	mac := hmac.New(sha256.New, v.backupKey)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(tokens))) //nolint:gosec // a count is positive
	mac.Write(sum)
	return mac.Sum(nil)
}
