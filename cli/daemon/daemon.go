// Package daemon is the running server: the order of its start and its end, what a reload
// changes, what it listens on, and what it tells systemd. It alone knows how the parts of the
// server fit together.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"tokend/api"
	"tokend/config"
	"tokend/internal/hint"
	"tokend/kv"
	"tokend/metrics"
)

// service is a server between its start and its end.
type service struct {
	load      func() (config.Config, error) // as it is configured now
	build     metrics.Build
	data      *DataDir
	listeners *listeners
	log       *slog.Logger
	stderr    io.Writer
	logSink   *sink // to stderr
	auditSink *sink // to auditFile
	systemd   *sdNotifier
	metrics   *metrics.Metrics

	// What a reload changes.
	mu           sync.Mutex
	config       config.Config
	level        slog.LevelVar
	certificates certificates
	auditFile    auditFile
	server       *api.Server
}

func newService(c config.Config, o Options) *service {
	s := &service{
		load:    o.Load,
		build:   o.Build,
		data:    &DataDir{Path: filepath.Clean(c.DataDir)},
		stderr:  o.Stderr,
		logSink: newSink(o.Stderr),
		metrics: metrics.New(o.Build),
	}
	s.auditSink = newSink(&s.auditFile)
	s.level.Set(levelOf(c.Log))
	s.log = slog.New(newHandler(c.Log, s.logSink, IsJournal(o.Stderr), &s.level))
	limitMemory(s.log)
	return s
}

// Options say how a server runs.
type Options struct {
	// Load reads the configuration, at the start and at each reload.
	Load func() (config.Config, error)

	Build  metrics.Build
	Stderr io.Writer // the log, and what a first start says
}

// Run serves until the context ends, a signal ends it, or a listener fails. Then requests under
// way are answered, and what was opened is closed in the reverse order: the store, the
// listeners, the lock of the folder.
func Run(ctx context.Context, o Options) (err error) {
	c, err := o.Load()
	if err != nil {
		return err
	}
	PrepareProcess()
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP) // one that comes during the start is for later
	s := newService(c, o)

	// A folder that is there is locked first, so that of two servers only one
	// touches the sockets; one that is missing is made last, so that a busy
	// address leaves nothing behind.
	defer s.data.Close()
	if err := s.data.LockExisting(); err != nil {
		return err
	}
	if s.listeners, err = listen(c); err != nil {
		return err
	}
	defer s.listeners.close()
	if err := s.data.open(c); err != nil {
		return err
	}
	prepared, err := s.prepare(c)
	if err != nil {
		return err
	}
	store, err := s.openStore(c)
	if err != nil {
		return errors.Join(err, prepared.drop())
	}
	defer func() {
		err = errors.Join(err, store.Close())
		if err == nil {
			s.log.Info("stopped")
		}
	}()

	s.server = api.New(api.Config{
		Store:        store,
		Metrics:      s.metrics,
		Build:        s.build,
		Log:          s.log,
		Now:          time.Now,
		Rekey:        func(ctx context.Context) (bool, error) { return s.rekey(ctx, store) },
		MetricsApart: s.listeners.metrics != nil,
	}, prepared.settings)
	s.apply(prepared)
	s.metrics.Reloaded(time.Now(), true)
	s.metrics.RegisterSnapshot(func() metrics.Snapshot { return s.state(store) })
	s.systemd = &sdNotifier{log: s.log, status: func() string { return s.status(store) }}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go s.systemd.watch(watching, func() error { return store.Ping(watching) })
	return s.run(ctx, hangUps)
}

