package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokend/api/wire"
	"tokend/client"
	"tokend/kv"
)

// tokenCommands are the commands under tokend token. They share flags.
type tokenCommands struct {
	server clientFlags
	json   bool
}

func newToken() *cobra.Command {
	t := &tokenCommands{}
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Manage the tokens of a running server",
		Long: `Manage the tokens of a running server.

On the server's machine the commands find the server and the admin token by themselves:
as ` + systemConfig + ` says, else at the built-in defaults. Elsewhere set
TOKEND_ADDR and TOKEND_ADMIN_TOKEN_FILE, or the flags. Values go to standard output,
everything else to standard error.`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return &usageError{errors.New("token needs a command: create, list, show, update, rotate, value, verify, delete or bulk")}
		},
	}
	t.server.register(cmd.PersistentFlags())
	cmd.PersistentFlags().BoolVar(&t.json, "json", false, "print the server's answer as it is")
	cmd.AddCommand(t.newCreate(), t.newList(), t.newShow(), t.newUpdate(), t.newRotate(), t.newValue(), t.newVerify(), t.newDelete(), t.newBulk())
	return cmd
}

// one asks about one token and prints the answer as it came, where that is wanted. Otherwise
// show does.
func (t *tokenCommands) one(cmd *cobra.Command, name string, ask func(context.Context, *server) (show func(now time.Time) error, err error)) error {
	if err := kv.CheckName(name); err != nil {
		return err
	}
	c, err := t.server.connect()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if t.json {
		ctx = client.CopyAnswer(ctx, cmd.OutOrStdout())
	}
	show, err := ask(ctx, c)
	if err != nil {
		return c.explainMissing(cmd.Context(), err, name)
	}
	if t.json {
		return nil
	}
	return show(time.Now())
}

// expiryFlags decide when a token expires.
type expiryFlags struct {
	in    durationValue
	at    momentValue
	never bool

	pastToo bool // the server decides about a moment that has passed
}

func (f *expiryFlags) register(cmd *cobra.Command) {
	cmd.Flags().Var(&f.in, "expires-in", "let it expire after this `duration`, like 30d or 12h")
	cmd.Flags().Var(&f.at, "expires-at", "let it expire at this `time`, like 2027-01-01 (local) or 2027-01-01T12:00:00Z")
}

// decide is what the flags say: nil is nothing, zero is never.
func (f *expiryFlags) decide(cmd *cobra.Command) (at *time.Time, err error) {
	switch {
	case cmd.Flags().Changed("expires-in"):
		at = new(time.Now().Add(f.in.Duration))
		if f.in.Duration <= 0 {
			return nil, &usageError{errors.New("--expires-in must be positive")}
		}
	case cmd.Flags().Changed("expires-at"):
		at = &f.at.Time
		if !f.at.After(time.Now()) && !f.pastToo {
			return nil, &usageError{fmt.Errorf("--expires-at %s is not in the future", exactly(f.at.UnixMilli()))}
		}
	case f.never:
		at = &time.Time{}
	}
	return at, exclusive(cmd, "expires-in", "expires-at", "never-expires")
}

// either is what a flag or its opposite says, or nil where neither is given.
func either(cmd *cobra.Command, flag, opposite string) *bool {
	if cmd.Flags().Changed(flag) {
		given, _ := cmd.Flags().GetBool(flag)
		return &given
	}
	if cmd.Flags().Changed(opposite) {
		given, _ := cmd.Flags().GetBool(opposite)
		return new(!given)
	}
	return nil
}

// exclusive refuses more than one of some flags.
func exclusive(cmd *cobra.Command, flags ...string) error {
	var given []string
	for _, flag := range flags {
		if cmd.Flags().Changed(flag) {
			given = append(given, "--"+flag)
		}
	}
	if len(given) > 1 {
		return &usageError{fmt.Errorf("%s cannot be given together", strings.Join(given, " and "))}
	}
	return nil
}

func (t *tokenCommands) newShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show everything about a token but its value",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.one(cmd, args[0], func(ctx context.Context, c *server) (func(time.Time) error, error) {
				shown, err := c.Get(ctx, args[0])
				return func(now time.Time) error {
					return token{shown}.write(cmd.OutOrStdout(), now, showsColours(cmd.OutOrStdout()))
				}, err
			})
		},
	}
}

