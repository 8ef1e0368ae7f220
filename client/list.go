package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tokend/api/wire"
)

// Filter says which tokens are meant. What is zero does not matter.
type Filter struct {
	Prefix        string // of the name
	Status        string // active, inactive or expired
	ExpiresBefore time.Time
	UnusedSince   time.Time // last used before it, or never
	Limit         int       // at most so many, up to 1,000
	After         string    // after this name
}

func (f Filter) query() url.Values {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("prefix", f.Prefix)
	set("status", f.Status)
	set("after", f.After)
	if !f.ExpiresBefore.IsZero() {
		set("expires_before", strconv.FormatInt(f.ExpiresBefore.UnixMilli(), 10))
	}
	if !f.UnusedSince.IsZero() {
		set("unused_since", strconv.FormatInt(f.UnusedSince.UnixMilli(), 10))
	}
	if f.Limit > 0 {
		set("limit", strconv.Itoa(f.Limit))
	}
	return query
}

// List gives tokens as they come, sorted by name, all as they are at one moment. After an
// error there are no more.
func (c *Client) List(ctx context.Context, f Filter) iter.Seq2[wire.Token, error] {
	return func(yield func(wire.Token, error) bool) {
		response, err := c.send(ctx, request{method: http.MethodGet, path: wire.PathToken, query: f.query(), accepts: wire.JSON})
		if err != nil {
			yield(wire.Token{}, err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		stopped := false
		err = decodeList(jsontext.NewDecoder(c.body(ctx, response)), copyOf(ctx), func(t wire.Token) bool {
			stopped = !yield(t, nil)
			return !stopped
		})
		if err == nil || stopped {
			return
		}
		yield(wire.Token{}, c.ofList(ctx, err))
	}
}

// ofList is an error of decodeList, without the decoder's words.
func (c *Client) ofList(ctx context.Context, err error) error {
	if cutOff, ok := errors.AsType[*UnreachableError](err); ok {
		return cutOff
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if isNotList(err) {
		return c.NotTokend()
	}
	return err
}

var errNotList = errors.New("not a list")

// isNotList tells what is not a list from what cannot be read or copied.
func isNotList(err error) bool {
	_, isNoJSON := errors.AsType[*jsontext.SyntacticError](err)
	_, isOtherJSON := errors.AsType[*json.SemanticError](err)
	return isNoJSON || isOtherJSON || errors.Is(err, errNotList) || errors.Is(err, io.EOF)
}

// decodeList reads {"data":[…]}, perhaps with where the next page begins. It copies the
// tokens, none before it was looked at.
func decodeList(d *jsontext.Decoder, copied io.Writer, yield func(wire.Token) bool) error {
	expect := func(want jsontext.Kind, text string) error {
		got, err := d.ReadToken()
		if err == nil && (got.Kind() != want || text != "" && got.String() != text) {
			err = errNotList
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
		var next wire.Token
		if err := json.Unmarshal(raw, &next); err != nil {
			return err
		}
		if !isToken(&next) || !isPlain(string(raw)) {
			return errNotList
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
	// What is cut off after the last token may lack more than its end.
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return cmp.Or(err, errNotList)
	}
	if between == "," {
		between = ""
	}
	_, err := fmt.Fprintf(copied, "%s]}\n", between)
	return err
}
