package kv

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/seal"
)

// Options are what Open needs to know.
type Options struct {
	// Dir is the store's folder. It is made, with mode 0700, if it is missing.
	Dir string

	// MasterKeys opens the store: the first is the current one, the others are
	// tried after it. A store that only an older one opens is rewrapped under
	// the first.
	MasterKeys []MasterKey

	// WrappedDataKey is the data key of a store that is about to be made, sealed by one of
	// MasterKeys. Stores with the same data key can open each other's records. Nil makes
	// one; a store that exists keeps its own.
	WrappedDataKey []byte

	// TokenPrefix begins the values that Create makes.
	TokenPrefix string

	// MinFreeBytes is the reserve: with less room on the disk, changes are
	// refused with ErrFull before they reach Badger. Less than DefaultMinFreeBytes
	// may let a disk that fills up end the process. Zero is no reserve.
	MinFreeBytes uint64

	// MaxIndexed bounds the tokens that are held in memory for verification, at
	// some 70 bytes each. Verification of others reads the database.
	MaxIndexed int

	// FreeBytes says how much room a folder's disk has. Nil asks the system.
	FreeBytes func(dir string) (uint64, error)

	// Alarm is how long a commit may wait for the disk before Writable reports it. Zero is
	// 10 s.
	Alarm time.Duration

	// Patience is how long a change may wait once it was handed to the writer, so that a disk
	// that does not answer holds nobody for ever. Zero is 30 s. A context may end sooner.
	Patience time.Duration

	// OnCommit is told of every commit of changes, from the goroutine that all changes
	// wait for: how long it took until they were on disk, and how many operations
	// shared it. Nil tells nobody.
	OnCommit func(took time.Duration, operations int)

	// Now is the clock. Nil is time.Now.
	Now func() time.Time

	// Log gets Badger's warnings and what the store does by itself. Nil is
	// slog.Default. Names may appear in it, values never.
	Log *slog.Logger
}

// complete puts the defaults in, and refuses what cannot be opened with.
func (o *Options) complete() error {
	o.TokenPrefix = cmp.Or(o.TokenPrefix, "tkd")
	if err := CheckPrefix(o.TokenPrefix); err != nil {
		return err
	}
	if len(o.MasterKeys) == 0 {
		return errors.New("no master key was given")
	}
	if o.OnCommit == nil {
		o.OnCommit = func(time.Duration, int) {}
	}
	o.Patience = cmp.Or(o.Patience, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.WrappedDataKey != nil && !seal.IsWrapped(o.WrappedDataKey) {
		return errors.New("the data key that was given is not one that a master key sealed")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return nil
}

// DefaultMinFreeBytes is what the store may still have to write for what it has accepted.
const DefaultMinFreeBytes = badgerdb.DefaultMinFree

// database are the options of the database below.
func (o *Options) database() badgerdb.Options {
	return badgerdb.Options{Dir: o.Dir, MinFree: o.MinFreeBytes, FreeBytes: o.FreeBytes, Alarm: o.Alarm, Log: o.Log}
}
