package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/fxamacker/cbor/v2"

	"tokend/internal/strictcbor"
	"tokend/kv/internal/index"
	"tokend/kv/internal/seal"
)

// record is everything that is kept about a token. It is made by vault.seal and vault.open,
// and not changed afterwards.
type record struct {
	Token
	value     Value
	valueMade time.Time
	hash      seal.Hash // of the value
	previous  previous  // only where PreviousValidUntil is not zero

	// extra are optional fields that this version does not know, as they are encoded. A
	// change keeps them.
	extra map[int64]cbor.RawMessage

	sealed []byte // the record as it is to be stored; only of one that seal made
}

// previous is what is kept of the value before the last rotation.
type previous struct {
	hash seal.Hash
	made time.Time
}

func (r *record) hasPrevious() bool { return !r.PreviousValidUntil.IsZero() }

// hashes are those of the values by which the token is found. There are none of
// a record that is nil.
func (r *record) hashes() []seal.Hash {
	switch {
	case r == nil:
		return nil
	case r.hasPrevious():
		return []seal.Hash{r.hash, r.previous.hash}
	}
	return []seal.Hash{r.hash}
}

func (r *record) isFoundBy(hash seal.Hash) bool {
	return r != nil && (r.hash.Equal(hash) || r.hasPrevious() && r.previous.hash.Equal(hash))
}

// recordVersion is the first byte of an encoded record.
const recordVersion = 1

// storedRecord is an encoded record after its version byte: the fields, kept
// as the very bytes that the seal authenticates, and the sealed value.
type storedRecord struct {
	_      struct{} `cbor:",toarray"`
	Fields []byte
	Sealed []byte
}

// fields is what a record holds beside its name, which is its key, and its
// value. Times are Unix milliseconds; an expiry of 0 is none.
type fields struct {
	Active    bool      `cbor:"1,keyasint"`
	Write     bool      `cbor:"2,keyasint"`
	Expires   int64     `cbor:"3,keyasint,omitempty"`
	Created   int64     `cbor:"4,keyasint"`
	Updated   int64     `cbor:"5,keyasint"`
	ValueMade int64     `cbor:"6,keyasint"`
	Hash      seal.Hash `cbor:"7,keyasint"`

	// Used is when any of the token's values was last used, as far as it was known
	// at the last change. It outlives those values.
	Used     int64           `cbor:"8,keyasint,omitempty"`
	Previous *previousFields `cbor:"9,keyasint,omitempty"`
}

type previousFields struct {
	_     struct{} `cbor:",toarray"`
	Hash  seal.Hash
	Made  int64
	Until int64
}

var (
	encoding = strictcbor.Encoding
	decoding = strictcbor.Decoding
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// entry is what the index holds of a record for one of its values.
func (r *record) entry(hash seal.Hash) index.Entry {
	e := index.Entry{
		Key:            index.KeyOf(hash),
		Name:           r.Name,
		Active:         r.Active,
		Write:          r.Write,
		Expires:        r.Expires(),
		ExpirationDate: r.ExpirationDate().UnixMilli(),
		ValueMade:      r.valueMade.UnixMilli(),
	}
	if hash != r.hash {
		e.Rotated = true
		e.ValueMade = r.previous.made.UnixMilli()
		e.GraceEnds = r.PreviousValidUntil.UnixMilli()
	}
	return e
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

func (f fields) record(name string, value Value, extra map[int64]cbor.RawMessage) record {
	r := record{
		Token: Token{
			Spec:      Spec{Name: name, Active: f.Active, Write: f.Write},
			CreatedAt: fromMilli(f.Created),
			UpdatedAt: fromMilli(f.Updated),
		},
		value:     value,
		valueMade: fromMilli(f.ValueMade),
		hash:      f.Hash,
		extra:     extra,
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

// encodeFields encodes what a record holds, with the optional fields that it has beside.
func encodeFields(r record) []byte {
	encoded := must(encoding.Marshal(fieldsOf(r)))
	if len(r.extra) == 0 {
		return encoded
	}
	var all map[int64]cbor.RawMessage
	if err := decoding.Unmarshal(encoded, &all); err != nil {
		panic(err)
	}
	maps.Copy(all, r.extra)
	return must(encoding.Marshal(all))
}

// decodeFields is the reverse of encodeFields. A field with a negative number is optional:
// a version that does not know it keeps it. Any other that is not known is an error.
func decodeFields(encoded []byte) (f fields, extra map[int64]cbor.RawMessage, err error) {
	err = decoding.Unmarshal(encoded, &f)
	if _, unknown := errors.AsType[*cbor.UnknownFieldError](err); !unknown {
		return f, nil, err
	}
	var all map[int64]cbor.RawMessage
	if err := decoding.Unmarshal(encoded, &all); err != nil {
		return f, nil, err
	}
	extra = map[int64]cbor.RawMessage{}
	for number, value := range all {
		if number < 0 {
			extra[number] = value
			delete(all, number)
		}
	}
	f = fields{}
	return f, extra, decoding.Unmarshal(must(encoding.Marshal(all)), &f)
}

// encodeRecord lays out a record as it is stored.
func encodeRecord(stored storedRecord) []byte {
	return append([]byte{recordVersion}, must(encoding.Marshal(stored))...)
}

// decodeRecord is the reverse of encodeRecord. It checks form, not authenticity.
func decodeRecord(raw []byte) (stored storedRecord, f fields, extra map[int64]cbor.RawMessage, err error) {
	if len(raw) == 0 || raw[0] != recordVersion {
		return stored, f, nil, fmt.Errorf("%w: a record has an unknown version", ErrCorrupt)
	}
	if err := decoding.Unmarshal(raw[1:], &stored); err != nil {
		return stored, f, nil, fmt.Errorf("%w: a record is not readable: %w", ErrCorrupt, err)
	}
	if f, extra, err = decodeFields(stored.Fields); err != nil {
		return stored, f, nil, fmt.Errorf("%w: the fields of a record are not readable: %w", ErrCorrupt, err)
	}
	return stored, f, extra, nil
}

// vault turns records into what may lie on a disk and back.
type vault struct{ *seal.Vault }

// seal makes a record fit to be stored: its value sealed, all the rest authenticated.
func (v vault) seal(r record) *record {
	value := []byte(r.value.Reveal())
	r.hash = v.Hash(value)
	encoded := encodeFields(r)
	r.sealed = encodeRecord(storedRecord{Fields: encoded, Sealed: v.Seal(value, associatedData(r.Name, encoded))})
	return &r
}

// open is the reverse of seal. It fails with ErrCorrupt where a bit of the record, or its
// name, is not as it was sealed.
func (v vault) open(name string, raw []byte) (record, error) {
	stored, f, extra, err := decodeRecord(raw)
	if err != nil {
		return record{}, fmt.Errorf("token %q: %w", name, err)
	}
	value, err := v.Open(stored.Sealed, associatedData(name, stored.Fields))
	if err != nil {
		return record{}, fmt.Errorf("token %q: %w: the record does not match its seal", name, ErrCorrupt)
	}
	return f.record(name, newValue(string(value)), extra), nil
}

// associatedData binds a seal to the record's version, name and fields. The name's length
// keeps one from passing for a part of the other.
func associatedData(name string, encodedFields []byte) []byte {
	data := binary.AppendUvarint([]byte{recordVersion}, uint64(len(name)))
	data = append(data, name...)
	return append(data, encodedFields...)
}
