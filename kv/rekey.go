package kv

import (
	"context"
	"fmt"
)

// Rekey has the first of some master keys seal the store, in one commit, unless it
// does already. Another of them must be the one that does now: it fails with
// ErrWrongKey where none is. Whatever ends the process, one of the two keys opens the
// store.
func (s *Store) Rekey(ctx context.Context, keys []MasterKey) (changed bool, err error) {
	err = s.operate(func() error {
		s.rekeying.Lock()
		defer s.rekeying.Unlock()
		stored, err := readStoredHead(s.db)
		if err != nil {
			return err
		}
		dataKey, by, err := unwrap(stored.wrapped, keys)
		defer clear(dataKey)
		if err != nil || by == 0 {
			return err
		}
		if err := s.committer.commit(ctx, noChange, dataKeyWrite(keys[0], dataKey)); err != nil {
			return fmt.Errorf("take up the first master key: %w", err)
		}
		changed = true
		return nil
	})
	return changed, err
}
