package api_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Raw bytes and the status that each gets. Where the connection must close, the
// test reads to its end; elsewhere the request asks for it.
func TestFraming(t *testing.T) {
	s := newServer(t)
	s.create(`{"name":"x"}`)
	auth := "Authorization: Bearer " + adminToken + "\r\n"
	host := "Host: localhost\r\n"
	const end = "Connection: close\r\n\r\n"
	body := `{"name":"new"}`
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)

	for _, c := range []struct {
		name, request string
		status        int
		code          string
	}{
		{"as it should be", "GET /_/token HTTP/1.1\r\n" + host + auth + end, 200, ""},
		{"header names in any case", "GET /_/token HTTP/1.1\r\nhOST: localhost\r\naUTHORIZATION: Bearer " + adminToken + "\r\n" + end, 200, ""},
		{"a body in chunks", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: chunked\r\n" + end + chunks, 201, ""},
		{"chunked in capitals", "PUT /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: Chunked\r\n" + end + chunks, 200, ""},
		{"HTTP/1.0 without Host", "GET /_/token HTTP/1.0\r\n" + auth + "\r\n", 200, ""},
		{"an absolute target for our host", "GET http://localhost/_/token HTTP/1.1\r\n" + host + auth + end, 200, ""},

		{"HTTP/0.9 with a version", "GET /_/token HTTP/0.9\r\n" + host + auth + "\r\n", 505, "http_version_not_supported"},
		{"HTTP/1.2", "GET /_/token HTTP/1.2\r\n" + host + auth + "\r\n", 505, "http_version_not_supported"},
		{"HTTP/2.0", "GET /_/token HTTP/2.0\r\n" + host + auth + "\r\n", 505, "http_version_not_supported"},
		{"HTTP/9.9", "GET /_/token HTTP/9.9\r\n" + host + auth + "\r\n", 505, "http_version_not_supported"},
		{"no version", "GET /_/token\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"another protocol", "GET /_/token ICY/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"a version in lower case", "GET /_/token http/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},

		{"no Host", "GET /_/token HTTP/1.1\r\n" + auth + "\r\n", 400, "bad_request"},
		{"an empty Host", "GET /_/token HTTP/1.1\r\nHost:\r\n" + auth + "\r\n", 400, "bad_request"},
		{"Host twice", "GET /_/token HTTP/1.1\r\n" + host + host + auth + "\r\n", 400, "bad_request"},
		{"Host twice in 1.0", "GET /_/token HTTP/1.0\r\n" + host + host + auth + "\r\n", 400, "bad_request"},

		{"length and encoding", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: 14\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, 400, "bad_request"},
		{"encoding and length", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: chunked\r\nContent-Length: 14\r\n\r\n" + chunks, 400, "bad_request"},
		{"length twice, equal", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: 14\r\nContent-Length: 14\r\n\r\n" + body, 400, "bad_request"},
		{"length twice, different", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: 14\r\nContent-Length: 5\r\n\r\n" + body, 400, "bad_request"},
		{"length as a list", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: 14, 14\r\n\r\n" + body, 400, "bad_request"},
		{"a negative length", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: -1\r\n\r\n" + body, 400, "bad_request"},
		{"a length with a sign", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: +14\r\n\r\n" + body, 400, "bad_request"},
		{"a length in hexadecimal", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: 0xe\r\n\r\n" + body, 400, "bad_request"},
		{"a length beyond all numbers", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: 99999999999999999999\r\n\r\n" + body, 400, "bad_request"},
		{"encoding twice", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, 400, "bad_request"},
		{"encoding as a list", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks, 400, "bad_request"},
		{"encoding identity", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: identity\r\n\r\n" + body, 400, "bad_request"},
		{"encoding identity and length", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: identity\r\nContent-Length: 14\r\n\r\n" + body, 400, "bad_request"},
		{"encoding gzip", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: gzip\r\n\r\n" + body, 400, "bad_request"},
		{"an empty encoding", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding:\r\n\r\n" + body, 400, "bad_request"},
		{"encoding under 1.0", "POST /_/token HTTP/1.0\r\n" + host + auth + "Transfer-Encoding: chunked\r\n\r\n" + chunks, 400, "bad_request"},
		{"a space before the colon", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding : chunked\r\n\r\n" + chunks, 400, "bad_request"},
		{"a broken chunk size", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"},
		{"a chunk longer than its size", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: chunked\r\n\r\n1\r\n" + body + "\r\n0\r\n\r\n", 400, "bad_request"},
		{"a body that ends too early", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: 100\r\n\r\n" + body, 400, "bad_request"},
		{"a forbidden trailer", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: chunked\r\n\r\n" + chunks[:len(chunks)-2] + "Authorization: x\r\n\r\n", 400, "bad_request"},

		{"a folded header", "GET /_/token HTTP/1.1\r\n" + host + auth + "X-A: b\r\n c\r\n\r\n", 400, "bad_request"},
		{"a header folded with a tab", "GET /_/token HTTP/1.1\r\n" + host + auth + "X-A: b\r\n\tc\r\n\r\n", 400, "bad_request"},
		{"a folded Authorization", "GET /_/token HTTP/1.1\r\n" + host + "Authorization: Bearer\r\n " + adminToken + "\r\n\r\n", 400, "bad_request"},
		{"a folded Transfer-Encoding", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding:\r\n chunked\r\n\r\n" + chunks, 400, "bad_request"},
		{"a first header that begins with a space", "GET /_/token HTTP/1.1\r\n " + host + auth + "\r\n", 400, "bad_request"},
		{"a header without a colon", "GET /_/token HTTP/1.1\r\n" + host + "Authorization Bearer " + adminToken + "\r\n\r\n", 400, "bad_request"},
		{"a header without a name", "GET /_/token HTTP/1.1\r\n" + host + ": x\r\n" + auth + "\r\n", 400, "bad_request"},
		{"a space in a header's name", "GET /_/token HTTP/1.1\r\n" + host + "X A: b\r\n" + auth + "\r\n", 400, "bad_request"},
		{"NUL in a header", "GET /_/token HTTP/1.1\r\n" + host + "X-A: a\x00b\r\n" + auth + "\r\n", 400, "bad_request"},
		{"CR in a header", "GET /_/token HTTP/1.1\r\n" + host + "X-A: a\rb\r\n" + auth + "\r\n", 400, "bad_request"},

		{"no method", " /_/token HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"no target", "GET HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"a target with a space", "GET /_/to ken HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"a target without a slash", "GET _/token HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"a target with a control character", "GET /_/token\x01 HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"a target with a fragment", "GET /_/token#x HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"an absolute target for another host", "GET http://elsewhere/_/token HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"an absolute target of another scheme", "GET ftp://localhost/_/token HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"an absolute target without a host", "GET http:///_/token HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"an absolute target with a user", "GET http://localhost@elsewhere/_/token HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"an asterisk for GET", "GET * HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"a tunnel", "CONNECT localhost:8470 HTTP/1.1\r\n" + host + auth + "\r\n", 400, "bad_request"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"},

		{"headers over 16 KiB", "GET /_/token HTTP/1.1\r\n" + host + auth + "X-A: " + longString(17_000) + "\r\n\r\n", 431, "headers_too_large"},
		{"a target over 16 KiB", "GET /_/token?" + longString(17_000) + " HTTP/1.1\r\n" + host + auth + "\r\n", 431, "headers_too_large"},
		{"headers under 16 KiB", "GET /_/token HTTP/1.1\r\n" + host + auth + "X-A: " + longString(15_000) + "\r\n" + end, 200, ""},
		{"a body over 64 KiB, announced", "POST /_/token HTTP/1.1\r\n" + host + auth + "Content-Length: 65537\r\n\r\n{", 413, "body_too_large"},
		{"a body over 64 KiB, in chunks", "POST /_/token HTTP/1.1\r\n" + host + auth + "Transfer-Encoding: chunked\r\n\r\n10001\r\n" + longString(65537) + "\r\n", 413, "body_too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := s.exchange(c.request, strings.HasSuffix(c.name, "too early"))
			head, content, _ := strings.Cut(got, "\r\n\r\n")
			if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", c.status)) {
				t.Fatalf("got %q", got)
			}
			if !regexp.MustCompile(`(?m)^X-Request-Id: \S+\r?$`).MatchString(head) {
				t.Errorf("no request id: %s", head)
			}
			if c.code != "" && (!strings.Contains(content, `"code":"`+c.code+`"`) || !strings.Contains(head, "Connection: close")) {
				t.Errorf("got %q", got)
			}
			if answers := regexp.MustCompile(`(?m)^HTTP/1\.1 \d`).FindAllString(got, -1); len(answers) != 1 {
				t.Errorf("more than one answer: %q", got)
			}
		})
	}
	// That no credential is in the log is checked when the server stops.
	if !strings.Contains(s.log.String(), "broken request") {
		t.Error("broken requests leave no trace at all")
	}
}

// A path is matched exactly, as raw bytes.
func TestPaths(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{
		"/_/token/", "//_/token", "/_//token", "/_/Token", "/_/TOKEN", "/_/./token", "/_/x/../token", "/%5F/token", "/_%2ftoken", "/_/tok%65n",
		"/_/token/value/", "/_/token/values", "/_", "/_/", "/..", "/%2e%2e/_/token", "/_/token%00", "/_/token%3fname=x", "/healthz/", "/HEALTHZ",
		"/_/token;x", "/index.html", "/favicon.ico",
	} {
		got := s.raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 404 ") || !strings.Contains(got, `"code":"not_found"`) || strings.Contains(got, "Location:") {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestMethods(t *testing.T) {
	s := newServer(t)
	for path, allow := range map[string]string{
		"/_/token":       "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
		"/_/token/value": "GET, HEAD, OPTIONS",
		"/healthz":       "GET, HEAD, OPTIONS",
		"/":              "GET, HEAD, OPTIONS",
	} {
		if a := s.askAs("", "OPTIONS", path, ""); a.status != 204 || a.header.Get("Allow") != allow || a.body != "" {
			t.Errorf("OPTIONS %s: %d, Allow %q", path, a.status, a.header.Get("Allow"))
		}
		for _, method := range []string{"CONNECT", "TRACE", "BREW", "get", "*"} {
			a := s.ask(method, path, "")
			expectProblem(t, a, 405, "method_not_allowed", "")
			if a.header.Get("Allow") != allow {
				t.Errorf("%s %s: Allow %q, want %q", method, path, a.header.Get("Allow"), allow)
			}
		}
	}
	t.Run("OPTIONS on an unknown path", func(t *testing.T) {
		expectProblem(t, s.ask("OPTIONS", "/_/nothing", ""), 404, "not_found", "")
	})
	t.Run("HEAD is GET without a body", func(t *testing.T) {
		s.create(`{"name":"x"}`)
		for _, target := range []string{"/_/token", "/_/token?name=x", "/_/token?name=y", "/_/token/value?name=x", "/healthz", "/readyz", "/metrics", "/"} {
			get, head := s.ask("GET", target, ""), s.ask("HEAD", target, "")
			if head.status != get.status || head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
				t.Errorf("%s: %d %v %q", target, head.status, head.header, head.body)
			}
			if length := get.header.Get("Content-Length"); target != "/metrics" && head.header.Get("Content-Length") != length {
				t.Errorf("%s: length %s, want %s", target, head.header.Get("Content-Length"), length)
			}
		}
	})
}

func TestRequestID(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		sent string
		kept bool
	}{
		{"abc", true}, {"A-b_c.9", true}, {longString(64), true},
		{longString(65), false}, {"", false}, {"a b", false}, {"a\tb", false}, {"é", false}, {"a/b", false}, {`a"b`, false},
	} {
		got := s.ask("GET", "/healthz", "", "X-Request-Id", c.sent).header.Get("X-Request-Id")
		if c.kept != (got == c.sent) {
			t.Errorf("%q became %q", c.sent, got)
		}
		if !regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`).MatchString(got) {
			t.Errorf("%q became %q", c.sent, got)
		}
	}
}
