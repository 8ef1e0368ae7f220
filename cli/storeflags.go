package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"tokend/cli/daemon"
	"tokend/internal/hint"

	"github.com/spf13/cobra"
)

// storeFlags say which store a command works on that needs no server.
type storeFlags struct {
	dataDir       string
	masterKeyFile string
}

func (f *storeFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dataDir, "data-dir", "", "the server's `folder` of data")
	cmd.Flags().StringVar(&f.masterKeyFile, "master-key-file", "", "`file` with the master key (default master.key in the data folder)")
}

// open takes hold of the folder in some way, and reads the keys. As root it becomes the
// owner of the folder, whom the server runs as.
func (f *storeFlags) open(hold func(*daemon.DataDir) error) (*daemon.DataDir, error) {
	if f.dataDir == "" {
		return nil, &usageError{errors.New("--data-dir says which folder of data is meant")}
	}
	data := &daemon.DataDir{Path: filepath.Clean(f.dataDir)}
	err := f.readKeys(data)
	if err == nil {
		err = hold(data)
	}
	if err != nil {
		data.Close()
	}
	return data, err
}

func (f *storeFlags) readKeys(data *daemon.DataDir) error {
	if f.masterKeyFile != "" { // which only root may be able to read
		if err := data.ReadMasterKeys(f.masterKeyFile); err != nil {
			return err
		}
	}
	if err := becomeOwnerOf(data.Path); err != nil {
		return err
	}
	if f.masterKeyFile == "" {
		path := filepath.Join(data.Path, "master.key")
		if isMissing(path) {
			return hint.New(
				fmt.Errorf("there is no master key in %s", data.Path),
				"put it there as master.key, or name it with --master-key-file; nothing else opens the store")
		}
		return data.ReadMasterKeys(path)
	}
	return nil
}

// becomeOwnerOf has root become the user and group that a folder belongs to, so that
// what is made in it belongs to them too.
func becomeOwnerOf(folder string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	user, group := int(owner.Uid), int(owner.Gid)
	for _, become := range []error{syscall.Setgroups([]int{group}), syscall.Setgid(group), syscall.Setuid(user)} {
		if become != nil {
			return fmt.Errorf("become the owner of %s: %w", folder, become)
		}
	}
	return nil
}
