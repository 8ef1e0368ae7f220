package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/signal"
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
	f.StringArrayVar(&flags.Listen, "listen", d.Listen, "`address` to listen on, host:port or unix:PATH; may be repeated")
	f.StringVar(&flags.DataDir, "data-dir", d.DataDir, "`folder` of data, made at the first start")
	f.StringVar(&flags.AdminTokenFile, "admin-token-file", "", "`file` with the admin token (default admin.token in the data folder)")
	f.StringVar(&flags.MasterKeyFile, "master-key-file", "", "`file` with the master key (default master.key in the data folder)")
	return cmd
}

// configure puts the flags that were given over the file, and that over the
// defaults.
func configure(cmd *cobra.Command, file string, flags config.Config) (config.Config, error) {
	c := config.Default()
	if file != "" {
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
	syscall.Umask(0o077) // what Badger makes is for its owner
	log := newLog(c.Log, stderr)

	// The addresses come first: a busy one is refused before anything is made.
	listeners, err := listen(c.Listen)
	if err != nil {
		return err
	}
	defer func() { closeAll(listeners) }()
	data, err := openDataDir(c)
	if err != nil {
		return err
	}
	defer data.close()
	store, err := openStore(c, data, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	b := build()
	server := api.New(api.Config{
		Store:        store,
		Metrics:      metrics.New(b, func() bool { return store.Writable() == nil }),
		Build:        b,
		Admins:       admins(c, data),
		AllowedHosts: c.AllowedHosts,
		Timeouts: api.Timeouts{
			Header: time.Duration(c.Timeouts.Header),
			Body:   time.Duration(c.Timeouts.Body),
			Write:  time.Duration(c.Timeouts.Write),
			Idle:   time.Duration(c.Timeouts.Idle),
		},
		MaxConnections: c.Limits.MaxConnections,
		Log:            log,
		Now:            time.Now,
	})
	server.Ready()
	for _, l := range listeners {
		log.Info("serving", "listen", l.Addr().String(), "data_dir", c.DataDir, "version", b.Version)
	}
	if data.firstStart {
		welcome(stderr, data, listeners[0].Addr())
	}
	return run(ctx, server, listeners, time.Duration(c.Timeouts.Shutdown), log)
}

// run serves until SIGTERM, SIGINT or a listener's failure, and then stops. A
// second signal ends the process at once.
func run(ctx context.Context, server *api.Server, listeners []net.Listener, patience time.Duration, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
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

func admins(c config.Config, data *dataDir) []api.Admin {
	var all []api.Admin
	if data.adminTokenFile != "" {
		all = append(all, api.Admin{Name: adminTokenFileName, SHA256: data.adminToken, Write: true})
	}
	for _, admin := range c.Admins {
		all = append(all, api.Admin{Name: admin.Name, SHA256: admin.Hash(), Write: admin.Write})
	}
	return all
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
