package client

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"tokend/api/wire"
)

// NewToken is a token to be made.
type NewToken struct {
	Name     string
	Write    bool // false: it may only read
	Inactive bool // it is not good until it is activated

	// ExpiresAt is when it ceases to be good, in whole milliseconds. Zero is never.
	ExpiresAt time.Time
}

// Patch is what is to change about a token. Nil stays.
type Patch struct {
	Active    *bool
	Write     *bool
	ExpiresAt *time.Time // zero removes the expiry
}

// body is what a request says about a token. Nil is left out.
type body struct {
	Name           string `json:"name"`
	Active         *bool  `json:"active,omitzero"`
	Write          *bool  `json:"write,omitzero"`
	ExpirationDate any    `json:"expiration_date,omitzero"` // milliseconds, or a nil *int64 for null
	GraceMS        *int64 `json:"grace_ms,omitzero"`
}

// Create makes a token with a value. It fails with wire.CodeNameTaken where the name is taken.
func (c *Client) Create(ctx context.Context, t NewToken) (created wire.TokenWithValue, err error) {
	b := body{Name: t.Name, Write: &t.Write, Active: new(!t.Inactive)}
	if !t.ExpiresAt.IsZero() {
		b.ExpirationDate = t.ExpiresAt.UnixMilli()
	}
	err = ask(ctx, c, request{method: http.MethodPost, path: wire.PathToken}, b, &created, func() bool {
		return created.Name == t.Name && isToken(&created.Token) && isValue(created.Value)
	})
	return created, err
}

// Get is the token with a name, without its value.
func (c *Client) Get(ctx context.Context, name string) (t wire.Token, err error) {
	err = ask(ctx, c, request{method: http.MethodGet, path: wire.PathToken, query: named(name)}, nil, &t, func() bool {
		return t.Name == name && isToken(&t)
	})
	return t, err
}

// Value is the value of the token with a name.
func (c *Client) Value(ctx context.Context, name string) (value string, err error) {
	var shown wire.Value
	err = ask(ctx, c, request{method: http.MethodGet, path: wire.PathValue, query: named(name)}, nil, &shown, func() bool {
		return shown.Name == name && isValue(shown.Value)
	})
	return shown.Value, err
}

// Update changes what a patch holds. The rest stays, and so does the value.
func (c *Client) Update(ctx context.Context, name string, p Patch) (t wire.Token, err error) {
	b := body{Name: name, Active: p.Active, Write: p.Write}
	switch {
	case p.ExpiresAt == nil:
	case p.ExpiresAt.IsZero():
		b.ExpirationDate = (*int64)(nil)
	default:
		b.ExpirationDate = p.ExpiresAt.UnixMilli()
	}
	err = ask(ctx, c, request{method: http.MethodPatch, path: wire.PathToken}, b, &t, func() bool {
		return t.Name == name && isToken(&t)
	})
	return t, err
}

// Rotate gives a token another value. The old one stays good for a grace of up to 30 days.
func (c *Client) Rotate(ctx context.Context, name string, grace time.Duration) (rotated wire.Rotated, err error) {
	b := body{Name: name, GraceMS: new(grace.Milliseconds())}
	err = ask(ctx, c, request{method: http.MethodPost, path: wire.PathRotate}, b, &rotated, func() bool {
		return rotated.Name == name && isToken(&rotated.Token) && isValue(rotated.Value)
	})
	return rotated, err
}

// Delete removes a token, and gives it as it was. Its value is good no more once Delete has
// returned.
func (c *Client) Delete(ctx context.Context, name string) (t wire.Token, err error) {
	err = ask(ctx, c, request{method: http.MethodDelete, path: wire.PathToken}, body{Name: name}, &t, func() bool {
		return t.Name == name && isToken(&t)
	})
	return t, err
}

// Bulk does one thing to many tokens in one commit, or nothing. It fails with
// wire.CodeTooMany for more than 1,000.
func (c *Client) Bulk(ctx context.Context, b wire.Bulk) (done wire.Bulked, err error) {
	err = ask(ctx, c, request{method: http.MethodPost, path: wire.PathBulk}, b, &done, func() bool {
		return done.Names != nil && done.Matched == len(done.Names) && done.Changed >= 0 && done.Changed <= done.Matched &&
			!slices.ContainsFunc(done.Names, func(name string) bool { return !isName(name) })
	})
	return done, err
}

// Rekey has the server take up the master key that is the first in its key file now.
func (c *Client) Rekey(ctx context.Context) (changed bool, err error) {
	var done wire.Rekeyed
	err = ask(ctx, c, request{method: http.MethodPost, path: wire.PathRekey}, nil, &done, func() bool { return true })
	return done.Changed, err
}

func named(name string) url.Values { return url.Values{"name": {name}} }

func isToken(t *wire.Token) bool { return isName(t.Name) && isStatus(t.Status) }

// ask sends a request and takes the one object of the answer, if that makes sense.
func ask[T any](ctx context.Context, c *Client, asked request, body any, into *T, makesSense func() bool) (err error) {
	if body != nil {
		if asked.body, err = json.Marshal(body); err != nil {
			return err
		}
	}
	_, err = askWith(ctx, c, asked, into, makesSense)
	return err
}

func askWith[T any](ctx context.Context, c *Client, asked request, into *T, makesSense func() bool) (http.Header, error) {
	asked.accepts = wire.JSON
	response, err := c.send(ctx, asked)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := c.read(ctx, response)
	if err != nil {
		return nil, err
	}
	var answer wire.Data[*T]
	if err := c.decode(raw, &answer); err != nil {
		return nil, err
	}
	if len(answer.Data) != 1 || answer.Data[0] == nil {
		return nil, c.NotTokend()
	}
	if *into = *answer.Data[0]; !makesSense() {
		return nil, c.NotTokend()
	}
	_, err = copyOf(ctx).Write(raw)
	return response.Header, err
}
