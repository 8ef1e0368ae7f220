package kv

import "tokend/kv/internal/badgerdb"

// Usage is what the store takes of its disk, in bytes.
type Usage = badgerdb.Usage

// Level is a level of the tables. Compaction moves what they hold from each to the next.
type Level = badgerdb.Level

// Room is what anybody may still write on the store's disk, in bytes, and what of that is
// kept in reserve (Options.MinFreeBytes).
func (s *Store) Room() (free, reserve uint64, err error) { return s.db.Room() }

// Usage asks the file system. It takes as long as a look at each of the store's files, of
// which there are some for each ten megabytes.
func (s *Store) Usage() (Usage, error) { return s.db.Usage() }

// Levels are those of the store, the newest first.
func (s *Store) Levels() (levels []Level, err error) {
	err = s.operate(func() error {
		levels = s.db.Levels()
		return nil
	})
	return levels, err
}
