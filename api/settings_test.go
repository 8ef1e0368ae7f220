package api_test

import (
	"bufio"
	"crypto/sha256"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tokend/api"
)

// What is applied holds for the next request, also on a connection that is
// open, and for the next connection.
func TestApply(t *testing.T) {
	const newcomer = "newcomer-token-for-tests-0123456789"
	s := newServer(t)
	held, err := net.Dial("tcp", s.address)
	do(t, err)
	defer func() { _ = held.Close() }()
	answers := bufio.NewReader(held)
	list := func(token string, status int) {
		t.Helper()
		_, err := io.WriteString(held, "GET /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+token+"\r\n\r\n")
		do(t, err)
		expectAnswer(t, answers, status)
	}
	list(newcomer, 401)
	list(adminToken, 200)

	changed := s.settings
	changed.Admins = []api.Admin{{Name: "newcomer", SHA256: sha256.Sum256([]byte(newcomer))}}
	changed.AllowedHosts = []string{"monitor.example"}
	s.Apply(changed)
	list(newcomer, 200)
	list(adminToken, 401)
	if got := s.raw("GET /version HTTP/1.1\r\nHost: monitor.example\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("an allowed host: %.60q", got)
	}

	changed.Timeouts.Header = 300 * time.Millisecond
	s.Apply(changed)
	if got := s.raw("GET / HTTP/1.1\r\n"); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("half a header: %.60q", got)
	}

	changed.MaxConnections = 1
	s.Apply(changed)
	if got := s.raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("one connection too many: %.60q", got)
	}
	list(newcomer, 200)
}
