package badgerdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Badger's files, by their names.
const (
	manifestName   = "MANIFEST"
	tableSuffix    = ".sst"
	walSuffix      = ".mem"
	valueLogSuffix = ".vlog"
)

// walkFiles visits the files in a folder. One that goes meanwhile is passed over.
func walkFiles(dir string, visit func(path string, info fs.FileInfo) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = visit(filepath.Join(dir, entry.Name()), info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// holdsRecords reports whether a file is one of those that hold records.
func holdsRecords(path string) bool {
	switch filepath.Ext(path) {
	case tableSuffix, walSuffix, valueLogSuffix:
		return true
	}
	return false
}

// isBadgerFile reports whether a file is Badger's, and not a lock.
func isBadgerFile(path string) bool {
	switch filepath.Base(path) {
	case manifestName, "KEYREGISTRY", "DISCARD":
		return true
	}
	return holdsRecords(path)
}

// removeEmptyLogs removes the logs that a process made and was killed before it gave them a
// size. Nothing can be in them, and Badger does not open a folder that has one.
func removeEmptyLogs(dir string) error {
	return walkFiles(dir, func(path string, info fs.FileInfo) error {
		if suffix := filepath.Ext(path); info.Size() > 0 || suffix != walSuffix && suffix != valueLogSuffix {
			return nil
		}
		return os.Remove(path)
	})
}

// lock makes sure that no other process holds the database. Badger locks the folder itself,
// but its error has no type; and it can take the lock only when this one is released. Where
// two processes start in the same moment, one may still get Badger's own error.
func lock(dir string) (release func(), err error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	release = func() { _ = folder.Close() }
	err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return release, nil
	}
	release()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrLocked
	}
	return nil, fmt.Errorf("lock the folder: %w", err)
}

// Usage is what the database takes of its disk, in bytes.
type Usage struct {
	Tables   uint64 // the sorted tables, where records end up
	Log      uint64 // the synced WAL of what is still in memory
	ValueLog uint64 // Badger's log of large values, which stays empty
	Other    uint64 // MANIFEST and locks
}

// Usage asks the file system. It takes as long as a look at each file, of which there are
// some for each ten megabytes.
func (db *DB) Usage() (u Usage, err error) {
	err = walkFiles(db.dir, func(path string, info fs.FileInfo) error {
		part := &u.Other
		switch filepath.Ext(path) {
		case tableSuffix:
			part = &u.Tables
		case walSuffix:
			part = &u.Log
		case valueLogSuffix:
			part = &u.ValueLog
		}
		*part += taken(info)
		return nil
	})
	return u, err
}

// Level is a level of the tables. Compaction moves what they hold from each to the next.
type Level struct {
	Tables int
	Due    float64 // of a compaction: from 1 on it is due
}

// Levels are the levels of the tables, the newest first.
func (db *DB) Levels() (levels []Level) {
	for _, l := range db.badger.Levels() {
		levels = append(levels, Level{Tables: l.NumTables, Due: l.Score})
	}
	return levels
}
