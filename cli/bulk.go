package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"tokend/api/wire"
	"tokend/client"
	"tokend/kv"
)

func (t *tokenCommands) newBulk() *cobra.Command {
	var (
		filter filterFlags
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "bulk activate|deactivate|delete [NAME… | -]",
		Short: "Do one thing to many tokens at once",
		Long: `Do one thing to many tokens at once: to the named ones (with - read from standard
input, one on each line), or to those that match the filters. Their names are printed.
Up to 1,000 tokens are one commit, all or none. More are looked up first and then done
by name, in steps of 1,000.`,
		Example:           "  tokend token bulk deactivate --prefix ci- --dry-run\n  tokend token bulk delete --unused-since 365d",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: t.completeBulk,
		RunE: func(cmd *cobra.Command, args []string) error {
			request := wire.Bulk{Action: args[0], Names: args[1:], DryRun: dryRun}
			if !slices.Contains(bulkActions, request.Action) {
				return &usageError{fmt.Errorf("bulk does activate, deactivate or delete, not %q", request.Action)}
			}
			filters, filtered, err := filter.filter(cmd)
			if err != nil {
				return err
			}
			switch named := len(request.Names) > 0; {
			case named && filtered:
				return &usageError{errors.New("give names or filters, not both")}
			case !named && !filtered:
				return &usageError{errors.New("give names or a filter: --prefix, --status, --expires-before or --unused-since")}
			case !named:
				request.Filter = filter.bulk(cmd)
			case slices.Equal(request.Names, []string{"-"}):
				if request.Names, err = readNames(cmd); err != nil {
					return err
				}
			}
			return t.bulk(cmd, request, filters)
		},
	}
	filter.register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, print who is meant")
	return cmd
}

var bulkActions = []string{"activate", "deactivate", "delete"}

// bulk is the filter as a bulk takes it.
func (f *filterFlags) bulk(cmd *cobra.Command) *wire.Filter {
	b := &wire.Filter{}
	for _, flag := range []struct {
		name string
		set  func()
	}{
		{"prefix", func() { b.Prefix = &f.prefix }},
		{"status", func() { b.Status = &f.status }},
		{"expires-before", func() { b.ExpiresBefore = new(f.expiresBefore.UnixMilli()) }},
		{"unused-since", func() { b.UnusedSince = new(f.unusedSince.UnixMilli()) }},
	} {
		if cmd.Flags().Changed(flag.name) {
			flag.set()
		}
	}
	return b
}

func readNames(cmd *cobra.Command) (names []string, err error) {
	lines := bufio.NewScanner(cmd.InOrStdin())
	for lines.Scan() {
		if lines.Text() != "" {
			names = append(names, lines.Text())
		}
	}
	if err == nil && len(names) == 0 {
		err = errors.New("there are no names on standard input")
	}
	return names, errors.Join(lines.Err(), err)
}

// bulk carries out a request, in steps where it is too large for one. The filters
// are those of the request.
func (t *tokenCommands) bulk(cmd *cobra.Command, request wire.Bulk, filters client.Filter) error {
	for _, name := range request.Names {
		if err := kv.CheckName(name); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	c, err := t.server.connect()
	if err != nil {
		return err
	}
	if len(request.Names) <= kv.MaxBulk {
		ctx := cmd.Context()
		if t.json {
			ctx = client.CopyAnswer(ctx, cmd.OutOrStdout())
		}
		done, err := c.Bulk(ctx, request)
		if err == nil && t.json {
			return nil
		}
		if err == nil {
			return t.printBulk(cmd, request, done)
		}
		if client.CodeOf(err) != wire.CodeTooMany {
			return c.explain(err)
		}
		if request.Names, err = c.matching(cmd.Context(), filters); err != nil {
			return c.explain(err)
		}
		request.Filter = nil
	}
	slices.Sort(request.Names)
	return t.bulkInSteps(cmd, c, request, slices.Compact(request.Names))
}

func (t *tokenCommands) bulkInSteps(cmd *cobra.Command, c *server, request wire.Bulk, names []string) error {
	total := wire.Bulked{}
	for step := range slices.Chunk(names, kv.MaxBulk) {
		request.Names = step
		done, err := c.Bulk(cmd.Context(), request)
		err = c.explain(err)
		if err != nil && total.Matched > 0 && !request.DryRun {
			err = fmt.Errorf("%s of %s are done, the others are not: %w", humanize.Comma(int64(total.Matched)), tokens(len(names)), err)
			return errors.Join(err, t.printBulk(cmd, request, total))
		}
		if err != nil {
			return err
		}
		total.Matched += done.Matched
		total.Changed += done.Changed
		total.Names = append(total.Names, done.Names...)
	}
	return t.printBulk(cmd, request, total)
}

func (t *tokenCommands) printBulk(cmd *cobra.Command, request wire.Bulk, done wire.Bulked) error {
	if t.json {
		encoded, err := json.Marshal(wire.Data[wire.Bulked]{Data: []wire.Bulked{done}})
		if err != nil {
			return err
		}
		return printLine(cmd, string(encoded))
	}
	if request.DryRun {
		say(cmd.ErrOrStderr(), "would %s %s\n", request.Action, tokens(done.Matched))
	} else {
		say(cmd.ErrOrStderr(), "%sd %s", request.Action, tokens(done.Changed))
		if others := done.Matched - done.Changed; others > 0 {
			say(cmd.ErrOrStderr(), "; %s more %s so already", humanize.Comma(int64(others)), were(others))
		}
		say(cmd.ErrOrStderr(), "\n")
	}
	for _, name := range done.Names {
		if err := printLine(cmd, name); err != nil {
			return err
		}
	}
	return nil
}

// matching are the names of all tokens that a filter means.
func (s *server) matching(ctx context.Context, filter client.Filter) (names []string, err error) {
	for found, err := range s.List(ctx, filter) {
		if err != nil {
			return nil, err
		}
		names = append(names, found.Name)
	}
	return names, nil
}

func (t *tokenCommands) completeBulk(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return bulkActions, cobra.ShellCompDirectiveNoFileComp
	}
	return t.server.completeNames(cmd, args, begun)
}
