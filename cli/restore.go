package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"tokend/cli/daemon"
	"tokend/internal/hint"
	"tokend/kv"
)

func newRestore() *cobra.Command {
	var at storeFlags
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a store from a backup",
		Long: `Make a store from a backup, with - from standard input, in a data folder that has no
store and that no server uses. It needs the master key of the time of the backup: in the
data folder as master.key, or with --master-key-file. A backup that is truncated, was
changed or belongs to another key is refused and leaves nothing behind.

What was revoked after the backup was taken is good again.`,
		Example: "  tokend restore --data-dir /var/lib/tokend tokend.backup",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, size, closeFile, err := openInput(cmd, args[0])
			if err != nil {
				return err
			}
			defer closeFile()
			daemon.PrepareProcess()
			data, err := at.open((*daemon.DataDir).MakeAndLock)
			if err != nil {
				return err
			}
			defer data.Close()
			return restoreFrom(cmd, in, size, data)
		},
	}
	at.register(cmd)
	return cmd
}

func restoreFrom(cmd *cobra.Command, in io.Reader, size int64, data *daemon.DataDir) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), interrupts...)
	defer stop()
	meter := newMeter(cmd.ErrOrStderr(), "restoring", "restored", size, progressbar.OptionShowBytes(true))
	defer meter.clear()
	info, err := kv.Restore(io.TeeReader(in, meter), kv.Options{Dir: data.StorePath(), MasterKeys: data.MasterKeys},
		func(done, _ int) error {
			meter.sayNowAndThen(done)
			return interruption(ctx)
		})
	switch {
	case errors.Is(err, kv.ErrNotEmpty):
		return hint.New(err, "move the store away first, or choose another folder")
	case errors.Is(err, kv.ErrWrongKey):
		return hint.New(fmt.Errorf("%w: %s", err, data.MasterKeyFile), "add the master key of the time of the backup as a line of that file")
	case err != nil:
		return err
	}
	meter.clear()
	talk := cmd.ErrOrStderr()
	say(talk, "restored %s to %s, as they were %s (%s)\n", tokens(info.Tokens), data.StorePath(), relative(info.Taken.UnixMilli(), time.Now()), exactly(info.Taken.UnixMilli()))
	say(talk, "warning: what was deleted, turned off, rotated or shortened since then is good again as it was;\n"+
		"look through tokend token list; tokend token bulk deactivate turns many off\n")
	install := fmt.Sprintf("install -m 600 -o %d", os.Geteuid()) // the owner of the folder, whom root became
	if own := filepath.Join(data.Path, "master.key"); data.MasterKeyFile != own {
		say(talk, "hint: the server needs the key too: --master-key-file %[1]s, or\n  %[2]s %[1]s %[3]s\n", hint.Quote(data.MasterKeyFile), install, hint.Quote(own))
	}
	if token := filepath.Join(data.Path, "admin.token"); isMissing(token) {
		say(talk, "hint: there is no admin token in the folder; unless the configuration names another:\n"+
			"  tokend keygen admin | head -1 | %s /dev/stdin %s\n", install, hint.Quote(token))
	}
	return nil
}

func isMissing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}
