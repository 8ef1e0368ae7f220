package api_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What published suites of conformance and request smuggling try (llhttp's cases,
// Http11Probe, smuggler's mutations, http-desync-guardian, the chunk tricks that
// "Funky chunks" names), each with another request behind it in the same bytes: that is
// answered only where nobody could take it for a part of the first, and what is within
// a body is never taken for a request.
func TestFraming_suites(t *testing.T) {
	s := newServer(t)
	value := s.create(`{"name":"x"}`)
	const (
		host = "Host: localhost\r\n"
		get  = "GET /healthz HTTP/1.1\r\n"
		body = `{"name":"new"}`
		te   = "Transfer-Encoding: chunked\r\n"
		keep = true
		tail = get + host + "X-Request-Id: SECOND\r\nConnection: close\r\n\r\n"
		smug = "GET /version HTTP/1.1\r\n" + host + "X-Request-Id: SMUGGLED\r\n\r\n"
	)
	auth := "Authorization: Bearer " + adminToken + "\r\n"
	holder := "Authorization: Bearer " + value + "\r\n"
	put := "PUT /_/token HTTP/1.1\r\n" + host + auth // of a token that is not there: 404
	chunks := "e\r\n" + body + "\r\n0\r\n\r\n"
	chunked := put + te + "\r\n"
	length := "Content-Length: " + strconv.Itoa(len(smug)) + "\r\n\r\n"

	for _, c := range []struct {
		request string
		status  int
		keep    bool
	}{
		// Targets and methods.
		{"GET http://localhost/healthz HTTP/1.1\r\n\r\n", 400, false},
		{"GET http://localhost:1/healthz HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET http:/localhost/healthz HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET http://localhost\\x/healthz HTTP/1.1\r\nHost: localhost\\x\r\n\r\n", 400, false},
		{"GET http://localhost:x/healthz HTTP/1.1\r\nHost: localhost:x\r\n\r\n", 400, false},
		{"GET http://u@localhost/healthz HTTP/1.1\r\nHost: u@localhost\r\n\r\n", 400, false},
		{"GET localhost:8470 HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"OPTIONS ** HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"CONNECT * HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"CONNECT x HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"CONNECT /_/auth/envoy/x HTTP/1.1\r\n" + host + holder + "\r\n", 400, false},
		{"CONNECT http://localhost/_/auth/envoy/x HTTP/1.1\r\n" + host + holder + "\r\n", 400, false},
		{"GET /_/auth/envoy/\x00 HTTP/1.1\r\n" + host + holder + "\r\n", 400, false},
		{"GET /healthz?\x1b[31m HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET /healthz\x7f HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET /healthz HTTP/1.1 HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET ?x HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET,POST /healthz HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GE\x00T /healthz HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"\xef\xbb\xbf" + get + host + "\r\n", 400, false},
		{"\t" + get + host + "\r\n", 400, false},
		{"GET http://localhost//healthz HTTP/1.1\r\n" + host + "\r\n", 404, keep},
		{"GET /x://y/healthz HTTP/1.1\r\n" + host + "\r\n", 404, keep},
		{"GET /healthz%0d%0aX:%20y HTTP/1.1\r\n" + host + "\r\n", 404, keep},
		{"!#$%&'*+-.^_`|~ /healthz HTTP/1.1\r\n" + host + "\r\n", 405, keep},
		{"GET HTTP://LOCALHOST/healthz HTTP/1.1\r\n" + host + "\r\n", 200, keep},

		// What fasthttp would strip to a path that is served.
		{"GET //x/healthz?:// HTTP/1.1\r\n" + host + "\r\n", 404, keep},
		{"GET ///healthz?:// HTTP/1.1\r\n" + host + "\r\n", 404, keep},
		{"GET //127.0.0.1/version?:// HTTP/1.1\r\n" + host + "\r\n", 404, keep},
		{"GET //x/_/auth/read?:// HTTP/1.1\r\n" + host + holder + "\r\n", 404, keep},
		{"PUT //x/_/auth/envoy/y?:// HTTP/1.1\r\n" + host + holder + "\r\n", 404, keep},
		{"GET //x/_/token HTTP/1.0\r\n" + auth + "\r\n", 404, false},
		{"GET //u@x/healthz HTTP/1.0\r\n\r\n", 404, false},
		{"GET ///healthz HTTP/1.0\r\n\r\n", 404, false},

		// Versions and what stands between.
		{"GET /healthz HTTP/1.10\r\n" + host + "\r\n", 400, false},
		{"GET /healthz HTTP/01.1\r\n" + host + "\r\n", 400, false},
		{"GET /healthz HTTP/1.1 \r\n" + host + "\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\r\n" + host + "\r\n", 400, false},
		{"GET /healthz HTTP/1.1\x00\r\n" + host + "\r\n", 400, false},
		{"GET /healthz HTTP/ 1.1\r\n" + host + "\r\n", 400, false},
		{"GET\t/healthz\tHTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET  /healthz HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET /healthz  HTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET /healthz\x0cHTTP/1.1\r\n" + host + "\r\n", 400, false},
		{"GET /healthz\r\n", 400, false},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.2\r\n" + host + "\r\n" + smug, 505, false},

		// The ends of lines, names, values.
		{"GET /healthz HTTP/1.1\rHost: localhost\r\r", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: localhost\rX-A: b\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: localhost\r\r\n\r\n", 400, false},
		{get + host + "\r\r\n", 400, false},
		{get + " \r\n" + host + "\r\n", 400, false},
		{get + host + "X-A: b\r\n \r\n\r\n", 400, false},
		{get + host + "X-A: b\n c\r\n\r\n", 400, false},
		{get + host + "X-A\t: b\r\n\r\n", 400, false},
		{get + host + "X\x00A: b\r\n\r\n", 400, false},
		{get + host + "X-\xe9: b\r\n\r\n", 400, false},
		{get + host + "X(A): b\r\n\r\n", 400, false},
		{get + host + "X-A: a\x1bb\r\n\r\n", 400, false},
		{get + host + "X-Request-Id: a\rb\r\n\r\n", 400, false},
		{"\r\n\r\n" + get + host + "\r\n", 200, keep},
		{get + host + "X-A: \xe9\xff\r\n\r\n", 200, keep},

		// LF alone, which others may take for a part of the value.
		{get + host + "X: y\n\n" + smug, 400, false},
		{get + host + "X: y\n" + length + smug, 400, false},
		{get + host + "X-A: b\nX-C: d\r\n\r\n", 400, false},
		{get + host + "\n", 400, false},
		{put + "X-A: b\nTransfer-Encoding: chunked\r\n\r\n" + chunks, 400, false},
		{put + "X:\n" + te + "\r\n" + chunks, 400, false},
		{put + "X: y\nContent-Length: 14\r\n\r\n" + body, 400, false},
		{put + "Content-Length: 14\r\n\n" + body, 400, false},

		// Allowed (RFC 9112, section 2.2), and hides no header.
		{"GET /healthz HTTP/1.1\n" + host + "\r\n", 200, keep},

		// Host.
		{"GET /healthz HTTP/1.1\r\nHost: localhost/x\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: localhost, x\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: localhost,x\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: localhost:+1\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: localhost:999999\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: local\thost\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: ::1\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: []\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: @localhost\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: u:p@localhost\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: \xc3\xa9.example\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: \"localhost\"\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: :80\r\n\r\n", 400, false},
		{"GET /version HTTP/1.1\r\nHost: 127.0.0.1:1@evil\r\n\r\n", 400, false},
		{"GET /version HTTP/1.1\r\nHost: 127.0.0.1:/evil.example\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.0\r\nHost: a b\r\n\r\n", 400, false},
		{"GET /healthz HTTP/1.1\r\nHost: [::1]:8470\r\n\r\n", 200, keep},
		{"GET /healthz HTTP/1.1\r\nHost: a_b.example:\r\n\r\n", 200, keep},

		// Content-Length.
		{put + "X-A: b\r\n Content-Length: 14\r\n\r\n" + body, 400, false},
		{put + "Content-Length: 14;\r\n\r\n" + body, 400, false},
		{put + "Content-Length: 1 4\r\n\r\n" + body, 400, false},
		{put + "Content-Length: \x0b14\r\n\r\n" + body, 400, false},
		{put + "Content-Length:\r\n\r\n" + body, 400, false},
		{put + "Content-Length: 1\r\n 4\r\n\r\n" + body, 400, false},
		{put + "Content-Length: 18446744073709551630\r\n\r\n" + body, 400, false},
		{put + "Content-Length: 14\r\nCONTENT-LENGTH: 14\r\n\r\n" + body, 400, false},
		{put + "Content-Length\t: 14\r\n\r\n" + body, 400, false},
		{put + "Content-Length: 9223372036854775807\r\n\r\n" + body, 413, false},
		{put + "Content-Length:\t14\r\n\r\n" + body, 404, keep},

		// Transfer-Encoding.
		{put + "Transfer-Encoding: xchunked\r\n\r\n" + chunks, 400, false},
		{put + "Transfer-Encoding: chunked;\r\n\r\n" + chunks, 400, false},
		{put + "Transfer-Encoding: , chunked\r\n\r\n" + chunks, 400, false},
		{put + "Transfer-Encoding: \"chunked\"\r\n\r\n" + chunks, 400, false},
		{put + "Transfer-Encoding: \x0bchunked\r\n\r\n" + chunks, 400, false},
		{put + "Transfer-Encoding: chunked\x00\r\n\r\n" + chunks, 400, false},
		{put + te + "Transfer-Encoding: identity\r\n\r\n" + chunks, 400, false},
		{put + "Transfer-Encoding: chunked\r\n , identity\r\n\r\n" + chunks, 400, false},
		{put + "X:X\rTransfer-Encoding: chunked\r\n\r\n" + chunks, 400, false},
		{put + "Content-Length: 29\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n" + chunks, 400, false},
		{put + "Transfer-Encoding : chunked\r\nContent-Length: 14\r\n\r\n" + body, 400, false},
		{"PUT /_/auth/envoy/x HTTP/1.1\r\n" + host + holder + te + "Content-Length: 5\r\n\r\n0\r\n\r\n", 400, false},
		{"GET /_/auth/nginx HTTP/1.1\r\n" + host + holder + "X-Original-Method: GET\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, false},

		// Chunks. Others read some of these lines differently, so none is followed.
		{chunked + chunks, 404, false},
		{chunked + "0xe\r\n" + body + "\r\n0\r\n\r\n", 400, false},
		{chunked + "+e\r\n" + body + "\r\n0\r\n\r\n", 400, false},
		{chunked + " e\r\n" + body + "\r\n0\r\n\r\n", 400, false},
		{chunked + "e \r\n" + body + "\r\n0\r\n\r\n", 404, false},
		{chunked + "1000000000000000e\r\n" + body + "\r\n0\r\n\r\n", 400, false},
		{chunked + "e;a\nb\r\n" + body + "\r\n0\r\n\r\n", 400, false},
		{chunked + "e;\n" + body + "\r\n0\r\n\r\n", 400, false},
		{chunked + "e;a\rb\r\n" + body + "\r\n0\r\n\r\n", 400, false},
		{chunked + "e;\x00a\r\n" + body + "\r\n0\r\n\r\n", 404, false},
		{chunked + "e;a=\"b\r\n" + body + "\r\n0\r\n\r\n", 404, false},
		{chunked + "e\n" + body + "\r\n0\r\n\r\n", 400, false},
		{chunked + "e\r\n" + body + "\n0\r\n\r\n", 400, false},
		{chunked + "e\r\n" + body + "\r0\r\n\r\n", 400, false},
		{chunked + "e\r\n" + body + "XY0\r\n\r\n", 400, false},
		{chunked + "e\r\n" + body + "0\r\n\r\n", 400, false},
		{chunked + "e\r\n" + body + "\r\n0\n\n", 400, false},
		{chunked + "e\r\n" + body + "\r\n0\r\n\n" + smug, 404, false},
		{chunked + "e\r\n" + body + "\r\n0\r\nX-A: b\n\r\n" + smug, 404, false},
		{chunked + "e\r\n" + body + "\r\n0\r\nX-A: b\r\n c\r\n\r\n", 404, false},
		{chunked + "e\r\n" + body + "\r\n0\r\nX-A : b\r\n\r\n", 404, false},
		{chunked + "e\r\n" + body + "\r\n0\r\nContent-Length : 5\r\n\r\n", 400, false},
		{chunked + "e\r\n" + body + "\r\n0\r\nX-A: a\x00b\r\n\r\n", 400, false},
		{chunked + "e\r\n" + body + "\r\n0\r\nGET /x HTTP/1.1\r\n\r\n", 400, false},
		{chunked + "e\r\n" + body + "\r\n0\r\nX-A: " + longString(20_000) + "\r\n\r\n", 431, false},

		// A request within a body, of requests that are taken and of those that are refused.
		{get + host + length + smug, 200, keep},
		{"OPTIONS /healthz HTTP/1.1\r\n" + host + length + smug, 204, keep},
		{"POST /_/token HTTP/1.1\r\n" + host + length + smug, 401, keep},
		{"BREW /_/token HTTP/1.1\r\n" + host + length + smug, 405, keep},
		{"POST /nope HTTP/1.1\r\n" + host + length + smug, 404, keep},
		{put + length + smug, 400, keep},
		{"POST /_/auth/nginx HTTP/1.1\r\n" + host + holder + "X-Original-Method: GET\r\n" + length + smug, 200, keep},
		{"POST /nope HTTP/1.1\r\n" + host + te + fmt.Sprintf("\r\n%x\r\n", len(smug)) + smug + "\r\n0\r\n\r\n", 404, false},
		{put + "Content-Length: 70000\r\n\r\n" + smug + longString(70000-len(smug)), 413, false},
		{"POST /nope HTTP/1.1\r\n" + host + "Connection: close\r\nContent-Length: 4\r\n\r\nabcd" + smug, 404, false},
		{"GET /healthz HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", 200, false},
	} {
		got := s.raw(c.request + tail)
		if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", c.status)) {
			t.Errorf("%.200q: status %d is wanted, got %.300q", c.request, c.status, got)
			continue
		}
		answers := len(regexp.MustCompile(`HTTP/1\.1 \d`).FindAllString(got, -1))
		if followed := strings.Contains(got, "X-Request-Id: SECOND\r\n"); followed != c.keep || followed != (answers == 2) || strings.Contains(got, "SMUGGLED") {
			t.Errorf("%.200q: %d answers, the next request was taken: %v, want %v: %.500q", c.request, answers, followed, c.keep, got)
		}
	}
}
