package kv

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
)

const keySize = 32 // bytes; AES-256 and HMAC-SHA-256

// MasterKey seals the data key of a store. It lives outside of the store and,
// like a Value, does not show itself.
type MasterKey struct {
	redacted
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

// wrap seals a data key for storing.
func (k MasterKey) wrap(dataKey []byte) []byte {
	return newAEAD(k.bytes[:]).Seal([]byte{wrapVersion}, nil, dataKey, []byte(wrapContext)) //nolint:gosec // the AEAD draws the nonce
}

// isWrapped reports whether bytes have the form of a data key that was sealed.
func isWrapped(wrapped []byte) bool {
	const nonce, tag = 12, 16
	return len(wrapped) == 1+nonce+keySize+tag && wrapped[0] == wrapVersion
}

// unwrap is the reverse of wrap; ok is false where this is not the key.
func (k MasterKey) unwrap(wrapped []byte) (dataKey []byte, ok bool) {
	dataKey, err := newAEAD(k.bytes[:]).Open(nil, nil, wrapped[1:], []byte(wrapContext))
	return dataKey, err == nil && len(dataKey) == keySize
}

// lookupHash finds a token by its value without holding the value.
type lookupHash [sha256.Size]byte

func (h lookupHash) equal(other lookupHash) bool { return hmac.Equal(h[:], other[:]) }

// vault turns records into what may lie on a disk and back. Its keys come from
// the data key: one for lookup hashes, one for seals, one for backups.
type vault struct {
	hashers   sync.Pool // of *hasher
	aead      cipher.AEAD
	backupKey []byte // for the MAC of backups
}

// hasher is an HMAC with its key, and room for its result.
type hasher struct {
	mac hash.Hash
	sum lookupHash
}

func newVault(dataKey []byte) *vault {
	lookupKey := must(hkdf.Key(sha256.New, dataKey, nil, "tokend lookup 1", keySize))
	return &vault{
		hashers: sync.Pool{New: func() any { return &hasher{mac: hmac.New(sha256.New, lookupKey)} }},
		aead:    newAEAD(must(hkdf.Key(sha256.New, dataKey, nil, "tokend seal 1", keySize))),

		backupKey: must(hkdf.Key(sha256.New, dataKey, nil, "tokend backup 1", keySize)),
	}
}

func newAEAD(key []byte) cipher.AEAD {
	return must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(key))))
}

// hash is the lookup hash of a value. It allocates nothing.
func (v *vault) hash(value []byte) lookupHash {
	h := v.hashers.Get().(*hasher)
	defer v.hashers.Put(h)
	h.mac.Reset()
	h.mac.Write(value)
	h.mac.Sum(h.sum[:0])
	return h.sum
}

// seal makes a record fit to be stored: its value sealed, all the rest
// authenticated.
func (v *vault) seal(r record) *record {
	value := []byte(r.value.Reveal())
	r.hash = v.hash(value)
	encoded := must(encoding.Marshal(fieldsOf(r)))
	r.sealed = encodeRecord(storedRecord{
		Fields: encoded,
		Sealed: v.aead.Seal(nil, nil, value, associatedData(r.Name, encoded)), //nolint:gosec // the AEAD draws the nonce
	})
	return &r
}

// open is the reverse of seal. It fails with ErrCorrupt where a bit of the
// record, or its name, is not as it was sealed.
func (v *vault) open(name string, raw []byte) (record, error) {
	stored, f, err := decodeRecord(raw)
	if err != nil {
		return record{}, fmt.Errorf("token %q: %w", name, err)
	}
	value, err := v.aead.Open(nil, nil, stored.Sealed, associatedData(name, stored.Fields))
	if err != nil {
		return record{}, fmt.Errorf("token %q: %w: the record does not match its seal", name, ErrCorrupt)
	}
	return f.record(name, newValue(string(value))), nil
}

// associatedData binds a seal to the record's version, name and fields. The
// name's length keeps one from passing for a part of the other.
func associatedData(name string, encodedFields []byte) []byte {
	data := binary.AppendUvarint([]byte{recordVersion}, uint64(len(name)))
	data = append(data, name...)
	return append(data, encodedFields...)
}
