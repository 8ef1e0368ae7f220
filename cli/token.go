package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tokend/kv"
)

const (
	tokenPath  = "/_/token"
	valuePath  = "/_/token/value"
	rotatePath = "/_/token/rotate"
	bulkPath   = "/_/token/bulk"
	verifyPath = "/_/token/verify"
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

On the server's machine the commands find the server and the admin token by
themselves: where ` + systemConfig + ` says, or where a server without a
configuration has them. Elsewhere TOKEND_ADDR and TOKEND_ADMIN_TOKEN_FILE say it,
or the flags. Values go to standard output and everything else to standard error.`,
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

// request is the body of what is asked about a token; nil is left out.
type tokenRequest struct {
	Name           string `json:"name"`
	Active         *bool  `json:"active,omitzero"`
	Write          *bool  `json:"write,omitzero"`
	ExpirationDate any    `json:"expiration_date,omitzero"` // milliseconds, or a nil *int64 for null
	GraceMS        *int64 `json:"grace_ms,omitzero"`
}

// one asks about one token and prints the answer as it came, where that is
// wanted. Otherwise show does.
func (t *tokenCommands) one(cmd *cobra.Command, method, path string, query url.Values, body any, show func(token, time.Time) error) error {
	if err := kv.CheckName(nameOf(query, body)); err != nil {
		return err
	}
	c, err := t.server.connect()
	if err != nil {
		return err
	}
	data, raw, err := ask[token](cmd.Context(), c, method, path, query, body)
	hasValue := method == http.MethodPost || path == valuePath
	if err == nil && (data[0].Name != nameOf(query, body) || hasValue && data[0].Value == "") {
		err = c.senseless()
	}
	if err != nil {
		return c.explainMissing(cmd.Context(), err, nameOf(query, body))
	}
	if t.json {
		_, err = cmd.OutOrStdout().Write(raw)
		return err
	}
	return show(data[0], time.Now())
}

func nameOf(query url.Values, body any) string {
	if request, ok := body.(tokenRequest); ok {
		return request.Name
	}
	return query.Get("name")
}

// expiryFlags decide when a token expires.
type expiryFlags struct {
	in    durationValue
	at    momentValue
	never bool
}

func (f *expiryFlags) register(cmd *cobra.Command) {
	cmd.Flags().Var(&f.in, "expires-in", "let it expire after this `duration`, like 30d or 12h")
	cmd.Flags().Var(&f.at, "expires-at", "let it expire at this `time`, like 2027-01-01 (local) or 2027-01-01T12:00:00Z")
}

// decide puts what the flags say into a request.
func (f *expiryFlags) decide(cmd *cobra.Command, request *tokenRequest) error {
	switch {
	case cmd.Flags().Changed("expires-in"):
		request.ExpirationDate = time.Now().Add(f.in.Duration).UnixMilli()
		if f.in.Duration <= 0 {
			return &usageError{errors.New("--expires-in must be longer than nothing")}
		}
	case cmd.Flags().Changed("expires-at"):
		request.ExpirationDate = f.at.UnixMilli()
		if !f.at.After(time.Now()) {
			return &usageError{fmt.Errorf("--expires-at %s is not in the future", f.at.Format(time.DateTime))}
		}
	case f.never:
		request.ExpirationDate = (*int64)(nil)
	}
	return exclusive(cmd, "expires-in", "expires-at", "never-expires")
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

func (t *tokenCommands) newCreate() *cobra.Command {
	var (
		readOnly, inactive bool
		expiry             expiryFlags
	)
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a token and print its value",
		Example: "  tokend token create backup --read-only --expires-in 90d",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := tokenRequest{Name: args[0], Write: new(!readOnly), Active: new(!inactive)}
			if err := expiry.decide(cmd, &request); err != nil {
				return err
			}
			return t.one(cmd, http.MethodPost, tokenPath, nil, request, func(created token, now time.Time) error {
				say(cmd.ErrOrStderr(), "created %q: %s\n", created.Name, created.summary(now))
				return printLine(cmd, created.Value)
			})
		},
	}
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "it may not write")
	cmd.Flags().BoolVar(&inactive, "inactive", false, "it is not good until it is activated")
	expiry.register(cmd)
	return cmd
}

func (t *tokenCommands) newShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show everything about a token but its value",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.one(cmd, http.MethodGet, tokenPath, url.Values{"name": args}, nil, func(shown token, now time.Time) error {
				return shown.write(cmd.OutOrStdout(), now, showsColours(cmd.OutOrStdout()))
			})
		},
	}
}

func (t *tokenCommands) newUpdate() *cobra.Command {
	var expiry expiryFlags
	cmd := &cobra.Command{
		Use:               "update NAME",
		Short:             "Change a token: what is not given stays, and so does its value",
		Example:           "  tokend token update backup --inactive\n  tokend token update backup --active --expires-in 90d",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			request := tokenRequest{Name: args[0]}
			err := cmp.Or(expiry.decide(cmd, &request), exclusive(cmd, "active", "inactive"), exclusive(cmd, "read-only", "read-write"))
			if err != nil {
				return err
			}
			request.Active = either(cmd, "active", "inactive")
			request.Write = either(cmd, "read-write", "read-only")
			if request == (tokenRequest{Name: args[0]}) {
				return &usageError{errors.New("nothing is to be changed: give --active, --inactive, --read-only, --read-write, --expires-in, --expires-at or --never-expires")}
			}
			return t.one(cmd, http.MethodPatch, tokenPath, nil, request, func(changed token, now time.Time) error {
				say(cmd.ErrOrStderr(), "changed %q: %s\n", changed.Name, changed.summary(now))
				return nil
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

func (t *tokenCommands) newRotate() *cobra.Command {
	var grace durationValue
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give a token another value and print it",
		Long: `Give a token another value and print it. With --grace the old value is good for
that time too, up to 30 days and no longer than the token; tokend token show
tells whether anybody still uses it. Another rotation ends the old value at once.`,
		Example:           "  (umask 077; tokend token rotate backup --grace 1h > backup.token)",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: t.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if grace.Duration > kv.MaxGrace {
				return &usageError{errors.New("--grace must be at most 30d")}
			}
			request := tokenRequest{Name: args[0], GraceMS: new(grace.Milliseconds())}
			return t.one(cmd, http.MethodPost, rotatePath, nil, request, func(rotated token, now time.Time) error {
				until := "is no longer good"
				if at := rotated.PreviousValidUntil; at != nil {
					until = fmt.Sprintf("ends %s (%s)", relative(*at, now), exactly(*at))
				}
				say(cmd.ErrOrStderr(), "rotated %q: its old value %s\n", rotated.Name, until)
				return printLine(cmd, rotated.Value)
			})
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
			return t.one(cmd, http.MethodGet, valuePath, url.Values{"name": args}, nil, func(shown token, _ time.Time) error {
				return printLine(cmd, shown.Value)
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
				return t.bulk(cmd, bulkRequest{Action: "delete", Names: args}, nil)
			}
			return t.one(cmd, http.MethodDelete, tokenPath, nil, tokenRequest{Name: args[0]}, func(deleted token, _ time.Time) error {
				say(cmd.ErrOrStderr(), "deleted %q\n", deleted.Name)
				return nil
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
