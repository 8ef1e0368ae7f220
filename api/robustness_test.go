package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tokend/api"
	"tokend/kv"
	"tokend/kv/kvtest"
)

func TestPanicInAHandler(t *testing.T) {
	s := newServer(t, func(s *api.Server) { s.AddRoute("/panic", func() string { panic("on purpose") }) })
	a := s.ask("GET", "/panic", "", "X-Request-Id", "find-me")
	expectProblem(t, a, 500, "internal", "")
	if strings.Contains(a.body, "on purpose") {
		t.Error("the client is told the cause")
	}
	for _, want := range []string{"on purpose", "request_id=find-me", "robustness_test.go"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, s.log)
		}
	}
	if a := s.ask("GET", "/healthz", ""); a.status != 200 {
		t.Error("the server does not live on")
	}
}

func TestPanicInAStream(t *testing.T) {
	served := 0
	s := newServer(t, func(s *api.Server) {
		s.AddStream("/panic", func() {
			if served++; served == 200 {
				panic("on purpose")
			}
		})
	})
	for i := range 300 {
		s.create(fmt.Sprintf(`{"name":"n%03d"}`, i))
	}
	got := s.raw("GET /panic HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: find-me\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.Contains(got, `"name":"n000"`) {
		t.Fatalf("got %.200q", got)
	}
	if strings.Contains(got, "\r\n0\r\n") || strings.Contains(got, "]}") {
		t.Error("the stream looks whole")
	}
	for _, want := range []string{"on purpose", "request_id=find-me", "robustness_test.go"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, s.log)
		}
	}
	if a := s.ask("GET", "/healthz", ""); a.status != 200 {
		t.Error("the server does not live on")
	}
}

// A failure that nobody expects is a bare 500; its cause is in the log.
func TestUnexpectedFailure(t *testing.T) {
	s := newServer(t, func(store *kvtest.Store) {
		_, _, err := store.Create(kv.Spec{Name: "x"})
		do(t, err)
		store.Damage("x")
	})
	a := s.ask("GET", "/_/token?name=x", "", "X-Request-Id", "find-me")
	expectProblem(t, a, 500, "internal", "")
	if strings.Contains(a.body, "seal") || strings.Contains(a.body, "damaged") {
		t.Errorf("the client is told the cause: %s", a.body)
	}
	if log := s.log.String(); !strings.Contains(log, "the store is damaged") || !strings.Contains(log, "request_id=find-me") {
		t.Errorf("the log lacks the cause:\n%s", log)
	}
	t.Run("in a list it ends without the last chunk", func(t *testing.T) {
		got := s.raw("GET /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n")
		if strings.Contains(got, "\r\n0\r\n") {
			t.Errorf("it looks whole: %q", got)
		}
	})
	t.Run("in a list to HTTP/1.0 it is seen before", func(t *testing.T) {
		got := s.raw("GET /_/token HTTP/1.0\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 500 ") {
			t.Errorf("got %q", got)
		}
	})
}

