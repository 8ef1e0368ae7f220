package api_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"tokend/api"
)

// serveAdmins opens a second listener, for administrators by who they are.
func (s *server) serveAdmins() (path string) {
	s.t.Helper()
	path = filepath.Join(s.t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	do(s.t, err)
	go func() { _ = s.ServeAdmins(l) }() // until the server shuts down
	return path
}

// askSocket sends a request with headers and gives the status.
func askSocket(t *testing.T, path, request, headers string) int {
	t.Helper()
	c, err := net.Dial("unix", path)
	do(t, err)
	defer func() { do(t, c.Close()) }()
	_, err = io.WriteString(c, request+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+headers+"\r\n")
	do(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	do(t, err)
	_, err = io.Copy(io.Discard, answer.Body)
	do(t, err)
	do(t, answer.Body.Close())
	return answer.StatusCode
}

func TestLocalAdmins(t *testing.T) {
	us := uint32(os.Getuid())
	s := newServer(t, func(c *api.Settings) { c.LocalAdmins = map[uint32]string{us: "we"} })
	path := s.serveAdmins()
	const list = "GET /_/token"
	value := s.create(`{"name":"x"}`)

	for _, c := range []struct {
		name, request, headers string
		status                 int
	}{
		{"a list", list, "", 200},
		{"a change", "DELETE /_/token?name=none", "", 404},
		{"a value", "GET /_/token/value?name=x", "", 200},
		{"introspection, as far as its body", "POST /_/token/introspect", "", 400},
		{"a token wins over who asks", list, "Authorization: Bearer " + readerToken + "\r\n", 200},
		{"a wrong token too", list, "Authorization: Bearer wrong-token-0123456789\r\n", 401},
		{"an issued token too", list, "Authorization: Bearer " + value + "\r\n", 403},
		{"a proxy: Forwarded", list, "Forwarded: for=192.0.2.1\r\n", 401},
		{"a proxy: Via", list, "Via: 1.1 proxy\r\n", 401},
		{"a proxy: X-Forwarded-For", list, "X-Forwarded-For: 192.0.2.1\r\n", 401},
		{"a proxy: any other of these, in any case", list, "x-FORWARDED-pREFIX: /\r\n", 401},
		{"a proxy with nothing to say", list, "Via:\r\n", 401},
		{"verification still wants a token", "GET /_/token/verify", "", 401},
		{"a proxy's check still wants a token", "GET /_/auth/read", "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := askSocket(t, path, c.request, c.headers); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
		})
	}
	t.Run("another listener knows no users", func(t *testing.T) {
		expectProblem(t, s.askAs("", "GET", "/_/token", ""), 401, "unauthorized", "")
	})
	t.Run("who is taken off the list is none any more", func(t *testing.T) {
		changed := s.settings
		changed.LocalAdmins = map[uint32]string{us + 1: "another"}
		s.Apply(changed)
		if got := askSocket(t, path, list, ""); got != 401 {
			t.Errorf("status %d", got)
		}
	})
}
