// Package api is tokend over HTTP: it turns requests into operations of the
// store, and what those return into answers. The routes are data (routes.go);
// one adapter (handle.go) does for all of them what must never be forgotten:
// framing, authorization, limits, decoding, errors, request ids, metrics.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"tokend/metrics"
)

// Limits of what a client may send. The contract has them, so they are no
// matter of configuration.
const (
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10
)

// Config is what a server needs, and needs as long as it lives.
type Config struct {
	Store   Store
	Metrics *metrics.Metrics
	Build   metrics.Build
	Log     *slog.Logger
	Now     func() time.Time

	// Rekey reads the master keys again and seals the store with the first of them, if it is
	// not. It fails with a MasterKeyError or an error of the store.
	Rekey func(context.Context) (changed bool, err error)

	// MetricsApart leaves /metrics to ServeMetrics.
	MetricsApart bool
}

// Settings are what may change while a server serves. A request or connection
// that has begun may see the old or the new ones, each of them whole.
type Settings struct {
	Admins         []Admin
	LocalAdmins    map[uint32]string // users by their number, for ServeAdmins
	AllowedHosts   []string          // beside localhost and IP addresses, for the pages that need no token
	Timeouts       Timeouts
	MaxConnections int // on listeners for all; at most 1<<20
	MaxManagement  int // requests of management under way
	Audit          Audit
	AccessLog      bool // every request goes to Log
	MetricsToken   bool // a scrape needs an issued token
}

// Timeouts bound how long a client may take.
type Timeouts struct {
	Header time.Duration // for a request's first line and headers
	Body   time.Duration // for a request's body, from the end of its headers
	Write  time.Duration // for each piece of an answer
	Idle   time.Duration // for a connection between requests
}

// Server answers requests. New makes one.
type Server struct {
	store        Store
	metrics      *metrics.Metrics
	build        metrics.Build
	log          *slog.Logger
	now          func() time.Time
	rekeyStore   func(context.Context) (changed bool, err error)
	metricsApart bool

	requests         requestPool
	settings         *atomic.Pointer[Settings]
	router           *router.Router
	http             *fasthttp.Server
	connections      connections
	overload         overload
	scraping         sync.Mutex
	scraper          fasthttp.RequestHandler
	broken           *metrics.Route
	state            state
	anonymousLimiter anonymousLimiter

	mu        sync.Mutex
	listeners []net.Listener
	accepting sync.WaitGroup // listeners that are being served
}

// New makes a server that is not serving yet.
func New(c Config, settings Settings) *Server {
	s := &Server{
		store:        c.Store,
		metrics:      c.Metrics,
		build:        c.Build,
		log:          c.Log,
		now:          c.Now,
		rekeyStore:   c.Rekey,
		metricsApart: c.MetricsApart,
		settings:     &atomic.Pointer[Settings]{},
		overload:     newOverload(),
	}
	s.Apply(settings)
	s.connections = connections{
		settings:  s.settings,
		metrics:   c.Metrics,
		log:       c.Log,
		lingering: make(chan struct{}, maxLingering(settings.MaxConnections)),

		complained: map[listenerRole]time.Time{},
	}
	s.scraper = fasthttpadaptor.NewFastHTTPHandler(c.Metrics.Handler(c.Log))
	s.broken = c.Metrics.Route(otherMethod, "(malformed)", fasthttp.StatusBadRequest)
	s.router = s.newRouter()
	s.http = &fasthttp.Server{
		Handler:        s.router.Handler,
		ErrorHandler:   s.refuse,
		HeaderReceived: s.headerReceived,

		// Its log quotes requests, Authorization and all.
		Logger: discard{},

		// Our connections keep the limit of their number, which comes first, and
		// all time-outs.
		ConnState: func(c net.Conn, state fasthttp.ConnState) {
			if c, ok := c.(*connection); ok {
				c.onState(state)
			}
		},
		Concurrency:    1<<20 + maxWatchers + 1,
		ReadBufferSize: maxHeaderBytes, // also the limit

		// The adapter reads bodies, once it knows who asks for what. Before it
		// fasthttp waits for this many bytes.
		StreamRequestBody:  true,
		MaxRequestBodySize: 1,

		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		LazyRequestTime:              true, // the adapter looks at the clock itself
	}
	return s
}

// Apply makes settings those in force.
func (s *Server) Apply(settings Settings) {
	s.settings.Store(&settings)
	s.metrics.ConnectionsLimit.Set(float64(settings.MaxConnections))
}

// detached is the context of a change. It does not end with the connection or the server: what
// was begun is carried out, and answered. How long one waits for the disk is the store's.
var detached = context.Background()

type discard struct{}

func (discard) Printf(string, ...any) {}

// Serve answers requests that come in on a listener, until Shutdown, which
// closes it. It may be called for several listeners at once.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, public) }

// ServeAdmins is Serve for a Unix socket on which the users in LocalAdmins are
// administrators without a token.
func (s *Server) ServeAdmins(l net.Listener) error { return s.serve(l, adminSocket) }

// ServeMetrics is Serve for /metrics and the state of health, and nothing else. It
// has connections of its own, so that who watches sees a crowd on the others.
func (s *Server) ServeMetrics(l net.Listener) error { return s.serve(l, metricsOnly) }

// listenerRole is what a listener is for.
type listenerRole int

const (
	public      listenerRole = iota
	adminSocket              // for all, and its peers may be administrators by who they are
	metricsOnly              // for those who watch
)

func (s *Server) serve(l net.Listener, role listenerRole) error {
	if !s.register(l) {
		return l.Close()
	}
	defer s.accepting.Done()
	if err := s.http.Serve(s.connections.listen(l, role)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// register is false once the server is stopping.
func (s *Server) register(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.is(draining) {
		return false
	}
	s.listeners = append(s.listeners, l)
	s.accepting.Add(1)
	return true
}

// Ready says that everything is open. Until then /readyz answers 503.
func (s *Server) Ready() { s.state.set(ready) }

// Shutdown stops accepting, answers the first request of connections that were
// accepted a moment ago, closes those that wait for another request, and waits
// until the requests under way are answered. When ctx ends first it cuts the rest
// off. No request is being handled any more once it returns nil.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.state.set(draining)
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.accepting.Wait()
	s.connections.stop(ctx)
	_ = s.http.ShutdownWithContext(ctx) // our own count says how it went
	if s.connections.wait(ctx) == nil {
		return nil
	}
	s.log.Warn("requests are cut off: they took longer than timeouts.shutdown", "connections", s.connections.count())
	s.connections.closeAll()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return s.connections.wait(last)
}

// headerReceived starts the clock for a request's body.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() > 0 || h.ContentLength() == chunked {
		return fasthttp.RequestConfig{ReadTimeout: s.settings.Load().Timeouts.Body}
	}
	return fasthttp.RequestConfig{}
}

// chunked is fasthttp's ContentLength for a body in chunks.
const chunked = -1

// state is what the process is doing.
type state struct{ v atomic.Int32 }

const (
	starting int32 = iota
	ready
	draining
)

func (s *state) set(v int32) { s.v.Store(v) }

func (s *state) is(v int32) bool { return s.v.Load() == v }
