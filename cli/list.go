package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
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
	cmd.Flags().Var(&f.unusedSince, "unused-since", "not used since this `time`, like 2027-01-01, or for this time, like 90d; also those that never were")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"active", "inactive", "expired"}, cobra.ShellCompDirectiveNoFileComp))
}

// query is the filter as the list takes it. A flag that was given must have a
// value: an empty one, perhaps of a variable that is not set, would mean more
// tokens than were asked for.
func (f *filterFlags) query(cmd *cobra.Command) (url.Values, error) {
	if !slices.Contains([]string{"", "active", "inactive", "expired"}, f.status) {
		return nil, &usageError{fmt.Errorf("--status must be active, inactive or expired, not %q", f.status)}
	}
	query := url.Values{}
	for _, flag := range []struct{ name, param, value string }{
		{"prefix", "prefix", f.prefix},
		{"status", "status", f.status},
		{"expires-before", "expires_before", f.expiresBefore.milliseconds()},
		{"unused-since", "unused_since", f.unusedSince.milliseconds()},
	} {
		switch given := cmd.Flags().Changed(flag.name); {
		case given && flag.value == "":
			return nil, &usageError{fmt.Errorf("--%s is empty", flag.name)}
		case given:
			query.Set(flag.param, flag.value)
		}
	}
	return query, nil
}

func (t *tokenCommands) newList() *cobra.Command {
	var filter filterFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tokens, sorted by name",
		Example: "  tokend token list --expires-before 7d\n  tokend token list --unused-since 90d --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := filter.query(cmd)
			if err != nil {
				return err
			}
			c, err := t.server.connect()
			if err != nil {
				return err
			}
			return t.list(cmd, c, query)
		},
	}
	filter.register(cmd)
	return cmd
}

func (t *tokenCommands) list(cmd *cobra.Command, c *client, query url.Values) (err error) {
	out := bufio.NewWriter(cmd.OutOrStdout())
	defer func() { err = cmp.Or(err, out.Flush()) }()
	if t.json {
		for _, err := range c.list(cmd.Context(), query, out) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	now, count := time.Now(), 0
	colours := showsColours(cmd.OutOrStdout())
	for shown, err := range c.list(cmd.Context(), query, io.Discard) {
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

// list gives the tokens of a list as they come, and copies the list as it is.
// After an error there are no more.
func (c *client) list(ctx context.Context, query url.Values, copied io.Writer) iter.Seq2[token, error] {
	return func(yield func(token, error) bool) {
		response, err := c.send(ctx, jsonType, http.MethodGet, tokenPath, query, nil)
		if err != nil {
			yield(token{}, err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		d := jsontext.NewDecoder(&answerReader{c, response.Body})
		stopped := false
		err = decodeList(d, copied, func(t token) bool {
			stopped = !yield(t, nil)
			return !stopped
		})
		if err == nil || stopped {
			return
		}
		if cutOff, ok := errors.AsType[*exitError](err); ok {
			err = cutOff // without the decoder's words
		}
		if isSenseless(err) {
			err = c.senseless()
		}
		yield(token{}, err)
	}
}

var errNoList = errors.New("not a list")

// isSenseless tells what is no list from what cannot be read or copied.
func isSenseless(err error) bool {
	_, isNoJSON := errors.AsType[*jsontext.SyntacticError](err)
	_, isOtherJSON := errors.AsType[*json.SemanticError](err)
	return isNoJSON || isOtherJSON || errors.Is(err, errNoList) || errors.Is(err, io.EOF)
}

// decodeList reads {"data":[…]}, perhaps with the next page's beginning. It copies
// the tokens, none before it was looked at.
func decodeList(d *jsontext.Decoder, copied io.Writer, yield func(token) bool) error {
	expect := func(want jsontext.Kind, text string) error {
		got, err := d.ReadToken()
		if err == nil && (got.Kind() != want || text != "" && got.String() != text) {
			err = errNoList
		}
		return err
	}
	if err := cmp.Or(expect(jsontext.KindBeginObject, ""), expect(jsontext.KindString, "data"), expect(jsontext.KindBeginArray, "")); err != nil {
		return err
	}
	between := `{"data":[`
	for d.PeekKind() == jsontext.KindBeginObject {
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		var next token
		if err := json.Unmarshal(raw, &next); err != nil {
			return err
		}
		if !next.makesSense() || next.Status == "" || !isPlain(string(raw)) {
			return errNoList
		}
		if _, err := fmt.Fprintf(copied, "%s%s", between, raw); err != nil {
			return err
		}
		between = ","
		if !yield(next) {
			return nil
		}
	}
	if err := expect(jsontext.KindEndArray, ""); err != nil {
		return err
	}
	if d.PeekKind() == jsontext.KindString {
		if err := cmp.Or(expect(jsontext.KindString, "next"), expect(jsontext.KindString, "")); err != nil {
			return err
		}
	}
	if err := expect(jsontext.KindEndObject, ""); err != nil {
		return err
	}
	// What is cut off behind the last token may lack more than its end.
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return cmp.Or(err, errNoList)
	}
	if between == "," {
		between = ""
	}
	_, err := fmt.Fprintf(copied, "%s]}\n", between)
	return err
}

// names are the first names with a prefix. There may be more.
func (c *client) names(ctx context.Context, prefix string, limit int) (names []string, more bool, err error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	for found, err := range c.list(ctx, query, io.Discard) {
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
