package kv

import (
	"errors"
	"fmt"
	"time"

	"tokend/kv/internal/index"
)

// lastUsed is when a value was last found valid, zero where it never was. What memory does
// not know is read from disk.
func lastUsed(ix *index.Index, key index.Key, read func(shard int) (index.Uses, error)) (time.Time, error) {
	at, known := ix.LastUse(key)
	if !known {
		uses, err := read(key.Shard())
		if err != nil {
			return time.Time{}, err
		}
		at = uses.Of(key)
	}
	if at == 0 {
		return time.Time{}, nil
	}
	return fromMilli(at), nil
}

// addUses completes a record with when its values were last used.
func addUses(r *record, ix *index.Index, read func(shard int) (index.Uses, error)) error {
	at, err := lastUsed(ix, index.KeyOf(r.hash), read)
	if err != nil {
		return err
	}
	if r.hasPrevious() {
		if r.PreviousLastUsedAt, err = lastUsed(ix, index.KeyOf(r.previous.hash), read); err != nil {
			return err
		}
	}
	for _, use := range []time.Time{at, r.PreviousLastUsedAt} {
		if use.After(r.LastUsedAt) {
			r.LastUsedAt = use
		}
	}
	return nil
}

// uses reads the last uses that are on disk for a shard.
func (v view) uses(shard int) (index.Uses, error) {
	raw, err := v.get(usesKey(shard))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeUses(raw)
}

// uses is view.uses in the latest state.
func (s *Store) uses(shard int) (uses index.Uses, err error) {
	err = s.read(func(view view) error {
		uses, err = view.uses(shard)
		return err
	})
	return uses, err
}

func decodeUses(raw []byte) (index.Uses, error) {
	uses, err := index.DecodeUses(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return uses, nil
}
