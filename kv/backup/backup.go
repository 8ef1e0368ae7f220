// Package backup is the format of a backup: a writer, a reader and a check. It knows no
// database and no key: values are sealed in a backup as they are in the store.
//
// A backup is a sequence of CBOR items (RFC 8742): a head, an entry for each record and each
// shard of last uses in the order of their keys, and an end. The index that leads to the
// records is left out, since it follows from them. The end has the number of tokens, a MAC
// of all bytes before it, and a SHA-256 of all of that. So anybody finds a backup that is
// truncated, at an item's border too, or damaged; whoever has the key finds one that
// somebody else made ([Reader.IsAuthentic]).
package backup

import (
	"errors"
	"strings"
	"time"

	"tokend/internal/strictcbor"
)

const (
	magic   = "tokend backup"
	version = 1
)

// The keys of what a backup holds.
const (
	RecordPrefix = "t/" // followed by the token's name
	UsesPrefix   = "u/" // followed by the number of a shard, 16 bits
)

var (
	// ErrInvalid is returned where a backup is none, or is not as it was written.
	ErrInvalid = errors.New("this is not a good backup")

	// ErrNewer is returned for a backup that a newer version wrote.
	ErrNewer = errors.New("the backup was written by a newer version")
)

// Head is what comes before the entries.
type Head struct {
	Schema byte      // of the store that it was taken from
	Taken  time.Time // in whole milliseconds
	About  int       // roughly how many tokens follow, for whoever shows progress; 0: unknown
	Key    []byte    // the store's data key, sealed by its master key
}

// Info is what a backup says of itself.
type Info struct {
	Taken  time.Time
	Tokens int
}

// Progress is told of every token that is done, and about how many there will be, 0 where
// nobody knows. Its error ends what is under way.
type Progress func(done, about int) error

// MAC authenticates a backup by the number of its tokens and the SHA-256 of all but its end.
type MAC func(tokens int, sum []byte) []byte

type headItem struct {
	_       struct{} `cbor:",toarray"`
	Magic   string
	Version int
	Schema  byte
	Taken   int64 // Unix milliseconds
	About   int
	Key     []byte
}

type entryItem struct {
	_          struct{} `cbor:",toarray"`
	Key, Value []byte
}

// endItem is what everything before it is held against.
type endItem struct {
	_      struct{} `cbor:",toarray"`
	Tokens int
	MAC    []byte // of the number and of the SHA-256 of all bytes before this item
	SHA256 []byte // of all bytes before this item, and the MAC
}

// The first bytes of an entry and of an end: arrays of two and of three.
const (
	entryBegins = 0x82
	endBegins   = 0x83
)

func isRecord(key string) bool {
	return len(key) > len(RecordPrefix) && strings.HasPrefix(key, RecordPrefix)
}

func isUses(key string) bool {
	return len(key) == len(UsesPrefix)+2 && strings.HasPrefix(key, UsesPrefix)
}

var (
	encoding = strictcbor.Encoding
	decoding = strictcbor.Decoding
)
