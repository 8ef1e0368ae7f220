package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"go.uber.org/goleak"

	"tokend/api"
	"tokend/kv"
	"tokend/kv/kvtest"
	"tokend/metrics"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		// fasthttp's clock runs as long as the process does; its pools of workers
		// look only every ten seconds whether they were stopped.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const (
	adminToken  = "admin-token-for-tests-0123456789abcdef"
	readerToken = "reader-token-for-tests-0123456789abcdef"
)

// server is a real server on a real socket with a real store.
type server struct {
	*api.Server
	t       testing.TB
	store   *kvtest.Store
	log     *logBuffer
	address string
	client  *http.Client

	settings api.Settings // as it was made
	Metrics  *metrics.Metrics
	free     atomic.Uint64 // bytes on the disk
}

// newServer starts a server. Each adjustment may change its store, its
// configuration, its listener, or the server itself before it serves.
func newServer(t testing.TB, adjust ...any) *server {
	t.Helper()
	s := &server{t: t, log: &logBuffer{}, client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}}
	s.free.Store(1 << 40)
	s.store = kvtest.New(t, func(o *kv.Options) {
		o.MinFreeBytes = 1 << 20
		o.FreeBytes = func(string) (uint64, error) { return s.free.Load(), nil }
	})
	for _, a := range adjust {
		if f, ok := a.(func(*kvtest.Store)); ok {
			f(s.store)
		}
	}
	c := api.Config{
		Store:   s.store.Store,
		Metrics: metrics.New(metrics.Build{}),
		Build:   metrics.Build{Version: "1.2.3", Revision: "abc", Go: "go1"},
		Log:     slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:     s.store.Clock.Now,
	}
	s.settings = api.Settings{
		Admins: []api.Admin{
			{Name: "admin", SHA256: sha256.Sum256([]byte(adminToken)), Write: true},
			{Name: "reader", SHA256: sha256.Sum256([]byte(readerToken))},
		},
		Timeouts:       api.Timeouts{Header: 5 * time.Second, Body: 5 * time.Second, Write: 5 * time.Second, Idle: time.Minute},
		MaxConnections: 1000,
		MaxManagement:  500,
	}
	for _, a := range adjust {
		if f, ok := a.(func(*api.Config)); ok {
			f(&c)
		}
		if f, ok := a.(func(*api.Settings)); ok {
			f(&s.settings)
		}
	}
	s.Metrics = c.Metrics
	s.Server = api.New(c, s.settings)
	for _, a := range adjust {
		if f, ok := a.(func(*api.Server)); ok {
			f(s.Server)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	do(t, err)
	for _, a := range adjust {
		if f, ok := a.(func(net.Listener) net.Listener); ok {
			l = f(l)
		}
	}
	s.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	s.Ready()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		do(t, s.Shutdown(context.Background()))
		do(t, <-served)
		s.expectNoSecret()
	})
	return s
}

// expectNoSecret holds for every test, of the log and the metrics: no credential and no
// value.
func (s *server) expectNoSecret() {
	s.t.Helper()
	kvtest.ExpectNoSecret(s.t, "the log", []byte(s.log.String()), adminToken, readerToken, "tkd_")
	scrape := httptest.NewRecorder()
	s.Metrics.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	kvtest.ExpectNoSecret(s.t, "the metrics", scrape.Body.Bytes(), adminToken, readerToken, "tkd_")
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// data is the objects of a successful answer.
func (a answer) data(t testing.TB) []map[string]any {
	t.Helper()
	var decoded struct{ Data []map[string]any }
	if err := json.Unmarshal([]byte(a.body), &decoded); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return decoded.Data
}

func (a answer) problem(t testing.TB) (p problem) {
	t.Helper()
	if a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("the content type of a problem is %q", a.header.Get("Content-Type"))
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return p
}

type problem struct {
	Type, Title, Code, Detail, Field string
	Status                           int
	RequestID                        string `json:"request_id"`
}

// ask sends a request as the write admin and holds the answer against
// openapi.yaml.
func (s *server) ask(method, target, body string, headers ...string) answer {
	s.t.Helper()
	return s.askAs("Bearer "+adminToken, method, target, body, headers...)
}

// askAs is ask with another Authorization header, or none.
func (s *server) askAs(authorization, method, target, body string, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.address+target, strings.NewReader(body))
	do(s.t, err)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	response, err := s.client.Do(r)
	do(s.t, err)
	content, err := io.ReadAll(response.Body)
	do(s.t, err)
	do(s.t, response.Body.Close())
	a := answer{response.StatusCode, response.Header, string(content)}
	s.expectConventions(r, a)
	return a
}

