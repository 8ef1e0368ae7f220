package badgerdb

import (
	"fmt"
	"log/slog"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Sizes of Badger, in bytes and numbers.
const (
	// memtableSize bounds what is in memory only (and in the WAL), and through it
	// a transaction: 15 % of it in bytes. The largest Bulk fits.
	memtableSize  = 8 << 20
	memtables     = 2        // that wait to be written out, beside the one in use
	level0Tables  = 4        // from which on they are compacted, each as large as a memtable
	level0Stall   = 8        // at which the writing out of memtables waits
	baseLevelSize = 10 << 20 // of the level below
	tableSize     = 2 << 20  // there; twice that one level on
)

// DefaultMinFree is what Badger may still have to write for what it has accepted.
const DefaultMinFree = 2*memtableSize + // the rest of the log, and the next one
	(memtables+1)*memtableSize + // memtables, as tables
	level0Stall*memtableSize + 2*baseLevelSize + // all of level 0, merged with the level below before either goes
	12*2*tableSize // and beside it a table of a level, merged with some ten of the next

// badgerOptions sizes Badger for an appliance: tens of megabytes instead of its
// defaults' hundreds.
func badgerOptions(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true). // Badger's default is false
		WithLogger(badgerLog{log}).
		WithMemTableSize(memtableSize).
		WithNumMemtables(memtables).
		WithNumLevelZeroTables(level0Tables).
		WithNumLevelZeroTablesStall(level0Stall).
		WithBaseLevelSize(baseLevelSize).
		WithBaseTableSize(tableSize).
		WithNumCompactors(2).
		// Values are sealed, so they do not compress; blocks then come straight
		// from the mapped file, which needs no other cache.
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
