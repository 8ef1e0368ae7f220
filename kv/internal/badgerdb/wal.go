package badgerdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// Badger's WALs (.mem) begin with the number of a key, 0 without encryption, and 12 bytes
// that only matter with it. Then entries follow each other: two bytes of flags, the lengths
// of key and value and an expiry as varints, the key, of which the last 8 bytes are the
// number of the transaction, the value, and the CRC-32C of all that. A transaction ends in
// an entry that says so. Badger takes the log to end at the first entry that is not whole.
const (
	walHead       = 20
	inTransaction = 1 << 6 // flags
	endsOne       = 1 << 7
	longestKey    = 1 << 16
)

// logEntry is an entry as far as it matters here.
type logEntry struct {
	length      int
	transaction uint64
	ends        bool // the transaction
}

// seek tries to read an entry at a place where none may begin. It bounds the length, since
// computing the checksum of a long one at every place would take too long.
func seek(b []byte) (e logEntry, ok bool) {
	const longest = 64 << 10
	return parseEntry(b[:min(longest, len(b))])
}

// parseEntry reads the entry at the beginning of some bytes, if a whole one is there.
func parseEntry(b []byte) (e logEntry, ok bool) {
	if len(b) < 2 || b[0]&(inTransaction|endsOne) == 0 {
		return e, false
	}
	at := 2
	var sizes [3]uint64 // of the key, of the value; the expiry
	for i := range sizes {
		n, width := binary.Uvarint(b[at:])
		if width <= 0 {
			return e, false
		}
		sizes[i], at = n, at+width
	}
	if sizes[0] < 8 || sizes[0] > longestKey || sizes[1] > uint64(len(b)) {
		return e, false
	}
	keyEnd := at + int(sizes[0])  //nolint:gosec // below longestKey
	end := keyEnd + int(sizes[1]) //nolint:gosec // below the length
	if end+crc32.Size > len(b) || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return e, false
	}
	e.length = end + crc32.Size
	e.transaction = math.MaxUint64 - binary.BigEndian.Uint64(b[keyEnd-8:keyEnd])
	e.ends = b[0]&endsOne != 0
	return e, true
}

// checkWAL finds damage in a WAL that a crash left. One transaction at a time is under way,
// so a crash tears the one after the last that is whole. An entry of a later one shows that
// more was there, and so was synced.
func checkWAL(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(content) >= walHead && binary.BigEndian.Uint64(content) != 0 {
		return errors.New("its head is damaged")
	}
	content = bytes.TrimRight(content, "\x00")
	if len(content) <= walHead {
		return nil
	}
	rest := content[walHead:]
	var whole uint64 // the last transaction that is
	for {
		e, ok := parseEntry(rest)
		if !ok {
			break
		}
		if e.ends {
			whole = e.transaction
		}
		rest = rest[e.length:]
	}
	if whole == 0 {
		whole = firstTransaction(rest)
	}
	for len(rest) > 0 {
		e, ok := seek(rest)
		switch {
		case !ok:
			rest = rest[1:]
			continue
		case e.transaction > whole+1:
			return errors.New("it is damaged before its end: later changes would be lost")
		}
		rest = rest[e.length:]
	}
	return nil
}

// firstTransaction is the one before the first of which an entry is left.
func firstTransaction(b []byte) uint64 {
	for ; len(b) > 0; b = b[1:] {
		if e, ok := seek(b); ok {
			return e.transaction - 1
		}
	}
	return 0
}

func checkWALs(dir string) error {
	var wrong []error
	err := walkFiles(dir, func(path string, _ fs.FileInfo) error {
		if suffix := filepath.Ext(path); suffix != walSuffix && suffix != valueLogSuffix { // which has only its head
			return nil
		}
		if err := checkWAL(path); err != nil {
			wrong = append(wrong, fmt.Errorf("%w: the log %s: %w", ErrCorrupt, filepath.Base(path), err))
		}
		return nil
	})
	return errors.Join(append(wrong, err)...)
}
