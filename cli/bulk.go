package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"tokend/kv"
)

type bulkRequest struct {
	Action string      `json:"action"`
	Names  []string    `json:"names,omitempty"`
	Filter *bulkFilter `json:"filter,omitzero"`
	DryRun bool        `json:"dry_run,omitzero"`
}

type bulkFilter struct {
	Prefix        string `json:"prefix,omitzero"`
	Status        string `json:"status,omitzero"`
	ExpiresBefore *int64 `json:"expires_before,omitzero"`
	UnusedSince   *int64 `json:"unused_since,omitzero"`
}

type bulkAnswer struct {
	Matched int      `json:"matched"`
	Changed int      `json:"changed"`
	Names   []string `json:"names"`
}

func (b *bulkAnswer) makesSense() bool {
	return b.Names != nil && b.Matched == len(b.Names) && b.Changed >= 0 && b.Changed <= b.Matched &&
		!slices.ContainsFunc(b.Names, func(name string) bool { return kv.CheckName(name) != nil })
}

func (t *tokenCommands) newBulk() *cobra.Command {
	var (
		filter filterFlags
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "bulk activate|deactivate|delete [NAME… | -]",
		Short: "Do one thing to many tokens at once",
		Long: `Do one thing to many tokens at once: to those that are named, or on standard
input with -, one on each line, or to those that the filters mean. The names of
those that were meant are printed. Up to 1,000 tokens are one commit, all or none;
more are looked up first and then done by name, in steps of so many.`,
		Example:           "  tokend token bulk deactivate --prefix ci- --dry-run\n  tokend token bulk delete --unused-since 365d",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: t.completeBulk,
		RunE: func(cmd *cobra.Command, args []string) error {
			request := bulkRequest{Action: args[0], Names: args[1:], DryRun: dryRun}
			if !slices.Contains(bulkActions, request.Action) {
				return &usageError{fmt.Errorf("bulk does activate, deactivate or delete, not %q", request.Action)}
			}
			filters, err := filter.query(cmd)
			if err != nil {
				return err
			}
			switch named := len(request.Names) > 0; {
			case named && len(filters) > 0:
				return &usageError{errors.New("give names or filters, not both")}
			case !named && len(filters) == 0:
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
func (f *filterFlags) bulk(cmd *cobra.Command) *bulkFilter {
	b := &bulkFilter{Prefix: f.prefix, Status: f.status}
	if cmd.Flags().Changed("expires-before") {
		b.ExpiresBefore = new(f.expiresBefore.UnixMilli())
	}
	if cmd.Flags().Changed("unused-since") {
		b.UnusedSince = new(f.unusedSince.UnixMilli())
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
func (t *tokenCommands) bulk(cmd *cobra.Command, request bulkRequest, filters url.Values) error {
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
		done, raw, err := ask[bulkAnswer](cmd.Context(), c, http.MethodPost, bulkPath, nil, request)
		if err == nil {
			return t.printBulk(cmd, request, done[0], raw)
		}
		if refused, ok := errors.AsType[*problem](err); !ok || refused.Code != "too_many" {
			return err
		}
		if request.Names, err = c.matching(cmd.Context(), filters); err != nil {
			return err
		}
		request.Filter = nil
	}
	slices.Sort(request.Names)
	return t.bulkInSteps(cmd, c, request, slices.Compact(request.Names))
}

func (t *tokenCommands) bulkInSteps(cmd *cobra.Command, c *client, request bulkRequest, names []string) error {
	total := bulkAnswer{}
	for step := range slices.Chunk(names, kv.MaxBulk) {
		request.Names = step
		done, _, err := ask[bulkAnswer](cmd.Context(), c, http.MethodPost, bulkPath, nil, request)
		if err != nil && total.Matched > 0 && !request.DryRun {
			err = fmt.Errorf("%s of %s are done, the others are not: %w", humanize.Comma(int64(total.Matched)), tokens(len(names)), err)
			raw, encodeErr := encodeData(total)
			return errors.Join(err, encodeErr, t.printBulk(cmd, request, total, raw))
		}
		if err != nil {
			return err
		}
		total.Matched += done[0].Matched
		total.Changed += done[0].Changed
		total.Names = append(total.Names, done[0].Names...)
	}
	raw, err := encodeData(total)
	if err != nil {
		return err
	}
	return t.printBulk(cmd, request, total, raw)
}

func (t *tokenCommands) printBulk(cmd *cobra.Command, request bulkRequest, done bulkAnswer, raw []byte) error {
	if t.json {
		_, err := cmd.OutOrStdout().Write(raw)
		return err
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
func (c *client) matching(ctx context.Context, filters url.Values) (names []string, err error) {
	for found, err := range c.list(ctx, filters, io.Discard) {
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
