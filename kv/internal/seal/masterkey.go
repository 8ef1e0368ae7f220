package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
)

const keySize = 32 // bytes; AES-256 and HMAC-SHA-256

// MasterKey seals the data key of a store. It lives outside of the store and,
// like a Value, does not show itself.
type MasterKey struct {
	Redacted
	bytes *[keySize]byte
}

// NewMasterKey makes a random key.
func NewMasterKey() MasterKey {
	key := MasterKey{bytes: new([keySize]byte)}
	rand.Read(key.bytes[:])
	return key
}

// Encode is the key as a line of a key file, without the line's end.
func (k MasterKey) Encode() string { return base64.StdEncoding.EncodeToString(k.bytes[:]) }

// Wipe overwrites the key, which cannot be used any more.
func (k MasterKey) Wipe() { clear(k.bytes[:]) }

// ParseMasterKeys reads a key file: base64 of 32 bytes on each line, the
// current key first, older ones after it.
func ParseMasterKeys(file []byte) ([]MasterKey, error) {
	var keys []MasterKey
	number := 0
	for line := range bytes.Lines(file) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		decoded := make([]byte, base64.StdEncoding.DecodedLen(len(line)))
		n, err := base64.StdEncoding.Strict().Decode(decoded, line)
		// The decoder reads over line ends, of which a CR may stand within a line.
		if err != nil || n != keySize || bytes.ContainsRune(line, '\r') {
			return nil, fmt.Errorf("line %d is not a key: base64 of %d bytes is expected", number, keySize)
		}
		keys = append(keys, MasterKey{bytes: (*[keySize]byte)(decoded)})
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key")
	}
	return keys, nil
}

const (
	wrapVersion = 1
	wrapContext = "tokend data key 1"
)

// Wrap seals a data key for storing.
func (k MasterKey) Wrap(dataKey []byte) []byte {
	return newAEAD(k.bytes[:]).Seal([]byte{wrapVersion}, nil, dataKey, []byte(wrapContext)) //nolint:gosec // the AEAD draws the nonce
}

// IsWrapped reports whether bytes have the form of a data key that was sealed.
func IsWrapped(wrapped []byte) bool {
	const nonce, tag = 12, 16
	return len(wrapped) == 1+nonce+keySize+tag && wrapped[0] == wrapVersion
}

// Unwrap opens a data key that was sealed. It is not ok where this is not the key.
func (k MasterKey) Unwrap(wrapped []byte) (dataKey []byte, ok bool) {
	if !IsWrapped(wrapped) {
		return nil, false
	}
	dataKey, err := newAEAD(k.bytes[:]).Open(nil, nil, wrapped[1:], []byte(wrapContext))
	return dataKey, err == nil && len(dataKey) == keySize
}

// NewDataKey makes a random data key. Whoever is done with it clears it.
func NewDataKey() []byte {
	key := make([]byte, keySize)
	rand.Read(key)
	return key
}
