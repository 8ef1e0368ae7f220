package daemon

import (
	"context"
	"errors"
	"fmt"

	"tokend/api"
	"tokend/config"
	"tokend/kv"
)

// rekey reads the master keys as they are now and has the first of them seal the
// store.
func (s *service) rekey(ctx context.Context, store *kv.Store) (changed bool, err error) {
	file := s.data.MasterKeyFile
	keys, err := readMasterKeys(file)
	if err != nil {
		return false, &api.MasterKeyError{Err: err}
	}
	defer wipe(keys)
	changed, err = store.Rekey(ctx, keys)
	switch {
	case errors.Is(err, kv.ErrWrongKey):
		return false, &api.MasterKeyError{Err: fmt.Errorf("none of the keys in %s seals the store now: the old line must follow the new one", file)}
	case err != nil:
		return false, err
	case changed:
		s.log.Info("the store was rewrapped under the first master key", "master_key_file", file)
	}
	return changed, nil
}

func readMasterKeys(path string) ([]kv.MasterKey, error) {
	content, err := config.ReadSecret(path)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	defer clear(content)
	keys, err := kv.ParseMasterKeys(content)
	if err != nil {
		return nil, fmt.Errorf("master key: %s: %w", path, err)
	}
	return keys, nil
}

// wipe takes keys out of memory that are not needed any more.
func wipe(keys []kv.MasterKey) {
	for _, key := range keys {
		key.Wipe()
	}
}