func TestTimeouts(t *testing.T) {
	short := func(c *api.Config) {
		c.Timeouts = api.Timeouts{Header: 300 * time.Millisecond, Body: 300 * time.Millisecond, Write: 300 * time.Millisecond, Idle: 300 * time.Millisecond}
	}
	s := newServer(t, short)
	for _, c := range []struct{ name, request, want string }{
		{"half a header is 408", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken, "HTTP/1.1 408 "},
		{"half a body is 408", "POST /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\nContent-Length: 100\r\n\r\n{", "HTTP/1.1 408 "},
		{"an idle connection is closed", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			got := s.raw(c.request)
			if !strings.HasPrefix(got, c.want) || strings.Count(got, "HTTP/1.1") != 1 {
				t.Errorf("got %q", got)
			}
			if took := time.Since(begin); took < 250*time.Millisecond {
				t.Errorf("closed after %v already", took)
			}
		})
	}
	t.Run("a reader that does not read is cut off", func(t *testing.T) {
		for i := range 2000 {
			if _, _, err := s.store.Create(kv.Spec{Name: fmt.Sprintf("%0100d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		c, err := net.Dial("tcp", s.address)
		do(t, err)
		defer func() { _ = c.Close() }()
		do(t, c.(*net.TCPConn).SetReadBuffer(4096))
		// Several lists at once fill every buffer on the way.
		_, err = io.WriteString(c, strings.Repeat("GET /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+adminToken+"\r\n\r\n", 50))
		do(t, err)
		for s.Connections() > 0 {
			time.Sleep(10 * time.Millisecond) // the test's own time-out bounds it
		}
	})
	t.Run("a slow reader that reads is not", func(t *testing.T) {
		c, err := net.Dial("tcp", s.address)
		do(t, err)
		defer func() { _ = c.Close() }()
		_, err = io.WriteString(c, "GET /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+adminToken+"\r\nConnection: close\r\n\r\n")
		do(t, err)
		begin, piece, total := time.Now(), make([]byte, 64<<10), 0
		for {
			n, err := c.Read(piece)
			total += n
			if errors.Is(err, io.EOF) {
				break
			}
			do(t, err)
			time.Sleep(100 * time.Millisecond) // slower than one time-out for the whole
		}
		if total < 2000*200 {
			t.Errorf("%d bytes after %v", total, time.Since(begin))
		}
	})
}

func TestConnectionLimit(t *testing.T) {
	s := newServer(t, func(c *api.Config) { c.MaxConnections = 2 })
	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", s.address)
		do(t, err)
		_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		do(t, err)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		do(t, err)
		do(t, response.Body.Close())
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
		held = append(held, c)
	}
	c, err := net.Dial("tcp", s.address)
	do(t, err)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	do(t, err)
	body, err := io.ReadAll(response.Body) // which also holds the length against the body
	do(t, err)
	do(t, response.Body.Close())
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || !strings.Contains(string(body), `"code":"overloaded"`) {
		t.Errorf("%v %s", response, body)
	}
	_ = c.Close()
	for _, c := range held {
		_ = c.Close()
	}
	for s.Connections() > 0 {
		time.Sleep(time.Millisecond)
	}
	if a := s.ask("GET", "/healthz", ""); a.status != 200 {
		t.Error("the places are not free again")
	}
}

func TestShutdown(t *testing.T) {
	t.Run("answers what is under way, and only then returns", func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		s := newServer(t, func(s *api.Server) {
			s.AddRoute("/slow", func() string { close(entered); <-release; return "done" })
		})
		var answered, stopped sync.WaitGroup
		answered.Go(func() {
			if a := s.ask("GET", "/slow", ""); a.body != "done" {
				t.Errorf("got %s", a.body)
			}
		})
		<-entered
		silent, err := net.Dial("tcp", s.address)
		do(t, err)
		defer func() { _ = silent.Close() }()
		stopped.Go(func() { do(t, s.Shutdown(context.Background())) })
		if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection without a request: %v", err)
		}
		for { // new ones are refused while one is being answered
			c, err := net.Dial("tcp", s.address)
			if err != nil {
				break
			}
			_ = c.Close()
		}
		close(release)
		answered.Wait()
		stopped.Wait()
	})
	t.Run("cuts off what takes too long", func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		s := newServer(t, func(s *api.Server) {
			s.AddRoute("/slow", func() string { close(entered); <-release; return "done" })
		})
		go func() { _, _ = http.Get("http://" + s.address + "/slow") }() //nolint:bodyclose // it fails
		<-entered
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		done := make(chan error)
		go func() { done <- s.Shutdown(ctx) }()
		<-ctx.Done()
		select {
		case err := <-done:
			t.Fatalf("returned while a handler runs: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
		close(release)
		do(t, <-done)
	})
}
