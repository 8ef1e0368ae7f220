package kv

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// Usage is what the store takes of its disk, in bytes.
type Usage struct {
	Tables   uint64 // the sorted tables, where records end up
	Log      uint64 // the synced log of what is still in memory
	ValueLog uint64 // Badger's log of large values, which stays empty
	Other    uint64 // lists and locks
}

// Room is what anybody may still write on the store's disk, in bytes, and what of
// that is left alone (Options.MinFreeBytes).
func (s *Store) Room() (free, reserve uint64, err error) {
	r := s.writer.reserve
	free, err = r.free(r.dir)
	return free, r.min, err
}

// Usage asks the file system. It takes as long as a look at each of the store's
// files, of which there are some for each ten megabytes.
func (s *Store) Usage() (u Usage, err error) {
	err = eachFile(s.writer.reserve.dir, func(path string, info fs.FileInfo) error {
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		part := &u.Other
		switch filepath.Ext(path) {
		case ".sst":
			part = &u.Tables
		case ".mem":
			part = &u.Log
		case ".vlog":
			part = &u.ValueLog
		}
		*part += uint64(stat.Blocks) * 512 //nolint:gosec // a count is positive
		return nil
	})
	return u, err
}

// Level is a level of the tables. Compaction moves what they hold from each to the
// next.
type Level struct {
	Tables int
	Due    float64 // of a compaction: from 1 on it is due
}

// Levels are those of the store, the newest first.
func (s *Store) Levels() (levels []Level, err error) {
	err = s.operate(func() error {
		for _, l := range s.db.Levels() {
			levels = append(levels, Level{Tables: l.NumTables, Due: l.Score})
		}
		return nil
	})
	return levels, err
}
