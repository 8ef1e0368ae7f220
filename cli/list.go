package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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
	cmd.Flags().Var(&f.unusedSince, "unused-since", "not used since this `time`, like 2027-01-01, or for this time, like 90d, or never")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"active", "inactive", "expired"}, cobra.ShellCompDirectiveNoFileComp))
}

// query is the filter as the list takes it.
func (f *filterFlags) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{
		"prefix": f.prefix, "status": f.status, "expires_before": f.expiresBefore.given(), "unused_since": f.unusedSince.given(),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

func (t *tokenCommands) newList() *cobra.Command {
	var filter filterFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tokens, sorted by name",
		Example: "  tokend token list --expires-before 7d\n  tokend token list --unused-since 90d --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.server.connect()
			if err != nil {
				return err
			}
			return t.list(cmd, c, filter.query())
		},
	}
	filter.register(cmd)
	return cmd
}

func (t *tokenCommands) list(cmd *cobra.Command, c *client, query url.Values) (err error) {
	out := bufio.NewWriter(cmd.OutOrStdout())
	defer func() { err = errors.Join(err, out.Flush()) }()
	if t.json {
		return c.copyList(cmd.Context(), query, out)
	}
	now, count := time.Now(), 0
	colours := showsColours(cmd.OutOrStdout())
	for shown, err := range c.list(cmd.Context(), query) {
		if err == nil && count == 0 {
			err = writeHeader(out)
		}
		if err == nil {
			count++
			err = shown.writeRow(out, now, colours)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case count == 0 && len(query) == 0:
		say(cmd.ErrOrStderr(), "there are no tokens; tokend token create NAME makes one\n")
	case count == 0:
		say(cmd.ErrOrStderr(), "no token matches\n")
	}
	return nil
}

// copyList copies a list as it comes, though not one that is cut off.
func (c *client) copyList(ctx context.Context, query url.Values, to io.Writer) error {
	response, err := c.send(ctx, http.MethodGet, tokenPath, query, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(to, &answerReader{c, response.Body})
	return err
}

// answerReader tells an answer that is cut off from other failures.
type answerReader struct {
	client *client
	io.Reader
}

func (r *answerReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &exitError{fmt.Errorf("the answer of %s is cut off: %w", r.client.address, err), exitUnreachable}
	}
	return n, err
}

// list gives the tokens of a list as they come. After an error there are no
// more.
func (c *client) list(ctx context.Context, query url.Values) func(yield func(token, error) bool) {
	return func(yield func(token, error) bool) {
		response, err := c.send(ctx, http.MethodGet, tokenPath, query, nil)
		if err != nil {
			yield(token{}, err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		d := jsontext.NewDecoder(&answerReader{c, response.Body})
		for _, want := range []jsontext.Kind{jsontext.KindBeginObject, jsontext.KindString, jsontext.KindBeginArray} {
			if got, err := d.ReadToken(); err != nil || got.Kind() != want {
				yield(token{}, cmp.Or(err, c.senseless()))
				return
			}
		}
		for d.PeekKind() != jsontext.KindEndArray {
			var next token
			err := json.UnmarshalDecode(d, &next)
			if !yield(next, err) || err != nil {
				return
			}
		}
		// What is cut off behind the last token may lack more than its end.
		if _, err := d.ReadToken(); err == nil {
			for d.PeekKind() == jsontext.KindString && err == nil {
				_, err = d.ReadToken()
			}
			if err == nil {
				_, err = d.ReadToken()
			}
			if err != nil {
				yield(token{}, err)
			}
		}
	}
}

func (c *client) senseless() error {
	return &exitError{fmt.Errorf("the answer of %s cannot be understood", c.address), exitUnreachable}
}

// names are the first names with a prefix. There may be more.
func (c *client) names(ctx context.Context, prefix string, limit int) (names []string, more bool, err error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	for found, err := range c.list(ctx, query) {
		if err != nil {
			return nil, false, err
		}
		names = append(names, found.Name)
	}
	return names, len(names) == limit, nil
}

// explainMissing says that there is no token of a name, and which was perhaps
// meant.
func (c *client) explainMissing(ctx context.Context, err error, name string) error {
	refused, ok := errors.AsType[*problem](err)
	if !ok || refused.Code != "token_not_found" || refused.Field != "name" {
		return err
	}
	err = fmt.Errorf("no token named %q", name)
	if similar := c.similar(ctx, name); similar != "" {
		return &hintedError{err, fmt.Sprintf("did you mean %q?", similar)}
	}
	return &hintedError{err, "tokend token list shows those that there are"}
}

// similar is the name that is most like another, if one is. Among very many only
// those with the same first character are looked at.
func (c *client) similar(ctx context.Context, name string) string {
	const most = 1000
	names, more, err := c.names(ctx, "", most)
	if err == nil && more {
		_, size := utf8.DecodeRuneInString(name)
		names, _, err = c.names(ctx, name[:size], most)
	}
	if err != nil {
		return ""
	}
	best, distance := "", max(1, utf8.RuneCountInString(name)/3)+1
	for _, candidate := range names {
		if d := levenshtein.ComputeDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}
