package main

import (
	"net"

	"github.com/valyala/fasthttp"
)

// serveBare is the least that an HTTP server can do: a fasthttp handler that
// sends the headers and the body of a verification, always the same.
func serveBare(address string) {
	l, err := net.Listen("tcp", address)
	check(err)
	headers := [][2][]byte{
		{[]byte("X-Request-Id"), []byte("01KAS8T7QZ2V9K4J6M0X3B5N1C")},
		{[]byte("Cache-Control"), []byte("no-store")},
		{[]byte("X-Token-Name"), []byte("token-000000001")},
		{[]byte("X-Token-Write"), []byte("true")},
		{[]byte("X-Token-Rotated"), []byte("false")},
	}
	body := []byte(`{"data":[{"name":"token-000000001","write":true,"expires":false,"expiration_date":1795453642317}]}` + "\n")
	server := &fasthttp.Server{
		NoDefaultServerHeader: true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.SetContentType("application/json")
			for _, h := range headers {
				ctx.Response.Header.SetCanonical(h[0], h[1])
			}
			ctx.Response.SetBody(body)
		},
	}
	check(server.Serve(l))
}