func (t *tokenCommands) newUpdate() *cobra.Command {
	var expiry expiryFlags
	cmd := &cobra.Command{
		Use:               "update NAME",
		Short:             "Change a token; what is not given stays, and so does its value",
		Example:           "  tokend token update backup --inactive\n  tokend token update backup --active --expires-in 90d",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := expiry.decide(cmd)
			if err := cmp.Or(err, exclusive(cmd, "active", "inactive"), exclusive(cmd, "read-only", "read-write")); err != nil {
				return err
			}
			patch := client.Patch{Active: either(cmd, "active", "inactive"), Write: either(cmd, "read-write", "read-only"), ExpiresAt: at}
			if patch == (client.Patch{}) {
				return &usageError{errors.New("nothing to change: give --active, --inactive, --read-only, --read-write, --expires-in, --expires-at or --never-expires")}
			}
			return t.one(cmd, args[0], func(ctx context.Context, c *server) (func(time.Time) error, error) {
				var before wire.Token
				if !t.json {
					if before, err = c.Get(cmd.Context(), args[0]); err != nil {
						return nil, err
					}
				}
				changed, err := c.Update(ctx, args[0], patch)
				return func(now time.Time) error {
					said := "changed %q: %s\n"
					if isSame(before, changed) {
						said = "%q is so already: %s\n"
					}
					say(cmd.ErrOrStderr(), said, changed.Name, token{changed}.summary(now))
					return nil
				}, err
			})
		},
	}
	f := cmd.Flags()
	f.Bool("active", false, "turn it on")
	f.Bool("inactive", false, "turn it off, at once; this also ends an old value")
	f.Bool("read-only", false, "it may not write")
	f.Bool("read-write", false, "it may write")
	expiry.register(cmd)
	f.BoolVar(&expiry.never, "never-expires", false, "remove the expiry")
	return cmd
}

// isSame reports whether two tokens are alike in what a client decides.
func isSame(a, b wire.Token) bool {
	return a.Active == b.Active && a.Write == b.Write && a.Expires == b.Expires && a.ExpirationDate == b.ExpirationDate
}

func (t *tokenCommands) newRotate() *cobra.Command {
	var grace durationValue
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give a token another value and print it",
		Long: `Give a token another value and print it. With --grace the old value stays good for that
time, up to 30 days and no longer than the token; tokend token show says whether anybody
still uses it. Another rotation ends the old value at once.`,
		Example:           "  (umask 077; tokend token rotate backup --grace 1h > backup.token)",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if grace.Duration > kv.MaxGrace {
				return &usageError{errors.New("--grace must be at most 30d")}
			}
			return unprinted(args[0], t.one(cmd, args[0], func(ctx context.Context, c *server) (func(time.Time) error, error) {
				rotated, err := c.Rotate(ctx, args[0], grace.Duration)
				return func(now time.Time) error {
					until := "is no longer good"
					if at := rotated.PreviousValidUntil; at != nil {
						until = fmt.Sprintf("ends %s (%s)", relative(*at, now), exactly(*at))
					}
					say(cmd.ErrOrStderr(), "rotated %q: its old value %s\n", rotated.Name, until)
					return printLine(cmd, rotated.Value)
				}, err
			}))
		},
	}
	cmd.Flags().Var(&grace, "grace", "how long the old value is still good: a `duration`, like 1h or 7d (default none)")
	return cmd
}

func (t *tokenCommands) newValue() *cobra.Command {
	return &cobra.Command{
		Use:               "value NAME",
		Short:             "Print a token's value",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.one(cmd, args[0], func(ctx context.Context, c *server) (func(time.Time) error, error) {
				value, err := c.Value(ctx, args[0])
				return func(time.Time) error { return printLine(cmd, value) }, err
			})
		},
	}
}

func (t *tokenCommands) newDelete() *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME…",
		Short:             "Delete tokens: their values stop working at once",
		Long:              "Delete tokens: their values stop working at once and their names are free again.\nOf several names, all are deleted or none.",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: t.server.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return t.bulk(cmd, wire.Bulk{Action: "delete", Names: args}, client.Filter{})
			}
			return t.one(cmd, args[0], func(ctx context.Context, c *server) (func(time.Time) error, error) {
				deleted, err := c.Delete(ctx, args[0])
				return func(time.Time) error {
					say(cmd.ErrOrStderr(), "deleted %q\n", deleted.Name)
					return nil
				}, err
			})
		},
	}
}

func (t *tokenCommands) completeOne(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.server.completeNames(cmd, args, begun)
}
