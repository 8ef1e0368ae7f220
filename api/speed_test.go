package api_test

import (
	"context"
	"testing"

	"github.com/valyala/fasthttp"

	"tokend/kv"
)

// The answer that has to be fast, without the connection around it.
func BenchmarkVerify(b *testing.B) {
	for name, path := range map[string]string{"verify": "/_/token/verify", "nginx": "/_/auth/nginx"} {
		b.Run(name, func(b *testing.B) {
			s, ctx := verification(b, path)
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				s.Handle(ctx)
			}
		})
	}
}

func verification(tb testing.TB, path string) (*server, *fasthttp.RequestCtx) {
	tb.Helper()
	s := newServer(tb)
	_, value, err := s.store.Create(context.Background(), kv.Spec{Name: "x", Active: true, Write: true})
	if err != nil {
		tb.Fatal(err)
	}
	ctx := &fasthttp.RequestCtx{}
	ctx.Request.SetRequestURI(path)
	ctx.Request.Header.SetHost("127.0.0.1:8470")
	ctx.Request.Header.Set("Authorization", "Bearer "+value.Reveal())
	return s, ctx
}