// expectConventions holds what is true of every answer.
func (s *server) expectConventions(r *http.Request, a answer) {
	s.t.Helper()
	if a.header.Get("X-Request-Id") == "" {
		s.t.Error("no X-Request-Id")
	}
	if strings.HasPrefix(r.URL.Path, "/_/") && a.header.Get("Cache-Control") != "no-store" {
		s.t.Errorf("Cache-Control is %q", a.header.Get("Cache-Control"))
	}
	if a.status >= 400 || r.URL.Path == "/_/backup" {
		kvtest.ExpectNoSecret(s.t, fmt.Sprintf("%s %s: the answer", r.Method, r.URL.Path), []byte(a.body), adminToken, readerToken)
	}
	for name := range a.header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Server" {
			s.t.Errorf("the header %s is sent", name)
		}
	}
	if a.status >= 400 && r.Method != http.MethodHead && a.header.Get("Content-Type") == "application/problem+json" {
		p := a.problem(s.t)
		if p.Type != "about:blank" || p.Status != a.status || p.Title == "" || p.Detail == "" || p.RequestID != a.header.Get("X-Request-Id") {
			s.t.Errorf("an incomplete problem: %s", a.body)
		}
	}
	s.expectDocumented(r, a)
}

func init() {
	for _, kind := range []string{"text/html", "application/x-ndjson"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.PlainBodyDecoder)
	}
}

// documented finds the description of a request in openapi.yaml.
var documented = sync.OnceValues(func() (routers.Router, error) {
	d, err := openapi3.NewLoader().LoadFromData([]byte(api.Document))
	if err != nil {
		return nil, err
	}
	d.Servers = nil // any host
	return legacy.NewRouter(d)
})

// expectDocumented holds an answer against openapi.yaml. What is no route is
// described there in words only.
func (s *server) expectDocumented(r *http.Request, a answer) {
	s.t.Helper()
	if !slices.Contains(api.RouteKeys(), [2]string{r.Method, r.URL.EscapedPath()}) {
		return
	}
	router, err := documented()
	do(s.t, err)
	route, params, err := router.FindRoute(r)
	do(s.t, err)
	err = openapi3filter.ValidateResponse(s.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 a.status,
		Header:                 a.header,
		Body:                   io.NopCloser(strings.NewReader(a.body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		s.t.Errorf("%s %s: the answer is not as documented: %v\n%s", r.Method, r.URL, err, a.body)
	}
}

// raw sends bytes as they are and gives all bytes that come back.
func (s *server) raw(request string) string {
	s.t.Helper()
	return s.exchange(request, false)
}

// exchange is raw, after which it may close its half of the connection.
func (s *server) exchange(request string, half bool) string {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address)
	do(s.t, err)
	defer func() { _ = c.Close() }()
	do(s.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(c, request)
	do(s.t, err)
	if half {
		do(s.t, c.(*net.TCPConn).CloseWrite())
	}
	all, err := io.ReadAll(c)
	if err != nil {
		return fmt.Sprintf("%s(%v)", all, err)
	}
	return string(all)
}

// create makes a token and gives its value.
func (s *server) create(body string) (value string) {
	s.t.Helper()
	a := s.ask("POST", "/_/token", body)
	if a.status != http.StatusCreated {
		s.t.Fatal(a.body)
	}
	return a.data(s.t)[0]["token"].(string)
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func do(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
