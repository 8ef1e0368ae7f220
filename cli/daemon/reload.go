package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"tokend/api"
	"tokend/config"
)

// reload takes up the configuration and the files that it names as they are now,
// all of it or nothing.
func (s *service) reload() {
	if s.systemd.ending.Load() {
		return
	}
	s.systemd.reloading()
	err := s.tryReload()
	s.metrics.Reloaded(time.Now(), err == nil)
	if err != nil {
		s.log.Error("the reload was refused; nothing has changed", "err", err)
		s.systemd.remark.Store("; the last reload was refused, see the log")
	} else {
		s.log.Info("reloaded")
		s.systemd.remark.Store("")
	}
	s.systemd.ready()
}

func (s *service) tryReload() error {
	c, err := s.load()
	if err != nil {
		return err
	}
	if keys := s.current().NeedRestart(c); len(keys) > 0 {
		return fmt.Errorf("%s can only change with a restart", strings.Join(keys, ", "))
	}
	if err := s.listeners.check(c); err != nil { // as at a start
		return err
	}
	prepared, err := s.prepare(c)
	if err != nil {
		return err
	}
	if err := s.chmodAdminSocket(c); err != nil {
		return errors.Join(err, prepared.drop())
	}
	s.apply(prepared)
	return nil
}

// prepared is all that a reload changes, ready to be taken up without a failure.
type prepared struct {
	config    config.Config
	settings  api.Settings
	tls       *tls.Config
	auditFile *os.File // nil: none
}

// drop closes what will not be taken up.
func (p *prepared) drop() error {
	if p.auditFile == nil {
		return nil
	}
	return p.auditFile.Close()
}

// prepare reads what a configuration names. It changes nothing.
func (s *service) prepare(c config.Config) (*prepared, error) {
	data := *s.data
	if err := data.readAdminAgain(c); err != nil {
		return nil, err
	}
	admins, err := admins(c, &data)
	if err != nil {
		return nil, err
	}
	p := &prepared{config: c, settings: api.Settings{
		Admins:       admins,
		AllowedHosts: c.AllowedHosts,
		Timeouts: api.Timeouts{
			Header: c.Timeouts.Header.Duration,
			Body:   c.Timeouts.Body.Duration,
			Write:  c.Timeouts.Write.Duration,
			Idle:   c.Timeouts.Idle.Duration,
		},
		MaxConnections: connectionLimit(c.Limits.MaxConnections, s.log),
		MaxManagement:  c.Limits.MaxManagement,
		AccessLog:      c.Log.Access,
		MetricsToken:   c.Metrics.Token,
	}}
	if p.settings.LocalAdmins, err = LocalAdmins(c); err != nil {
		return nil, err
	}
	if p.tls, err = loadTLS(c.TLS); err != nil {
		return nil, err
	}
	if c.Audit.Enabled {
		p.settings.Audit = api.Audit{Handler: newHandler(c.Log, s.logSink, IsJournal(s.stderr), slog.LevelInfo), Required: c.Audit.Required}
	}
	if c.Audit.File != "" {
		if p.auditFile, err = openAuditFile(c.Audit.File); err != nil {
			return nil, err
		}
		p.settings.Audit.Handler = newFormat(c.Log, s.auditSink, nil)
	}
	return p, nil
}

// apply makes what was prepared that in force.
func (s *service) apply(p *prepared) {
	s.mu.Lock()
	s.config = p.config
	s.mu.Unlock()
	s.level.Set(levelOf(p.config.Log))
	s.certificates.current.Store(p.tls)
	if p.auditFile != nil {
		s.auditFile.use(p.auditFile) // before it is written to
	}
	s.server.Apply(p.settings) // requests under way may still write to the file before
}

// chmodAdminSocket gives the admin socket, if we opened it, the mode for those who may be
// administrators. Who they are is decided for each request.
func (s *service) chmodAdminSocket(c config.Config) error {
	own, ok := s.listeners.own[c.AdminSocket]
	if !ok || adminSocketMode(c) == adminSocketMode(s.current()) {
		return nil
	}
	return own.chmod(config.UnixSockets{Mode: adminSocketMode(c)}.FileMode())
}

// admins are all who may manage tokens. Nobody may be two of them: it would
// depend on the order what they may do.
func admins(c config.Config, data *DataDir) ([]api.Admin, error) {
	var all []api.Admin
	if data.adminTokenFile != "" {
		all = append(all, api.Admin{Name: config.AdminTokenFile, SHA256: data.adminToken, Write: true})
	}
	for _, admin := range c.Admins {
		if data.adminTokenFile != "" && admin.Hash() == data.adminToken {
			return nil, fmt.Errorf("admin %q has the token of %s; give each its own token", admin.Name, data.adminTokenFile)
		}
		all = append(all, api.Admin{Name: admin.Name, SHA256: admin.Hash(), Write: admin.Write})
	}
	return all, nil
}

// connectionLimit is the configured one, or less where the system does not give us the
// memory or the file descriptors for it.
func connectionLimit(configured int, log *slog.Logger) int {
	return limitByFiles(limitByMemory(configured, log), log)
}

// limitByMemory leaves the connections a quarter of what the process may have, and enough
// of them to serve at all.
func limitByMemory(configured int, log *slog.Logger) int {
	const (
		each   = 32 << 10 // bytes: two buffers and a stack
		fewest = 64
	)
	possible := max(fewest, debug.SetMemoryLimit(-1)/4/each)
	if int64(configured) <= possible {
		return configured
	}
	log.Warn("limits.max_connections is lowered to what the limit of memory allows", "max_connections", possible, "configured", configured)
	return int(possible)
}

func limitByFiles(configured int, log *slog.Logger) int {
	const others = 256 // the store's files, listeners, refused connections
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || uint64(configured)+others <= limit.Cur { //nolint:gosec // validated
		return configured
	}
	possible := int(limit.Cur / 4) //nolint:gosec // below configured
	if limit.Cur > 2*others {
		possible = int(limit.Cur - others) //nolint:gosec // below configured
	}
	log.Warn("limits.max_connections is lowered to what the limit of open files allows",
		"max_connections", possible, "configured", configured, "open_files", limit.Cur)
	return possible
}
