package kv

import (
	"context"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/index"
	"tokend/kv/internal/seal"
)

// FormatValue makes a value of given random bits.
var FormatValue = formatValue

// Checksum is the checksum of a value's random digits.
var Checksum = checksum

// Gate has the writer wait until it is opened.
func (s *Store) Gate() (open func()) {
	entered, opened := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.change(context.Background(), func(view) ([]change, error) {
			close(entered)
			<-opened
			return nil, nil
		})
	}()
	<-entered
	return func() { close(opened) }
}

// MaxWaiting is the length of the queue.
const MaxWaiting = maxWaiting

// Waiting is how many changes are in the queue.
func (s *Store) Waiting() int { return len(s.writer.queue) }

// Panic has a change panic in the writer.
func (s *Store) Panic() error {
	return s.change(context.Background(), func(view) ([]change, error) { panic("on purpose") })
}

// Recode decodes a stored record and encodes it again.
func Recode(raw []byte) ([]byte, error) {
	stored, f, extra, err := decodeRecord(raw)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(encodeFields(f.record("", Value{}, extra)), stored.Fields) {
		return nil, nil // readable, but not in the one form that we write
	}
	return encodeRecord(stored), nil
}

// SampleRecord is a record as it is stored, with an optional field that nobody knows.
func SampleRecord() []byte {
	v := vault{seal.NewVault(make([]byte, 32))}
	spec := Spec{Name: "sample", Active: true, Write: true, ExpiresAt: fromMilli(1893456000000)}
	token, err := NewToken{Spec: spec}.token(fromMilli(1760000000000))
	if err != nil {
		panic(err)
	}
	r := record{Token: token, value: formatValue("tkd", [32]byte{1, 2, 3}), valueMade: token.CreatedAt}
	r.extra = map[int64]cbor.RawMessage{-1: must(encoding.Marshal("x"))}
	return v.seal(r).sealed
}

// SetExtra gives a token an optional field that this version does not know, as a newer one
// would, and Extra is what is under the number of one.
func (s *Store) SetExtra(name string, number int64, value any) error {
	return s.change(context.Background(), func(view view) ([]change, error) {
		before, err := view.used(name)
		after := before
		after.extra = map[int64]cbor.RawMessage{number: must(encoding.Marshal(value))}
		return []change{{before: &before, after: s.vault.seal(after)}}, err
	})
}

func (s *Store) Extra(name string, number int64) (raw []byte, err error) {
	r, err := s.record(name)
	return r.extra[number], err
}

// Lookup is the token that has a value, valid or not, from the disk.
func (s *Store) Lookup(value Value) (token Token, err error) {
	err = s.operate(func() error {
		r, err := s.lookup(s.vault.Hash([]byte(value.Reveal())))
		if err != nil {
			return err
		}
		err = addUses(&r, s.index, s.uses)
		token = r.Token
		return err
	})
	return token, err
}

// AwaitFilled waits until the index has been offered everything.
func (s *Store) AwaitFilled() { <-s.filled }

// Indexed is how many tokens the index holds.
func (s *Store) Indexed() int { return s.index.Count() }

// Holds reports whether the index holds a value.
func (s *Store) Holds(value Value) bool {
	_, ok := s.index.Find(s.key(value))
	return ok
}

func (s *Store) key(value Value) index.Key { return index.KeyOf(s.vault.Hash([]byte(value.Reveal()))) }

// Forget drops a value from the index, as if there had been no room for it.
func (s *Store) Forget(value Value) {
	<-s.filled
	s.index.Forget(s.key(value))
}

// SlowReader reads the record of a value that the index does not hold, and
// gives what is to be done with it afterwards.
func (s *Store) SlowReader(value Value) (offer func()) {
	since := s.index.Published()
	hash := s.vault.Hash([]byte(value.Reveal()))
	r, err := s.lookup(hash)
	if err != nil {
		panic(err)
	}
	return func() { s.index.Offer(r.entry(hash), since, true) }
}

// Moments are a multiset of milliseconds.
type Moments struct{ moments }

func (m *Moments) Add(at int64) { m.add(at) }

func (m *Moments) Remove(at int64) { m.remove(at) }

func (m *Moments) UpTo(at int64) int { return m.upTo(at) }

// WithUpgrade adds a schema, to which a store comes by writing each of its records
// again, unless the upgrade fails. Until it is taken away again, this is a newer version.
func WithUpgrade(failure func() error) (older func()) {
	upgrades = append(upgrades, schemaUpgrade{rewrite: func(v view, bulk *badgerdb.Bulk) error {
		for entry, err := range v.Entries(recordPrefix, nil) {
			if err == nil {
				err = bulk.Add(badgerdb.Write{Key: slices.Clone(entry.Key), Value: slices.Clone(entry.Value)})
			}
			if err != nil {
				return err
			}
		}
		return failure()
	}})
	return func() { upgrades = upgrades[:len(upgrades)-1] }
}
