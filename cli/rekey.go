package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"tokend/api"
	"tokend/config"
	"tokend/kv"
)

func newRekey() *cobra.Command {
	var server clientFlags
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Have a running server take up a new master key",
		Long: `Have a running server take up the master key that is the first line of its key file
now. The line that was the first before must follow it; once this is done it can go,
unless a backup is sealed with it. Tokens are verified all the while.

A key that systemd hands over as a credential is fixed while the service runs: a
restart takes up a new one.`,
		Example: "  (umask 077; (tokend keygen master; cat master.key) > master.new)\n  mv master.new master.key && tokend rekey && sed -i 1q master.key",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := server.connect()
			if err != nil {
				return err
			}
			data, _, err := ask[rekeyed](cmd.Context(), c, http.MethodPost, "/_/rekey", nil, nil)
			if err != nil {
				return err
			}
			if data[0].Changed {
				say(cmd.ErrOrStderr(), "the first line of the key file seals the store now; the others are needed for older backups alone\n")
			} else {
				say(cmd.ErrOrStderr(), "the first line of the key file sealed the store already; nothing was changed\n")
			}
			return nil
		},
	}
	server.register(cmd.Flags())
	return cmd
}

type rekeyed struct {
	Changed bool `json:"changed"`
}

// rekey reads the master keys as they are now and has the first of them seal the
// store.
func (s *service) rekey(ctx context.Context, store *kv.Store) (changed bool, err error) {
	file := s.data.masterKeyFile
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
