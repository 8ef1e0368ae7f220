package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"tokend/api"
	"tokend/kv"
	"tokend/metrics"
)

// What the adapter takes for a request, another reader of HTTP takes for the same one:
// the same method and target, and above all a body of the same length.
func FuzzFraming(f *testing.F) {
	const host = "Host: localhost\r\n"
	for _, request := range []string{
		"GET /_/token?name=x HTTP/1.1\r\n" + host + "Authorization: Bearer x\r\n\r\n",
		"POST /_/token HTTP/1.1\r\n" + host + "Content-Length: 14\r\nExpect: 100-continue\r\n\r\n",
		"POST /_/token HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
		"GET http://localhost/ HTTP/1.0\r\n" + host + "Connection: keep-alive\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\n" + host + "X: y\nContent-Length: 5\r\n\r\n",
		"\r\nPUT //x/y?:// HTTP/1.1\r\nHost: [::1]:8470\r\nX-A:\tb \r\n c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a@b,c\r\nTransfer-Encoding : chunked\r\nContent-Length: +1\r\n\r\n",
	} {
		f.Add([]byte(request))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var h fasthttp.RequestHeader
		if err := h.Read(bufio.NewReaderSize(bytes.NewReader(raw), 16<<10)); err != nil {
			return
		}
		length, err := api.CheckFraming(&h)
		if err != nil {
			return
		}
		other, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return // who refuses it takes it for nothing else
		}
		want := other.ContentLength
		if length != int(want) || string(h.Method()) != other.Method || string(h.RequestURI()) != other.RequestURI ||
			!strings.EqualFold(string(h.Host()), other.Host) && !strings.Contains(other.RequestURI, "://") {
			t.Errorf("%q: %s %s of %s with %d bytes here, %s %s of %s with %d elsewhere", raw,
				h.Method(), h.RequestURI(), h.Host(), length, other.Method, other.RequestURI, other.Host, want)
		}
	})
}

// Whatever the query, there is a list or a 400 that names a parameter.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{"name=x", "prefix=%61&status=active&limit=10", "limit=0", "expires_before=-1", "a=b&a=c", "&", "=", "%", "prefix=%ff", "unused_since=9e9"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if err := api.ParseQuery(query); err != nil {
			if status, field := api.FieldOf(err); status != 400 || field == "" {
				t.Errorf("%q: %d, field %q, %v", query, status, field, err)
			}
		}
	})
}

// Whatever the form, there is one token in it or a 400.
func FuzzForm(f *testing.F) {
	for _, form := range []string{"token=x", "token=x&token=y", "token=", "token=%", "a;b", "token_type_hint=access_token&token=tkd_x"} {
		f.Add([]byte(form))
	}
	f.Fuzz(func(t *testing.T, form []byte) {
		token, err := api.TokenInForm(form)
		if err == nil && len(token) == 0 {
			t.Error("an empty token")
		}
		if err != nil {
			if status, field := api.FieldOf(err); status != 400 || field != "token" {
				t.Errorf("%d, field %q", status, field)
			}
		}
	})
}

// Whatever the line of an import, there is a token or a reason.
func FuzzImportLine(f *testing.F) {
	s := api.New(api.Config{Metrics: metrics.New(metrics.Build{}), Log: slog.New(slog.DiscardHandler)}, api.Settings{})
	for _, line := range []string{
		`{"name":"x","token":"a-value-from-elsewhere"}`, `{"name":"x","expires":false,"expiration_date":1,"created_at":1e3,"last_used_at":null,"status":"active"}`,
		`{"name":"x","previous_valid_until":1}`, `{}`, `null`, "\x00", `{"name":"x","token":"short"}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		name, err := s.ParseImportLine(line)
		if err == nil && name == "" {
			t.Error("a token without a name")
		}
		if err != nil {
			if status, _ := api.FieldOf(err); status != 400 {
				t.Errorf("status %d: %v", status, err)
			}
		}
	})
}

// Whatever the headers, who is let in showed the one credential that it takes, also to
// another reader of HTTP.
func FuzzCredentials(f *testing.F) {
	socket := filepath.Join(f.TempDir(), "s")
	s := newServer(f, func(c *api.Config) { c.Log = slog.New(slog.DiscardHandler) }, func(l net.Listener) net.Listener {
		do(f, l.Close())
		l, err := net.Listen("unix", socket)
		do(f, err)
		return l
	})
	_, value, err := s.store.Create(context.Background(), kv.Spec{Name: "x", Active: true})
	do(f, err)
	placeholders := strings.NewReplacer("VALUE", value.Reveal(), "ADMIN", adminToken)
	paths := []string{"/_/token/verify", "/_/auth/read", "/_/token"}
	for _, headers := range []string{
		"Authorization: Bearer VALUE\r\n", "X-API-Key: VALUE\r\nAuthorization: Basic eDp5\r\n", "authorization:bearer  ADMIN \r\n",
		"Authorization: Bearer VALUE\r\nAuthorization: Bearer ADMIN\r\n", "X-API-Key: VALUE\r\nX-API-Key: x\r\n", "Authorization: Bearer ADMIN\r\nX-API-Key: VALUE\r\n",
		"Authorization : Bearer VALUE\r\n", "Authorization:\r\n Bearer VALUE\r\n", "Content-Length: 30\r\n\r\nAuthorization: Bearer ADMIN\r\n", "X_API_Key: VALUE\r\nX-A: \x00\r\n",
		"Authorization: Bearer\r\nX-API-Key: VALUE\r\n", "Authorization: \r\nAuthorization: Bearer VALUE\r\nX-API-Key: \t\r\n", "Authorization: Bearer\r\nAuthorization: Bearer ADMIN\r\n",
	} {
		for path := range paths {
			f.Add(headers, byte(path))
		}
	}
	f.Fuzz(func(t *testing.T, headers string, path byte) {
		target := paths[int(path)%len(paths)]
		request := "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + placeholders.Replace(headers) + "\r\n"
		c, err := net.Dial("unix", socket)
		do(t, err)
		defer func() { _ = c.Close() }()
		do(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(c, request)
		do(t, err)
		do(t, c.(*net.UnixConn).CloseWrite())
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return // the request is cut off
		}
		do(t, err)
		do(t, answer.Body.Close())
		if answer.StatusCode != http.StatusOK {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
		do(t, err)
		empty := func(value string) bool { return strings.Trim(value, " \t") == "" }
		emptyOrBare := func(value string) bool {
			return empty(value) || target != "/_/token" && strings.EqualFold(strings.Trim(value, " \t"), "bearer")
		}
		shown := slices.DeleteFunc(r.Header["X-Api-Key"], empty)
		authorizations := slices.DeleteFunc(r.Header["Authorization"], emptyOrBare)
		for _, authorization := range authorizations {
			scheme, credential, _ := strings.Cut(authorization, " ")
			if strings.EqualFold(scheme, "bearer") {
				shown = append(shown, strings.TrimLeft(credential, " "))
			}
		}
		good := value.Reveal()
		if target == "/_/token" {
			good = adminToken
			shown = slices.DeleteFunc(shown, func(credential string) bool {
				return slices.Contains(r.Header["X-Api-Key"], credential) || empty(credential)
			})
		}
		if !slices.Equal(shown, []string{good}) || len(authorizations) > 1 {
			t.Errorf("let in with %q", headers)
		}
	})
}
