package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
		_, _, err := store.Create(context.Background(), kv.Spec{Name: "x"})
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
	const short, long = 300 * time.Millisecond, time.Minute
	all := api.Timeouts{Header: long, Body: long, Write: long, Idle: long}
	for _, c := range []struct {
		name    string
		shorten func(*api.Timeouts)
		request string
		want    string
	}{
		{"half a header is 408", func(t *api.Timeouts) { t.Header = short },
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken, "HTTP/1.1 408 "},
		{"half a body is 408", func(t *api.Timeouts) { t.Body = short },
			"POST /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\nContent-Length: 100\r\n\r\n{", "HTTP/1.1 408 "},
		{"half a body in chunks is 408", func(t *api.Timeouts) { t.Body = short },
			"POST /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{", "HTTP/1.1 408 "},
		{"an idle connection is closed", func(t *api.Timeouts) { t.Idle = short },
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 "},
		{"a body that is not read and does not come closes", func(t *api.Timeouts) { t.Body = short },
			"POST /_/auth/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 401 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, func(config *api.Settings) {
				config.Timeouts = all
				c.shorten(&config.Timeouts)
			})
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
}

// Later requests on a connection have the same time as the first.
func TestTimeouts_laterRequests(t *testing.T) {
	const short, long = 300 * time.Millisecond, time.Minute
	const whole = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	s := newServer(t, func(c *api.Settings) {
		c.Timeouts = api.Timeouts{Header: short, Body: long, Write: long, Idle: long}
	})
	for name, rest := range map[string]string{"sent with the one before": "", "sent after it": "G"} {
		t.Run("half a header is 408, "+name, func(t *testing.T) {
			c, err := net.Dial("tcp", s.address)
			do(t, err)
			defer func() { do(t, c.Close()) }()
			do(t, c.SetDeadline(time.Now().Add(10*time.Second)))
			first := whole
			if rest == "" {
				first += "GET"
			}
			_, err = io.WriteString(c, first)
			do(t, err)
			answers := bufio.NewReader(c)
			expectAnswer(t, answers, 200)
			_, err = io.WriteString(c, rest)
			do(t, err)
			expectAnswer(t, answers, 408)
		})
	}
	t.Run("what is left of a body takes nothing from the next one", func(t *testing.T) {
		c, err := net.Dial("tcp", s.address)
		do(t, err)
		defer func() { do(t, c.Close()) }()
		do(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		answers := bufio.NewReader(c)
		for _, piece := range []string{"POST /_/auth/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc", "def", "ghij", whole} {
			_, err := io.WriteString(c, piece)
			do(t, err)
			time.Sleep(2 * short / 3)
		}
		expectAnswer(t, answers, 401)
		expectAnswer(t, answers, 200)
	})
}

func expectAnswer(t *testing.T, r *bufio.Reader, status int) {
	t.Helper()
	a, err := http.ReadResponse(r, nil)
	do(t, err)
	_, err = io.Copy(io.Discard, a.Body)
	do(t, err)
	do(t, a.Body.Close())
	if a.StatusCode != status {
		t.Errorf("status %d, want %d", a.StatusCode, status)
	}
}

// The time-out for writing is for progress, not for the whole answer.
func TestSlowReaders(t *testing.T) {
	const patience, tokens = 300 * time.Millisecond, 10_000
	s := newServer(t, func(c *api.Settings) { c.Timeouts.Write = patience }, func(store *kvtest.Store) {
		var wg sync.WaitGroup
		for client := range 50 {
			wg.Go(func() {
				for i := range tokens / 50 {
					if _, _, err := store.Create(context.Background(), kv.Spec{Name: fmt.Sprintf("%0100d", client*tokens+i)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
	list := "GET /_/token HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\nConnection: close\r\n\r\n"
	open := func(t *testing.T) net.Conn {
		c, err := net.Dial("tcp", s.address)
		do(t, err)
		do(t, c.(*net.TCPConn).SetReadBuffer(64<<10)) // else the list may fit it
		_, err = io.WriteString(c, list)
		do(t, err)
		return c
	}
	t.Run("one that does not read is cut off", func(t *testing.T) {
		c := open(t)
		defer func() { _ = c.Close() }()
		for s.Connections() > 0 {
			time.Sleep(10 * time.Millisecond) // the test's own time-out bounds it
		}
	})
	t.Run("one that reads slowly gets it all", func(t *testing.T) {
		c := open(t)
		defer func() { _ = c.Close() }()
		begin, piece, total := time.Now(), make([]byte, 32<<10), 0
		for {
			n, err := io.ReadFull(c, piece)
			total += n
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				break
			}
			do(t, err)
			time.Sleep(15 * time.Millisecond)
		}
		if took := time.Since(begin); took < 3*patience {
			t.Errorf("read in %v, which shows nothing", took)
		}
		if total < tokens*250 {
			t.Errorf("%d bytes", total)
		}
	})
}

// A client that is refused while it is still sending reads the refusal.
func TestRefusalIsRead(t *testing.T) {
	s := newServer(t)
	body := longString(1 << 20)
	for name, request := range map[string]string{
		"announced":                        fmt.Sprintf("POST /_/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
		"small, on a connection that ends": fmt.Sprintf("POST /_/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", 60_000, body[:60_000]),
		"in chunks":                        fmt.Sprintf("POST /_/token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
	} {
		for range 20 {
			got := s.raw(request)
			if !strings.HasPrefix(got, "HTTP/1.1 401 ") || !strings.HasSuffix(got, "}\n") {
				t.Errorf("%s: got %.300q", name, got)
			}
		}
	}
	t.Run("and a small body leaves the connection fit for the next request", func(t *testing.T) {
		got := s.raw("POST /_/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nGET /GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 401 ") || !strings.Contains(got, "HTTP/1.1 200 ") {
			t.Errorf("got %q", got)
		}
	})
}

// shortage is a listener that is out of file descriptors for a while.
type shortage struct {
	net.Listener
	left *atomic.Int32
}

func (l shortage) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func TestOutOfFileDescriptors(t *testing.T) {
	left := &atomic.Int32{}
	left.Store(5)
	s := newServer(t, func(l net.Listener) net.Listener { return shortage{l, left} })
	if a := s.ask("GET", "/healthz", ""); a.status != http.StatusOK {
		t.Errorf("status %d", a.status)
	}
	if !strings.Contains(s.log.String(), "too many open files") {
		t.Errorf("the log does not say so:\n%s", s.log)
	}
}

func TestConnectionLimit(t *testing.T) {
	s := newServer(t, func(c *api.Settings) { c.MaxConnections = 2 })
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

func (s *server) awaitConnections(n int) {
	for s.Connections() < n {
		time.Sleep(time.Millisecond)
	}
}

// awaitRefusal waits until no new connection is taken.
func (s *server) awaitRefusal() {
	for {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			return
		}
		_ = c.Close()
	}
}

func TestShutdown(t *testing.T) {
	slow := func() (entered, release chan struct{}, route func(*api.Server)) {
		entered, release = make(chan struct{}), make(chan struct{})
		return entered, release, func(s *api.Server) {
			s.AddRoute("/slow", func() string { close(entered); <-release; return "done" })
		}
	}
	expectRunning := func(t *testing.T, done chan error) {
		t.Helper()
		select {
		case err := <-done:
			t.Fatalf("returned while a handler runs: %v", err)
		case <-time.After(300 * time.Millisecond):
		}
	}
	t.Run("answers what is under way, and only then returns", func(t *testing.T) {
		entered, release, route := slow()
		s := newServer(t, route)
		var answered sync.WaitGroup
		answered.Go(func() {
			if a := s.ask("GET", "/slow", ""); a.body != "done" {
				t.Errorf("got %s", a.body)
			}
		})
		<-entered
		silent, err := net.Dial("tcp", s.address)
		do(t, err)
		defer func() { _ = silent.Close() }()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		do(t, silent.SetReadDeadline(time.Now().Add(2*time.Second))) // by itself, fasthttp takes longer
		if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection without a request: %v", err)
		}
		s.awaitRefusal() // while one is being answered
		expectRunning(t, done)
		close(release)
		answered.Wait()
		do(t, <-done)
	})
	t.Run("cuts off what takes too long", func(t *testing.T) {
		entered, release, route := slow()
		s := newServer(t, route)
		c, err := net.Dial("tcp", s.address)
		do(t, err)
		defer func() { _ = c.Close() }()
		_, err = io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
		do(t, err)
		<-entered
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(ctx) }()
		<-ctx.Done()
		expectRunning(t, done)
		close(release)
		do(t, <-done)
	})
	t.Run("does not wait for idle connections, one after another", func(t *testing.T) {
		s := newServer(t)
		for range 20 {
			c, err := net.Dial("tcp", s.address)
			do(t, err)
			defer func() { _ = c.Close() }()
			_, err = io.WriteString(c, "POST /_/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nxxxxx")
			do(t, err)
			response, err := http.ReadResponse(bufio.NewReader(c), nil)
			do(t, err)
			do(t, response.Body.Close())
			if response.StatusCode != http.StatusUnauthorized {
				t.Fatal(response.Status)
			}
		}
		begin := time.Now()
		do(t, s.Shutdown(context.Background()))
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	// A client whose connection was accepted cannot know that the server stops.
	t.Run("answers the first request of a connection that was accepted before", func(t *testing.T) {
		entered, release, route := slow()
		s := newServer(t, route)
		go func() { s.ask("GET", "/slow", "") }() // the drain lasts
		<-entered
		late, err := net.Dial("tcp", s.address)
		do(t, err)
		defer func() { _ = late.Close() }()
		s.awaitConnections(2)
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		s.awaitRefusal()
		_, err = io.WriteString(late, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		do(t, err)
		expectAnswer(t, bufio.NewReader(late), 200)
		close(release)
		do(t, <-done)
	})
	t.Run("is final", func(t *testing.T) {
		s := newServer(t)
		do(t, s.Shutdown(context.Background()))
		l, err := net.Listen("tcp", "127.0.0.1:0")
		do(t, err)
		do(t, s.Serve(l))
		if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
			t.Error("it serves again")
		}
	})
}
