package api

import (
	"errors"
	"fmt"

	"tokend/api/wire"
)

// rekey takes up the master key that is the first in its file now.
func (s *Server) rekey(*request) (reply, error) {
	changed, err := s.rekeyStore(detached)
	if unusable, ok := errors.AsType[*MasterKeyError](err); ok {
		return reply{}, &problem{status: 409, code: wire.CodeMasterKeyUnusable, detail: unusable.Error() + "; nothing was changed"}
	}
	if err != nil {
		return reply{}, fmt.Errorf("rekey: %w", err)
	}
	return reply{data: wire.Rekeyed{Changed: changed}}, nil
}

// MasterKeyError is why the file of the master key cannot be taken up. Its text is for
// administrators.
type MasterKeyError struct{ Err error }

func (e *MasterKeyError) Error() string { return e.Err.Error() }

func (e *MasterKeyError) Unwrap() error { return e.Err }
