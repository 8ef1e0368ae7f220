// Package badgerdb is Badger that survives its disk. It is the only importer of Badger.
//
// Badger 4.9.6 has four habits that a store of secrets cannot afford:
//
//   - A compaction that cannot write or read a table loses what it merges. Every change of
//     MANIFEST is checked here before Badger may rely on it (manifestguard.go, merge.go).
//   - It writes through mapped sparse files. A full, failing or hanging disk then ends or
//     stops the whole process. [DB.Commit] asks the disk first (reserve.go, prefault.go).
//   - It takes damage for the end of a file and deletes what lies beyond. [Open] reads all
//     files once before Badger sees them (manifest.go, tables.go, wal.go, cleanmark.go).
//   - A page that the disk does not give is a SIGBUS. [DB.Read] and [View.Guard] turn it
//     into [ErrUnavailable] (fault.go).
//
// Two of these answers reach into Badger's private parts. They are in insides.go, which
// says what they rely on, checks it at [Open], and refuses to open where it does not hold.
//
// # Concurrency
//
// Reads are safe for concurrent use. Commits are made one at a time: a second one waits.
// Close must come last.
package badgerdb
