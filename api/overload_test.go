package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokend/api"
	"tokend/kv"
)

// Management beyond its places is refused at once, told when to come again, and leaves
// verification its own.
func TestOverload_management(t *testing.T) {
	const places = 3
	s := newServer(t, func(c *api.Settings) { c.MaxManagement = places })
	value := s.create(`{"name":"x"}`)
	s.fill(20_000)
	var readers []net.Conn
	for range places { // lists that nobody reads
		readers = append(readers, s.send("GET /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+adminToken+"\r\n\r\n"))
	}
	s.await("the lists to be under way", func() bool { return s.ask("GET", "/_/token?name=x", "").status == http.StatusServiceUnavailable })
	begin := time.Now()
	for _, request := range [][3]string{
		{"GET", "/_/token?name=x", ""}, {"POST", "/_/token", `{"name":"y"}`}, {"GET", "/_/token/export", ""}, {"GET", "/_/backup", ""},
		{"POST", "/_/token/import", `{"name":"y"}`}, {"POST", "/_/token/bulk", `{"action":"delete","names":["x"]}`},
	} {
		a := s.ask(request[0], request[1], request[2])
		expectProblem(t, a, 503, "overloaded", "")
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: Retry-After %q", request[1], a.header.Get("Retry-After"))
		}
	}
	if took := time.Since(begin); took > 3*time.Second { // a place is free after 5 s
		t.Errorf("they waited: %v", took)
	}
	for _, path := range []string{"/_/token/verify", "/_/auth/read", "/healthz", "/readyz"} {
		if a := s.askAs("Bearer "+value, "GET", path, ""); a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	expectProblem(t, s.askAs("", "GET", "/_/token", ""), 401, "unauthorized", "") // who has no credential is told nothing
	do(t, readers[0].Close())
	s.await("a place to be free", func() bool { return s.ask("GET", "/_/token?name=x", "").status == http.StatusOK })
	for _, c := range readers[1:] {
		_ = c.Close()
	}
}

// Few bodies that may be large are held at once, however many others there are.
func TestOverload_large(t *testing.T) {
	s := newServer(t)
	const most = 4
	head := "POST /_/token/import HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\nContent-Length: 100000\r\n\r\n "
	var senders []net.Conn
	for range most {
		senders = append(senders, s.send(head))
	}
	s.await("the imports to be under way", func() bool {
		return s.ask("POST", "/_/token/import", strings.Repeat(" ", 70_000)).status == http.StatusServiceUnavailable
	})
	expectProblem(t, s.ask("POST", "/_/token/bulk", `{"action":"delete","names":["x"]}`+strings.Repeat(" ", 70_000)), 503, "overloaded", "")
	for path, body := range map[string]string{"/_/token": `{"name":"y"}`, "/_/token/bulk": `{"action":"delete","names":["y"],"dry_run":true}`, "/_/token/import": `{"name":"small"}`} {
		if a := s.ask("POST", path, body); a.status >= 500 {
			t.Errorf("a small one at %s: %d", path, a.status)
		}
	}
	for _, c := range senders {
		_ = c.Close()
	}
	s.await("a place to be free", func() bool { return s.ask("POST", "/_/token/import", `{"name":"z"}`).status == http.StatusOK })
}

// A storm of management leaves verification half of the machine: it is never refused and
// goes on while as many lists as may be are read at once.
func TestOverload_share(t *testing.T) {
	s := newServer(t, func(c *api.Settings) { c.MaxManagement = 64 })
	value := s.create(`{"name":"x"}`)
	s.fill(20_000)
	stop := make(chan struct{})
	var (
		wg    sync.WaitGroup
		lists atomic.Int64
	)
	for range 100 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/_/token", nil)
				do(t, err)
				r.Header.Set("Authorization", "Bearer "+adminToken)
				response, err := s.client.Do(r)
				if err != nil {
					return
				}
				if _, err := io.Copy(io.Discard, response.Body); err == nil && response.StatusCode == http.StatusOK {
					lists.Add(1)
				}
				_ = response.Body.Close()
			}
		})
	}
	verified := 0
	for begin := time.Now(); time.Since(begin) < 2*time.Second; verified++ {
		if a := s.askAs("Bearer "+value, "GET", "/_/auth/read", ""); a.status != http.StatusOK {
			t.Fatalf("verification %d: %d", verified, a.status)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d verifications, one after another, beside %d lists", verified, lists.Load())
	if verified < 20 {
		t.Errorf("only %d verifications", verified)
	}
}

// fill makes so many tokens.
func (s *server) fill(tokens int) {
	s.t.Helper()
	for first := 0; first < tokens; first += 500 {
		batch := make([]kv.NewToken, 500)
		for i := range batch {
			batch[i].Name = fmt.Sprintf("filler-%06d-%s", first+i, strings.Repeat("n", 60))
		}
		_, err := s.store.CreateAll(context.Background(), batch)
		do(s.t, err)
	}
}

// send sends bytes and leaves the connection.
func (s *server) send(request string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address)
	do(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	_, err = io.WriteString(c, request)
	do(s.t, err)
	return c
}

func (s *server) await(what string, done func() bool) {
	s.t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("waited for %s", what)
}
