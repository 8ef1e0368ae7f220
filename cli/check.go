package cli

import (
	"errors"
	"fmt"
	"os/signal"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"tokend/cli/daemon"
	"tokend/internal/hint"
	"tokend/kv"
)

func newCheck() *cobra.Command {
	var (
		at     storeFlags
		repair bool
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look for damage in a store that no server holds",
		Long: `Read all of a store that no server holds: its files, each table, each record's seal,
the index both ways. Each fault is printed on a line, and the exit code is then 1.
Nothing is changed.

--repair rebuilds the index from the records. It never deletes records: restore damaged
records from a backup.`,
		Example: "  tokend check --data-dir /var/lib/tokend",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			daemon.PrepareProcess()
			data, err := at.open((*daemon.DataDir).LockExisting)
			if err != nil {
				return err
			}
			defer data.Close()
			if empty, err := daemon.IsEmptyOrMissing(data.StorePath()); err != nil || empty {
				return errors.Join(err, fmt.Errorf("there is no store in %s", data.Path))
			}
			return checkStore(cmd, data, repair)
		},
	}
	at.register(cmd)
	cmd.Flags().BoolVar(&repair, "repair", false, "rebuild the index from the records")
	return cmd
}

func checkStore(cmd *cobra.Command, data *daemon.DataDir, repair bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), interrupts...)
	defer stop()
	meter := newMeter(cmd.ErrOrStderr(), "checking", "checked", -1)
	defer meter.clear()
	options := kv.Options{Dir: data.StorePath(), MasterKeys: data.MasterKeys, MinFreeBytes: 1}
	var (
		before, after kv.Report
		err           error
	)
	if repair {
		before, after, err = kv.Repair(options, meter.tokens(ctx))
	} else {
		before, err = kv.Check(options, meter.tokens(ctx))
		after = before
	}
	if errors.Is(err, kv.ErrWrongKey) {
		return hint.New(fmt.Errorf("%w: %s", err, data.MasterKeyFile), "add the key that seals the store as a line of that file")
	}
	if err != nil {
		return err
	}
	meter.clear()
	if err := printFindings(cmd, before, repair); err != nil {
		return err
	}
	say(cmd.ErrOrStderr(), "checked %s\n", tokens(after.Tokens))
	return verdict(before, after, repair)
}

func printFindings(cmd *cobra.Command, report kv.Report, repaired bool) error {
	for _, finding := range report.Findings {
		line := finding.What
		if repaired && finding.Repair != "" {
			line += "; " + finding.Repair
		}
		if err := printLine(cmd, line); err != nil {
			return err
		}
	}
	if report.More > 0 {
		return printLine(cmd, "and "+humanize.Comma(int64(report.More))+" more")
	}
	return nil
}

// verdict is an error where something is still wrong.
func verdict(before, after kv.Report, repaired bool) error {
	left := len(after.Findings) + after.More
	switch {
	case left == 0:
		return nil
	case !repaired && before.Repairable > 0:
		return hint.New(errors.New("the store is damaged"), "--repair rebuilds the index from the records")
	}
	return hint.New(errors.New("the store is damaged"), "move this store away, keep it, and restore a backup with tokend restore")
}
