package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"tokend/api/wire"
	"tokend/client"
	"tokend/internal/hint"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
)

// filterFlags say which tokens are meant.
type filterFlags struct {
	prefix        string
	status        string
	expiresBefore momentValue
	unusedSince   momentValue
}

func (f *filterFlags) register(cmd *cobra.Command) {
	f.expiresBefore.direction, f.unusedSince.direction = 1, -1
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "names that begin with `text`")
	cmd.Flags().StringVar(&f.status, "status", "", "`one` of active, inactive, expired")
	cmd.Flags().Var(&f.expiresBefore, "expires-before", "that expire before this `time`, like 2027-01-01, or within this time, like 7d")
	cmd.Flags().Var(&f.unusedSince, "unused-since", "not used since this `time`, like 2027-01-01, or for this time, like 90d; also those that never were")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"active", "inactive", "expired"}, cobra.ShellCompDirectiveNoFileComp))
}

// filter is what the flags mean. A flag that was given must have a value: an empty one,
// perhaps of a variable that is not set, would mean more tokens than were asked for.
func (f *filterFlags) filter(cmd *cobra.Command) (filter client.Filter, given bool, err error) {
	if !slices.Contains([]string{"", "active", "inactive", "expired"}, f.status) {
		return filter, false, &usageError{fmt.Errorf("--status must be active, inactive or expired, not %q", f.status)}
	}
	epoch := time.UnixMilli(0)
	for _, flag := range []struct {
		name, wrong string
		isWrong     bool
	}{
		{"prefix", "is empty", f.prefix == ""},
		{"status", "is empty", f.status == ""},
		{"expires-before", "must be in 1970 or later", f.expiresBefore.Before(epoch)},
		{"unused-since", "must be in 1970 or later", f.unusedSince.Before(epoch)},
	} {
		if cmd.Flags().Changed(flag.name) {
			given = true
			if flag.isWrong {
				return filter, given, &usageError{fmt.Errorf("--%s %s", flag.name, flag.wrong)}
			}
		}
	}
	return client.Filter{Prefix: f.prefix, Status: f.status, ExpiresBefore: f.expiresBefore.Time, UnusedSince: f.unusedSince.Time}, given, nil
}

func (t *tokenCommands) newList() *cobra.Command {
	var filter filterFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tokens, sorted by name",
		Example: "  tokend token list --expires-before 7d\n  tokend token list --unused-since 90d --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			meant, given, err := filter.filter(cmd)
			if err != nil {
				return err
			}
			c, err := t.server.connect()
			if err != nil {
				return err
			}
			return c.explain(t.list(cmd, c, meant, given))
		},
	}
	filter.register(cmd)
	return cmd
}

func (t *tokenCommands) list(cmd *cobra.Command, c *server, filter client.Filter, given bool) (err error) {
	out := bufio.NewWriter(cmd.OutOrStdout())
	defer func() { err = cmp.Or(err, out.Flush()) }()
	if t.json {
		for _, err := range c.List(client.CopyAnswer(cmd.Context(), out), filter) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	now, count := time.Now(), 0
	colours := showsColours(cmd.OutOrStdout())
	for shown, err := range c.List(cmd.Context(), filter) {
		if err == nil && count == 0 {
			err = writeHeader(out)
		}
		if err == nil {
			count++
			err = token{shown}.writeRow(out, now, colours)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case count == 0 && !given:
		say(cmd.ErrOrStderr(), "there are no tokens; tokend token create NAME makes one\n")
	case count == 0:
		say(cmd.ErrOrStderr(), "no token matches\n")
	}
	return nil
}

// names are the first names with a prefix. There may be more.
func (s *server) names(ctx context.Context, prefix string, limit int) (names []string, more bool, err error) {
	for found, err := range s.List(ctx, client.Filter{Prefix: prefix, Limit: limit}) {
		if err != nil {
			return nil, false, err
		}
		names = append(names, found.Name)
	}
	return names, len(names) == limit, nil
}

// explainMissing says that there is no token of a name, and which was perhaps meant.
func (s *server) explainMissing(ctx context.Context, err error, name string) error {
	refused, ok := errors.AsType[*client.Problem](err)
	if !ok || refused.Code != wire.CodeTokenNotFound || refused.Field != "name" {
		return s.explain(err)
	}
	err = fmt.Errorf("no token named %q", name)
	if similar := s.similar(ctx, name); similar != "" {
		return hint.New(err, fmt.Sprintf("did you mean %q?%s", similar, difference(similar, name)))
	}
	return hint.New(err, "tokend token list shows all tokens")
}

// difference shows in ASCII how two names differ that may look the same, as "é" in one
// character and in two do.
func difference(meant, given string) string {
	a, b := strconv.QuoteToASCII(meant), strconv.QuoteToASCII(given)
	if a == strconv.Quote(meant) && b == strconv.Quote(given) {
		return ""
	}
	return fmt.Sprintf(" That is %s, not %s.", a, b)
}

// similar is the name that is most like another, if one is. Among very many only
// those with the same first character are looked at.
func (s *server) similar(ctx context.Context, name string) string {
	const most = 1000
	names, more, err := s.names(ctx, "", most)
	if err == nil && more {
		_, size := utf8.DecodeRuneInString(name)
		names, _, err = s.names(ctx, name[:size], most)
	}
	if err != nil {
		return ""
	}
	best, distance := "", max(1, utf8.RuneCountInString(name)/3)+1
	for _, candidate := range names {
		d := levenshtein.ComputeDistance(name, candidate)
		if d -= abs(marks(name) - marks(candidate)); d < distance { // a letter with an accent may be one character or two
			best, distance = candidate, d
		}
	}
	return best
}

func marks(text string) (n int) {
	for _, r := range text {
		if unicode.Is(unicode.Mn, r) {
			n++
		}
	}
	return n
}

func abs(n int) int { return max(n, -n) }
