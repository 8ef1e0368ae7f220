package kv

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// record is everything that is kept about a token. It is made by vault.seal and
// vault.open, and not changed afterwards.
type record struct {
	Token
	value     Value
	valueMade time.Time
	hash      lookupHash // of the value
	previous  previous   // only where PreviousValidUntil is not zero

	sealed []byte // the record as it is to be stored; only of one that seal made
}

// previous is what is kept of the value before the last rotation.
type previous struct {
	hash lookupHash
	made time.Time
}

func (r *record) hasPrevious() bool { return !r.PreviousValidUntil.IsZero() }

// hashes are those of the values by which the token is found. There are none of
// a record that is nil.
func (r *record) hashes() []lookupHash {
	switch {
	case r == nil:
		return nil
	case r.hasPrevious():
		return []lookupHash{r.hash, r.previous.hash}
	}
	return []lookupHash{r.hash}
}

func (r *record) isFoundBy(hash lookupHash) bool {
	return r != nil && (r.hash.equal(hash) || r.hasPrevious() && r.previous.hash.equal(hash))
}

// recordVersion is the first byte of an encoded record.
const recordVersion = 1

// storedRecord is an encoded record behind its version byte: the fields, kept
// as the very bytes that the seal authenticates, and the sealed value.
type storedRecord struct {
	_      struct{} `cbor:",toarray"`
	Fields []byte
	Sealed []byte
}

// fields is what a record holds beside its name, which is its key, and its
// value. Times are Unix milliseconds; an expiry of 0 is none.
type fields struct {
	Active    bool       `cbor:"1,keyasint"`
	Write     bool       `cbor:"2,keyasint"`
	Expires   int64      `cbor:"3,keyasint,omitempty"`
	Created   int64      `cbor:"4,keyasint"`
	Updated   int64      `cbor:"5,keyasint"`
	ValueMade int64      `cbor:"6,keyasint"`
	Hash      lookupHash `cbor:"7,keyasint"`

	// Used is when any of the token's values was last used, as far as it was known
	// at the last change. It outlives those values.
	Used     int64           `cbor:"8,keyasint,omitempty"`
	Previous *previousFields `cbor:"9,keyasint,omitempty"`
}

type previousFields struct {
	_     struct{} `cbor:",toarray"`
	Hash  lookupHash
	Made  int64
	Until int64
}

var (
	encoding = must(cbor.CoreDetEncOptions().EncMode())
	decoding = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func fieldsOf(r record) fields {
	f := fields{
		Active:    r.Active,
		Write:     r.Write,
		Created:   r.CreatedAt.UnixMilli(),
		Updated:   r.UpdatedAt.UnixMilli(),
		ValueMade: r.valueMade.UnixMilli(),
		Hash:      r.hash,
	}
	if r.Expires() {
		f.Expires = r.ExpiresAt.UnixMilli()
	}
	if !r.LastUsedAt.IsZero() {
		f.Used = r.LastUsedAt.UnixMilli()
	}
	if r.hasPrevious() {
		f.Previous = &previousFields{Hash: r.previous.hash, Made: r.previous.made.UnixMilli(), Until: r.PreviousValidUntil.UnixMilli()}
	}
	return f
}

func (f fields) record(name string, value Value) record {
	r := record{
		Token: Token{
			Spec:      Spec{Name: name, Active: f.Active, Write: f.Write},
			CreatedAt: fromMilli(f.Created),
			UpdatedAt: fromMilli(f.Updated),
		},
		value:     value,
		valueMade: fromMilli(f.ValueMade),
		hash:      f.Hash,
	}
	if f.Expires != 0 {
		r.ExpiresAt = fromMilli(f.Expires)
	}
	if f.Used != 0 {
		r.LastUsedAt = fromMilli(f.Used)
	}
	if f.Previous != nil {
		r.PreviousValidUntil = fromMilli(f.Previous.Until)
		r.previous = previous{f.Previous.Hash, fromMilli(f.Previous.Made)}
	}
	return r
}

// encodeRecord lays out a record as it is stored.
func encodeRecord(stored storedRecord) []byte {
	return append([]byte{recordVersion}, must(encoding.Marshal(stored))...)
}

// decodeRecord is the reverse of encodeRecord. It checks form, not
// authenticity.
func decodeRecord(raw []byte) (storedRecord, fields, error) {
	var (
		stored storedRecord
		f      fields
	)
	if len(raw) == 0 || raw[0] != recordVersion {
		return stored, f, fmt.Errorf("%w: a record of an unknown version", ErrCorrupt)
	}
	if err := decoding.Unmarshal(raw[1:], &stored); err != nil {
		return stored, f, fmt.Errorf("%w: a record is not readable: %w", ErrCorrupt, err)
	}
	if err := decoding.Unmarshal(stored.Fields, &f); err != nil {
		return stored, f, fmt.Errorf("%w: the fields of a record are not readable: %w", ErrCorrupt, err)
	}
	return stored, f, nil
}