// run serves until SIGTERM, SIGINT or a listener's failure, and then stops. A
// second signal ends the process at once. SIGHUP reloads.
func (s *service) run(ctx context.Context, hangUps <-chan os.Signal) error {
	ending, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	failed := make(chan error, len(s.listeners.all()))
	serve := func(l net.Listener, serve func(net.Listener) error) {
		if s.config.TLS.Covers(l.Addr()) {
			l = s.certificates.listen(l)
		}
		go func() { failed <- serve(l) }()
	}
	for _, l := range s.listeners.open {
		serve(l, s.server.Serve)
	}
	if l := s.listeners.admins; l != nil {
		serve(l, s.server.ServeAdmins)
	}
	if l := s.listeners.metrics; l != nil {
		serve(l, s.server.ServeMetrics)
	}
	s.sayReady()
	go func() { // apart, since a file may be one that blocks
		for range hangUps {
			s.reload()
		}
	}()
	var err error
	select {
	case <-ending.Done():
	case err = <-failed:
	}
	stop()
	s.systemd.stopping()
	s.log.Info("stopping")
	limited, cancel := context.WithTimeout(context.Background(), s.current().Timeouts.Shutdown.Duration)
	defer cancel()
	return errors.Join(err, s.server.Shutdown(limited))
}

// current is the configuration that is in force.
func (s *service) current() config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// sayReady tells the operator, systemd, probes and a newcomer.
func (s *service) sayReady() {
	c := s.current()
	s.server.Ready()
	for _, l := range s.listeners.all() {
		s.log.Info("serving", "listen", addressOf(l.Addr()), "tls", c.TLS.Covers(l.Addr()), "data_dir", c.DataDir, "version", s.build.Version)
	}
	s.systemd.ready()
	switch {
	case !s.data.firstStart:
	case IsJournal(s.stderr):
		s.log.Info("this was the first start: there is a new, empty store; keep a copy of the master key apart from the data",
			"master_key_file", s.data.MasterKeyFile, "admin_token_file", s.data.adminTokenFile)
	default:
		first := s.listeners.open[0].Addr()
		welcome(s.logSink, s.data, first, c.TLS.Covers(first))
	}
}

// status is the service in one line.
func (s *service) status(store *kv.Store) string {
	var addresses []string
	for _, l := range s.listeners.all() {
		addresses = append(addresses, addressOf(l.Addr()))
	}
	line := "serving at " + strings.Join(addresses, ", ") + "; version " + s.build.Version
	if n, known := store.Census(); known {
		line = humanize.Comma(int64(n.Total())) + " " + english.PluralWord(n.Total(), "token", "") + ", " + line
	}
	if err := store.Writable(); err != nil {
		line += "; takes no changes: " + err.Error()
	}
	return line
}

func addressOf(address net.Addr) string {
	if address.Network() == "unix" {
		return "unix:" + address.String()
	}
	return address.String()
}

func (s *service) openStore(c config.Config) (*kv.Store, error) {
	defer wipe(s.data.MasterKeys) // the store keeps what it needs
	store, err := kv.Open(kv.Options{
		Dir:          s.data.StorePath(),
		MasterKeys:   s.data.MasterKeys,
		TokenPrefix:  c.Token.Prefix,
		MinFreeBytes: c.Store.MinFreeBytes,
		MaxIndexed:   c.Store.MaxIndexedTokens,
		OnCommit:     s.metrics.Committed,
		Log:          s.log,
	})
	if errors.Is(err, kv.ErrWrongKey) {
		err = hint.New(
			fmt.Errorf("%w: %s", err, s.data.MasterKeyFile),
			"add the key that the store was made with as a line of that file")
	}
	if errors.Is(err, kv.ErrCorrupt) {
		err = hint.New(err, fmt.Sprintf("tokend check --data-dir %s reports all damage; tokend restore makes a store from a backup", hint.Quote(s.data.Path)))
	}
	if err != nil {
		return nil, err
	}
	if c.Store.MinFreeBytes < kv.DefaultMinFreeBytes {
		s.log.Warn("store.min_free_bytes is less than the database may still have to write: a disk that fills up may end the process",
			"min_free_bytes", c.Store.MinFreeBytes, "default", kv.DefaultMinFreeBytes)
	}
	if err := store.Writable(); err != nil {
		s.log.Warn("changes are refused until this is mended", "err", err)
	}
	return store, nil
}
