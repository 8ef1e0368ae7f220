// Package seal is the cryptography of the store: master keys, which seal the data key, and a
// [Vault], which works with the data key. It knows bytes, not tokens, and no disk.
//
//	master key ── AES-256-GCM ──▶ data key
//	data key ── HKDF "tokend lookup 1" ──▶ HMAC-SHA-256 of a value: its lookup hash
//	         ├─ HKDF "tokend seal 1"   ──▶ AES-256-GCM of a value, with associated data
//	         └─ HKDF "tokend backup 1" ──▶ HMAC-SHA-256 of a backup's end
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// Hash is the lookup hash of a value: it finds a token without holding the value.
type Hash [sha256.Size]byte

// Equal compares two hashes in constant time.
func (h Hash) Equal(other Hash) bool { return hmac.Equal(h[:], other[:]) }

// Vault hashes and seals under keys that come from a data key. It is safe for concurrent
// use.
type Vault struct {
	hashers   sync.Pool // of *hasher
	aead      cipher.AEAD
	backupKey []byte
}

// hasher is an HMAC with its key, and room for its result.
type hasher struct {
	mac hash.Hash
	sum Hash
}

// NewVault makes the vault of a data key, of which it keeps nothing.
func NewVault(dataKey []byte) *Vault {
	lookupKey := must(hkdf.Key(sha256.New, dataKey, nil, "tokend lookup 1", keySize))
	return &Vault{
		hashers:   sync.Pool{New: func() any { return &hasher{mac: hmac.New(sha256.New, lookupKey)} }},
		aead:      newAEAD(must(hkdf.Key(sha256.New, dataKey, nil, "tokend seal 1", keySize))),
		backupKey: must(hkdf.Key(sha256.New, dataKey, nil, "tokend backup 1", keySize)),
	}
}

func newAEAD(key []byte) cipher.AEAD {
	return must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(key))))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Hash is the lookup hash of a value. It allocates nothing.
func (v *Vault) Hash(value []byte) Hash {
	h := v.hashers.Get().(*hasher)
	defer v.hashers.Put(h)
	h.mac.Reset()
	h.mac.Write(value)
	h.mac.Sum(h.sum[:0])
	return h.sum
}

// Seal encrypts a value, and authenticates what is associated with it.
func (v *Vault) Seal(value, associated []byte) []byte {
	return v.aead.Seal(nil, nil, value, associated) //nolint:gosec // the AEAD draws the nonce
}

// Open is the reverse of Seal. It fails where a bit of either is not as it was sealed.
func (v *Vault) Open(sealed, associated []byte) ([]byte, error) {
	return v.aead.Open(nil, nil, sealed, associated)
}

// BackupMAC authenticates a backup by the number of its tokens and the SHA-256 of all but
// its end.
func (v *Vault) BackupMAC(tokens int, sum []byte) []byte {
	mac := hmac.New(sha256.New, v.backupKey)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(tokens))) //nolint:gosec // a count is positive
	mac.Write(sum)
	return mac.Sum(nil)
}
