package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"
)

// Usage is what the store takes of its disk, in bytes.
type Usage struct {
	Tables   uint64 // the sorted tables, where records end up
	Log      uint64 // the synced log of what is still in memory
	ValueLog uint64 // Badger's log of large values, which stays empty
	Other    uint64 // lists and locks

	Free    uint64 // what anybody may still write
	Reserve uint64 // of that, what is left alone (Options.MinFreeBytes)
}

// Usage asks the file system. It takes as long as a look at each of the store's
// files, of which there are some for each ten megabytes.
func (s *Store) Usage() (u Usage, err error) {
	r := s.writer.reserve
	u.Reserve = r.min
	if u.Free, err = r.free(r.dir); err != nil {
		return u, err
	}
	err = eachFile(r.dir, func(path string, info fs.FileInfo) error {
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

// NoteBackup remembers, on disk, when a copy of all tokens was taken, unless there
// is a later one.
func (s *Store) NoteBackup(at time.Time) error {
	return s.operate(func() error {
		s.backups.Lock()
		defer s.backups.Unlock()
		if at.UnixMilli() <= s.lastBackup.Load() {
			return nil
		}
		s.lastBackup.Store(at.UnixMilli())
		nothing := func(view) ([]change, error) { return nil, nil }
		value := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
		return s.writer.apply(nothing, write{[]byte(metaBackup), value})
	})
}

// LastBackup is the latest that NoteBackup was told of, zero if there is none.
func (s *Store) LastBackup() time.Time {
	if at := s.lastBackup.Load(); at != 0 {
		return fromMilli(at)
	}
	return time.Time{}
}

func (s *Store) recallBackup() error {
	view := s.newView()
	defer view.txn.Discard()
	raw, err := view.get([]byte(metaBackup))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case len(raw) != 8:
		return fmt.Errorf("%w: when it was backed up is not readable", ErrCorrupt)
	}
	s.lastBackup.Store(int64(binary.BigEndian.Uint64(raw))) //nolint:gosec // as it was written
	return nil
}
