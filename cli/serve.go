package cli

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
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tokend/api"
	"tokend/config"
	"tokend/kv"
	"tokend/metrics"
)

func newServe(name string) *cobra.Command {
	var (
		file  string
		flags config.Config
	)
	cmd := &cobra.Command{
		Use:   name,
		Short: "Serve tokens over HTTP",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configure(cmd, file, flags)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, cmd.ErrOrStderr())
		},
	}
	d := config.Default()
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "configuration `file`; see config.example.toml")
	f.StringArrayVar(&flags.Listen, "listen", nil, "`address` to listen on, host:port or unix:PATH; may be repeated (default "+config.DefaultListen+")")
	f.StringVar(&flags.DataDir, "data-dir", d.DataDir, "`folder` of data, made at the first start")
	f.StringVar(&flags.AdminTokenFile, "admin-token-file", "", "`file` with the admin token (default admin.token in the data folder)")
	f.StringVar(&flags.MasterKeyFile, "master-key-file", "", "`file` with the master key (default master.key in the data folder)")
	return cmd
}

// configure puts the flags that were given over the file, and that over the
// defaults.
func configure(cmd *cobra.Command, file string, flags config.Config) (config.Config, error) {
	c := config.Default()
	if cmd.Flags().Changed("config") {
		var err error
		if c, err = config.Load(file); err != nil {
			return c, err
		}
	}
	given := cmd.Flags().Changed
	if given("listen") {
		c.Listen = flags.Listen
	}
	if given("data-dir") {
		c.DataDir = flags.DataDir
	}
	if given("admin-token-file") {
		c.AdminTokenFile = flags.AdminTokenFile
	}
	if given("master-key-file") {
		c.MasterKeyFile = flags.MasterKeyFile
	}
	return c, c.Validate()
}

// serve runs the server until a signal ends it. What is opened is closed in the
// reverse order, the store last.
func serve(ctx context.Context, c config.Config, stderr io.Writer) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // there is little garbage, so memory is worth more than a rare collection
	}
	syscall.Umask(0o077)           // what Badger makes is for its owner
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more ends nothing
	log := newLog(c.Log, stderr)

	// A folder that is there is locked first, so that of two servers only one
	// touches the sockets; one that is missing is made last, so that a busy
	// address leaves nothing behind.
	data := &dataDir{path: filepath.Clean(c.DataDir)}
	defer data.close()
	if err := data.lockExisting(); err != nil {
		return err
	}
	listeners, err := listen(c)
	if err != nil {
		return err
	}
	defer func() { closeAll(listeners) }()
	if err := data.open(c); err != nil {
		return err
	}
	admins, err := admins(c, data)
	if err != nil {
		return err
	}
	store, err := openStore(c, data, log)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, store.Close())
		if err == nil {
			log.Info("stopped")
		}
	}()

	server := newServer(c, store, admins, log)
	server.Ready()
	for _, l := range listeners {
		log.Info("serving", "listen", l.Addr().String(), "data_dir", c.DataDir, "version", build().Version)
	}
	if data.firstStart {
		welcome(stderr, data, listeners[0].Addr())
	}
	return run(ctx, server, listeners, c.Timeouts.Shutdown.Duration, log)
}

func newServer(c config.Config, store *kv.Store, admins []api.Admin, log *slog.Logger) *api.Server {
	b := build()
	return api.New(api.Config{
		Store:   store,
		Metrics: metrics.New(b, func() bool { return store.Writable() == nil }),
		Build:   b,
		Log:     log,
		Now:     time.Now,
	}, settings(c, admins, log))
}

// settings are what a server may take up while it serves.
func settings(c config.Config, admins []api.Admin, log *slog.Logger) api.Settings {
	return api.Settings{
		Admins:       admins,
		AllowedHosts: c.AllowedHosts,
		Timeouts: api.Timeouts{
			Header: c.Timeouts.Header.Duration,
			Body:   c.Timeouts.Body.Duration,
			Write:  c.Timeouts.Write.Duration,
			Idle:   c.Timeouts.Idle.Duration,
		},
		MaxConnections: connectionLimit(c.Limits.MaxConnections, log),
	}
}

// run serves until SIGTERM, SIGINT, SIGHUP or a listener's failure, and then
// stops. A second signal ends the process at once.
func run(ctx context.Context, server *api.Server, listeners []net.Listener, patience time.Duration, log *slog.Logger) error {
	ends := []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, ends...)
	defer stop()
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	signal.Ignore(syscall.SIGHUP) // a terminal that closes sends it more than once
	log.Info("stopping")
	limited, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(err, server.Shutdown(limited))
}

func openStore(c config.Config, data *dataDir, log *slog.Logger) (*kv.Store, error) {
	store, err := kv.Open(kv.Options{
		Dir:          data.storePath(),
		MasterKeys:   data.masterKeys,
		TokenPrefix:  c.Token.Prefix,
		MinFreeBytes: c.Store.MinFreeBytes,
		MaxIndexed:   c.Store.MaxIndexedTokens,
		Log:          log,
	})
	if errors.Is(err, kv.ErrWrongKey) {
		err = &hintedError{
			fmt.Errorf("%w: %s", err, data.masterKeyFile),
			"the key that the store was made with is needed, as a line of that file",
		}
	}
	return store, err
}

// adminTokenFileName is what the log calls whoever uses the admin token file.
const adminTokenFileName = "admin_token_file"

// admins are all who may manage tokens. Nobody may be two of them: it would
// depend on the order what he may do.
func admins(c config.Config, data *dataDir) ([]api.Admin, error) {
	var all []api.Admin
	if data.adminTokenFile != "" {
		all = append(all, api.Admin{Name: adminTokenFileName, SHA256: data.adminToken, Write: true})
	}
	for _, admin := range c.Admins {
		if data.adminTokenFile != "" && admin.Hash() == data.adminToken {
			return nil, fmt.Errorf("admin %q has the token of %s; give each a token of his own", admin.Name, data.adminTokenFile)
		}
		all = append(all, api.Admin{Name: admin.Name, SHA256: admin.Hash(), Write: admin.Write})
	}
	return all, nil
}

// connectionLimit is the configured one, or less where the system does not give
// us the file descriptors for it.
func connectionLimit(configured int, log *slog.Logger) int {
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

func newLog(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
