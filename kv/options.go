package kv

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Options are what Open needs to know.
type Options struct {
	// Dir is the store's folder. It is made, with mode 0700, if it is missing.
	Dir string

	// MasterKeys opens the store: the first is the current one, the others are
	// tried after it. A store that only an older one opens is rewrapped under
	// the first.
	MasterKeys []MasterKey

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
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FreeBytes == nil {
		o.FreeBytes = freeBytes
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return nil
}

// Sizes of Badger, in bytes and numbers.
const (
	// memtableSize bounds what lies in memory only (and in the log), and through it
	// a transaction: 15 % of it in bytes. The largest Bulk fits.
	memtableSize  = 8 << 20
	memtables     = 2        // that wait to be written out, beside the one in use
	level0Tables  = 4        // from which on they are compacted, each as large as a memtable
	level0Stall   = 8        // at which the writing out of memtables waits
	baseLevelSize = 10 << 20 // of the level below
	tableSize     = 2 << 20  // there; twice that one level on
)

// DefaultMinFreeBytes is what Badger may still have to write for what it has accepted.
const DefaultMinFreeBytes = 2*memtableSize + // the rest of the log, and the next one
	(memtables+1)*memtableSize + // memtables, as tables
	level0Stall*memtableSize + 2*baseLevelSize + // all of level 0, merged with the level below before either goes
	12*2*tableSize // and beside it a table of a level, merged with some ten of the next

// badgerOptions sizes Badger for an appliance: tens of megabytes instead of its
// defaults' hundreds.
func badgerOptions(o Options) badger.Options {
	return badger.DefaultOptions(o.Dir).
		WithSyncWrites(true). // Badger's default is false
		WithLogger(badgerLog{o.Log}).
		WithMemTableSize(memtableSize).
		WithNumMemtables(memtables).
		WithNumLevelZeroTables(level0Tables).
		WithNumLevelZeroTablesStall(level0Stall).
		WithBaseLevelSize(baseLevelSize).
		WithBaseTableSize(tableSize).
		WithNumCompactors(2).
		// Values are sealed, so they do not compress; blocks then come straight
		// from the mapped file, which needs no cache of ours.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithChecksumVerificationMode(options.OnBlockRead).
		// Records are below the threshold by orders of magnitude: the value log
		// stays empty and needs no collection.
		WithValueLogFileSize(1 << 20).
		// There is one writer.
		WithDetectConflicts(false).
		WithMetricsEnabled(false)
}

// badgerLog passes on what an operator should see. Badger's chatter (Info,
// Debug) is dropped.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(format string, args ...any) {
	l.log.Error("badger: " + fmt.Sprintf(format, args...))
}

func (l badgerLog) Warningf(format string, args ...any) {
	l.log.Warn("badger: " + fmt.Sprintf(format, args...))
}

func (badgerLog) Infof(string, ...any) {}

func (badgerLog) Debugf(string, ...any) {}
