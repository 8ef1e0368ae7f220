package client

import (
	"context"
	"net/http"
	"net/url"

	"tokend/api/wire"
)

// Verified is what a value stands for.
type Verified struct {
	wire.Grant

	// Rotated says that this is the value before the token's last rotation, which will end.
	Rotated bool
}

// Verify asks whether a value is good for a need: read or write, empty is read. It needs no
// administrator, and counts as a use. It fails with wire.CodeInvalidToken where the value is
// not good, and with wire.CodeInsufficientScope where it is not good enough.
func (c *Client) Verify(ctx context.Context, value, need string) (v Verified, err error) {
	asked := request{method: http.MethodGet, path: wire.PathVerify, presents: &value}
	if need != "" {
		asked.query = url.Values{"need": {need}}
	}
	header, err := askWith(ctx, c, asked, &v.Grant, func() bool { return isName(v.Name) })
	v.Rotated = header.Get(wire.HeaderTokenRotated) == "true"
	return v, err
}
