package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"tokend/kv/internal/badgerdb"
)

// NoteBackup remembers, on disk, when a backup was taken, unless there is a later
// one.
func (s *Store) NoteBackup(ctx context.Context, at time.Time) error {
	return s.operate(func() error {
		s.backups.Lock()
		defer s.backups.Unlock()
		last := s.lastBackup.Load()
		if at.UnixMilli() <= last && last <= s.now().UnixMilli() { // else the clock was ahead when it was noted
			return nil
		}
		value := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
		err := s.committer.commit(ctx, noChange, badgerdb.Write{Key: []byte(metaBackup), Value: value})
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
	return s.read(func(view view) error {
		raw, err := view.get([]byte(metaBackup))
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		case len(raw) != 8:
			return fmt.Errorf("%w: the time of its last backup is not readable", ErrCorrupt)
		}
		s.lastBackup.Store(int64(binary.BigEndian.Uint64(raw))) //nolint:gosec // as it was written
		return nil
	})
}
