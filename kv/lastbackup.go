package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// NoteBackup remembers, on disk, when a backup was taken, unless there is a later
// one.
func (s *Store) NoteBackup(at time.Time) error {
	return s.operate(func() error {
		s.backups.Lock()
		defer s.backups.Unlock()
		last := s.lastBackup.Load()
		if at.UnixMilli() <= last && last <= s.now().UnixMilli() { // else the clock was ahead when it was noted
			return nil
		}
		nothing := func(view) ([]change, error) { return nil, nil }
		value := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
		err := s.writer.apply(nothing, write{[]byte(metaBackup), value})
		if err == nil {
			s.lastBackup.Store(at.UnixMilli())
		}
		return err
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
