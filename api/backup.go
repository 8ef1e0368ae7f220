package api

import (
	"errors"
	"fmt"
	"time"
)

// backup streams the whole store at one moment, values sealed, ending in a count and a
// checksum.
func (s *Server) backup(r *request) (reply, error) {
	snapshot, err := s.Store.Snapshot()
	if err != nil {
		return reply{}, fmt.Errorf("backup: %w", err)
	}
	taken := s.Now()
	pieces := snapshot.Backup(taken)
	views := func(yield func(any, error) bool) {
		for piece, err := range pieces {
			if !yield(piece, err) {
				return
			}
		}
	}
	return reply{stream: s.newStream(r, snapshot, views, form{
		kind: sequenceType, isEncoded: true, sent: func() { s.noteBackup(taken) },
	})}, nil
}

// noteBackup remembers that somebody has a backup.
func (s *Server) noteBackup(taken time.Time) {
	if err := s.Store.NoteBackup(taken); err != nil {
		s.Log.Warn("that a backup was taken could not be noted", "err", err)
	}
}

type rekeyView struct {
	Changed bool `json:"changed"`
}

// rekey takes up the master key that is the first in its file now.
func (s *Server) rekey(*request) (reply, error) {
	changed, err := s.Rekey()
	if unusable, ok := errors.AsType[*MasterKeyError](err); ok {
		return reply{}, &problem{status: 409, code: "master_key_unusable", detail: unusable.Error() + "; nothing was changed"}
	}
	if err != nil {
		return reply{}, fmt.Errorf("rekey: %w", err)
	}
	return reply{data: rekeyView{changed}}, nil
}

// MasterKeyError is why the file of the master key cannot be taken up. Its text is
// for administrators.
type MasterKeyError struct{ Err error }

func (e *MasterKeyError) Error() string { return e.Err.Error() }

func (e *MasterKeyError) Unwrap() error { return e.Err }
