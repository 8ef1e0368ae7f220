package cli

import (
	"github.com/spf13/cobra"

	"tokend/cli/daemon"
	"tokend/config"
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
			load := func() (config.Config, error) { return configure(cmd, file, flags) }
			return daemon.Run(cmd.Context(), daemon.Options{Load: load, Build: build(), Stderr: cmd.ErrOrStderr()})
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
// credentials of systemd and the defaults.
func configure(cmd *cobra.Command, file string, flags config.Config) (config.Config, error) {
	c := config.Default()
	given := cmd.Flags().Changed
	if given("config") {
		var err error
		if c, err = config.Load(file); err != nil {
			return c, err
		}
	}
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
	if c.AdminTokenFile == "" {
		c.AdminTokenFile = config.Credential("tokend.admin-token")
	}
	if c.MasterKeyFile == "" {
		c.MasterKeyFile = config.Credential("tokend.master-key")
	}
	return c, c.Validate()
}
