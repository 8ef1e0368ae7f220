package kv

import "slices"

// FormatValue makes a value of given random bits.
var FormatValue = formatValue

// Checksum is the checksum of a value's random digits.
var Checksum = checksum

// CreateAll makes tokens in one change.
func (s *Store) CreateAll(specs []Spec) error {
	return s.change(func(view) ([]change, error) {
		var changes []change
		for _, spec := range specs {
			token, err := newToken(spec, s.now())
			if err != nil {
				return nil, err
			}
			made := s.vault.seal(token, NewValue(s.prefix), token.CreatedAt)
			changes = append(changes, change{after: &made})
		}
		return changes, nil
	})
}

// SyncsWrites reports whether Badger is told to sync, which no test that only
// kills a process can tell: the kernel keeps what was written.
func SyncsWrites() bool { return badgerOptions(Options{}).SyncWrites }

// Gate has the writer wait until it is opened.
func (s *Store) Gate() (open func()) {
	entered, opened := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.change(func(view) ([]change, error) {
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
	return s.change(func(view) ([]change, error) { panic("on purpose") })
}

// Recode decodes a stored record and encodes it again.
func Recode(raw []byte) ([]byte, error) {
	stored, f, err := decodeRecord(raw)
	if err != nil {
		return nil, err
	}
	encoded, err := encoding.Marshal(f)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(encoded, stored.Fields) {
		return nil, nil // readable, but not in the one form that we write
	}
	return encodeRecord(stored), nil
}

// SampleRecord is a record as it is stored.
func SampleRecord() []byte {
	v := newVault(make([]byte, keySize))
	token, err := newToken(Spec{Name: "sample", Active: true, Write: true, ExpiresAt: fromMilli(1893456000000)}, fromMilli(1760000000000))
	if err != nil {
		panic(err)
	}
	return v.seal(token, formatValue("tkd", [32]byte{1, 2, 3}), token.CreatedAt).sealed
}
