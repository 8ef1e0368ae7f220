package api

import (
	"fmt"
	"io"
	"time"

	"tokend/api/wire"
)

// backup streams the whole store at one moment, values sealed, ending in a count and a
// checksum.
func (s *Server) backup(r *request) (reply, error) {
	snapshot, err := s.store.Snapshot()
	if err != nil {
		return reply{}, fmt.Errorf("backup: %w", err)
	}
	taken := s.now()
	return reply{stream: s.newStream(r, snapshot, pieces(func(w io.Writer) error { return snapshot.Backup(w, taken) }), form{
		kind: wire.CBORSequence, isEncoded: true, sent: func() { s.noteBackup(taken) },
	})}, nil
}

// noteBackup remembers that somebody has a backup: it is called when all of it was sent.
func (s *Server) noteBackup(taken time.Time) {
	if err := s.store.NoteBackup(detached, taken); err != nil {
		s.log.Warn("cannot record backup time", "err", err)
	}
}
