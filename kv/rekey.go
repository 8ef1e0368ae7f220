package kv

import "fmt"

// Rekey has the first of some master keys seal the store, in one commit, unless it
// does already. Another of them must be the one that does now: it fails with
// ErrWrongKey where none is. Whatever ends the process, one of the two keys opens the
// store.
func (s *Store) Rekey(keys []MasterKey) (changed bool, err error) {
	err = s.operate(func() error {
		s.rekeying.Lock()
		defer s.rekeying.Unlock()
		var wrapped []byte
		err := s.read(func(view view) (err error) {
			_, wrapped, err = view.readMeta()
			return err
		})
		if err != nil {
			return err
		}
		dataKey, by, err := unwrap(wrapped, keys)
		defer clear(dataKey)
		if err != nil || by == 0 {
			return err
		}
		nothing := func(view) ([]change, error) { return nil, nil }
		if err := s.writer.apply(nothing, write{[]byte(metaDataKey), keys[0].wrap(dataKey)}); err != nil {
			return fmt.Errorf("take up the first master key: %w", err)
		}
		changed = true
		return nil
	})
	return changed, err
}
