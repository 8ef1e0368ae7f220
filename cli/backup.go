package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"tokend/client"
	"tokend/internal/hint"
	"tokend/kv/backup"

	"github.com/spf13/cobra"
)

func newBackup() *cobra.Command {
	var (
		server clientFlags
		keep   int
	)
	cmd := &cobra.Command{
		Use:   "backup FILE|FOLDER",
		Short: "Write a backup of a running server's store",
		Long: `Write the whole store of a running server, as it is at one moment, to a file; in a
folder the time is its name; with - to standard output. The backup is counted and compared
with its checksum before it takes its place.

Values are sealed in it, so it is of no use without the master key: keep a copy of the key
elsewhere. tokend restore makes a store from it.

--keep deletes the oldest backups in the folder once the new one is there.`,
		Example: "  tokend backup tokend.backup\n  tokend backup --keep 14 /var/backups/tokend",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, folder := args[0], ""
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				folder = path
				path = filepath.Join(folder, time.Now().UTC().Format(backupName))
			}
			switch {
			case cmd.Flags().Changed("keep") && (folder == "" || keep < 1):
				return &usageError{errors.New("--keep says how many backups stay, at least 1, in a folder that exists")}
			case path == "-" && isTerminal(cmd.OutOrStdout()):
				return &usageError{errors.New("a backup is not for a terminal; give a file")}
			}
			c, err := server.connect()
			if err != nil {
				return err
			}
			if err := backupTo(cmd, c, path); err != nil || keep == 0 {
				return err
			}
			return deleteOldest(cmd, path, keep)
		},
	}
	server.register(cmd.Flags())
	cmd.Flags().IntVar(&keep, "keep", 0, "how many backups stay in the folder, the newest `number` (default all)")
	return cmd
}

// backupName is the name of a backup in a folder, of its time in UTC. Names sort
// by it.
const backupName = "tokend-20060102T150405Z.backup"

var (
	isBackupName = regexp.MustCompile(`^tokend-\d{8}T\d{6}Z\.backup$`)
	isLeftName   = regexp.MustCompile(`^\.tokend-\d{8}T\d{6}Z\.backup\d+$`) // while one is written
)

// isOld reports whether nobody writes a file any more.
func isOld(entry fs.DirEntry) bool {
	info, err := entry.Info()
	return err == nil && time.Since(info.ModTime()) > 24*time.Hour
}

// backupTo writes a file whole or not at all.
func backupTo(cmd *cobra.Command, c *server, path string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), interrupts...)
	defer stop()
	meter := newMeter(cmd.ErrOrStderr(), "backing up", "backed up", -1)
	defer meter.clear()
	if path == "-" {
		_, err := c.backup(ctx, &namedWriter{cmd.OutOrStdout(), "standard output"}, meter)
		return err
	}
	var info backup.Info
	path, err := writeFile(path, func(to io.Writer) (err error) {
		info, err = c.backup(ctx, to, meter)
		return err
	})
	if err != nil {
		return err
	}
	meter.clear()
	say(cmd.ErrOrStderr(), "backed up %s to %s\n", tokens(info.Tokens), path)
	return nil
}

// backup copies a backup and checks it on the way.
func (s *server) backup(ctx context.Context, to io.Writer, meter *meter) (backup.Info, error) {
	info, err := s.Backup(ctx, to, meter.tokens(ctx))
	if target, ok := errors.AsType[*client.WriteError](err); ok {
		return info, target.Err
	}
	if errors.Is(err, backup.ErrInvalid) {
		return info, hint.New(fmt.Errorf("what the server sent is not a whole backup: %w", err), "its log may say why: a damaged record, a failing disk")
	}
	return info, s.explain(err)
}

// deleteOldest leaves so many backups in a folder, the one that was just made among them,
// also where the clock was ahead once. What a backup left that was killed goes too.
func deleteOldest(cmd *cobra.Command, made string, keep int) error {
	folder := filepath.Dir(made)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var others, left []string
	for _, entry := range entries {
		switch name := entry.Name(); {
		case !entry.Type().IsRegular() || name == filepath.Base(made):
		case isBackupName.MatchString(name):
			others = append(others, name)
		case isLeftName.MatchString(name) && isOld(entry):
			left = append(left, name)
		}
	}
	slices.Sort(others)
	if n := len(others); n > 0 && others[n-1] > filepath.Base(made) {
		say(cmd.ErrOrStderr(), "warning: %s is newer than the backup that was just made, by its name\n", filepath.Join(folder, others[n-1]))
	}
	for _, old := range append(left, others[:max(0, len(others)+1-keep)]...) {
		if err := os.Remove(filepath.Join(folder, old)); err != nil {
			return err
		}
		say(cmd.ErrOrStderr(), "deleted %s\n", filepath.Join(folder, old))
	}
	return nil
}
