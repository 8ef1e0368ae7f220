package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tokend/cli/daemon"
	"tokend/client"
	"tokend/config"
	"tokend/internal/hint"
)

// systemConfig is where a server that runs as a service has its configuration.
const systemConfig = "/etc/tokend/config.toml"

// clientFlags say where the server is and who asks. What they leave open is found
// in the environment, in the server's configuration, or is the server's default.
type clientFlags struct {
	addr           string
	adminTokenFile string
	config         string
	allowPlaintext bool
}

func (f *clientFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.addr, "addr", "", "`address` of the server, a URL or unix:PATH (default TOKEND_ADDR, or as configured)")
	flags.StringVar(&f.adminTokenFile, "admin-token-file", "", "`file` with the admin token (default TOKEND_ADMIN_TOKEN_FILE, or as configured)")
	flags.StringVar(&f.config, "config", "", "the server's configuration `file` (default "+systemConfig+" where there is one)")
	flags.BoolVar(&f.allowPlaintext, "allow-plaintext", false, "speak plain HTTP to another machine")
}

// connect gives a client with an admin token, or on the admin socket without one.
func (f *clientFlags) connect() (*server, error) {
	address, err := f.address(adminAddress)
	if err != nil {
		return nil, err
	}
	source := cmp.Or(f.adminTokenFile, os.Getenv("TOKEND_ADMIN_TOKEN_FILE"))
	if source == "" {
		configured, err := f.serverConfig()
		if err != nil {
			return nil, err
		}
		if configured.AdminSocket != "" && address == "unix:"+configured.AdminSocket {
			return f.client(address, "", "") // where the server knows who we are
		}
		source = cmp.Or(configured.AdminTokenFile, filepath.Join(configured.DataDir, "admin.token"))
	}
	if _, err := f.client(address, "", ""); err != nil { // what is wrong with the address is said first
		return nil, err
	}
	token, err := config.ReadClientToken(source)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, hint.New(fmt.Errorf("cannot read the admin token: %w", err), "try sudo, or name one of your own with --admin-token-file or TOKEND_ADMIN_TOKEN_FILE")
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint.New(fmt.Errorf("the admin token is not there: %w", err), "the server makes it at its first start, in its data folder; --admin-token-file or TOKEND_ADMIN_TOKEN_FILE says where it is")
	case err != nil:
		return nil, fmt.Errorf("admin token: %w", err)
	}
	return f.client(address, token, source)
}

// connectAnonymous gives a client without a token, for what needs none.
func (f *clientFlags) connectAnonymous() (*server, error) {
	address, err := f.address(func(configured config.Config) string {
		at := address(configured)
		if strings.HasPrefix(at, "https://") { // whose certificate is for another name than this machine has for itself
			at = adminAddress(configured)
		}
		return at
	})
	if err != nil {
		return nil, err
	}
	return f.client(address, "", "")
}

func (f *clientFlags) client(address, token, source string) (*server, error) {
	c, err := client.New(address, client.Options{Token: token, AllowPlaintext: f.allowPlaintext, UserAgent: "tokend/" + build().Version})
	if _, ok := errors.AsType[*client.AddressError](err); ok {
		return nil, &usageError{err}
	}
	if _, ok := errors.AsType[*client.PlaintextError](err); ok {
		return nil, hint.New(err, "use https://, or --allow-plaintext where the network is trusted")
	}
	return &server{c, source}, err
}

// address is that of the server that was named, or else of the one on this machine.
func (f *clientFlags) address(of func(config.Config) string) (string, error) {
	if address := cmp.Or(f.addr, os.Getenv("TOKEND_ADDR")); address != "" {
		return address, nil
	}
	configured, err := f.serverConfig()
	if err != nil {
		return "", err
	}
	return of(configured), nil
}

// serverConfig is what the server on this machine is configured with.
func (f *clientFlags) serverConfig() (config.Config, error) {
	if f.config != "" {
		return config.Load(f.config)
	}
	c, err := config.Load(systemConfig)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return config.Default(), nil
	case errors.Is(err, fs.ErrPermission):
		err = hint.New(err, "try sudo, or give --addr and --admin-token-file")
	}
	return c, err
}

// adminAddress is where a server takes us for an administrator, if it does, or else
// its address. A socket that a killed server left is nobody's.
func adminAddress(server config.Config) string {
	if server.AdminSocket == "" || !isLocalAdmin(server) {
		return address(server)
	}
	c, err := net.DialTimeout("unix", server.AdminSocket, 5*time.Second)
	if err != nil {
		return address(server)
	}
	_ = c.Close()
	return "unix:" + server.AdminSocket
}

func isLocalAdmin(server config.Config) bool {
	users, err := daemon.LocalAdmins(server)
	_, ok := users[uint32(os.Geteuid())] //nolint:gosec // a user's number has 32 bits
	return err == nil && ok
}

// address is the best of a server's addresses: a Unix socket, where nobody else
// can listen in its place, or else the first.
func address(server config.Config) string {
	for _, address := range server.Listen {
		if strings.HasPrefix(address, "unix:") {
			return address
		}
	}
	first := config.DefaultListen
	if len(server.Listen) > 0 {
		first = server.Listen[0]
	}
	scheme := "http://"
	if at, err := net.ResolveTCPAddr("tcp", first); err == nil && server.TLS.Covers(at) {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(first)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
		return scheme + net.JoinHostPort(host, port)
	}
	return scheme + first
}

// completeNames offers the names of tokens to a shell. It stays silent where it
// cannot.
func (f *clientFlags) completeNames(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	c, err := f.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	names, _, err := c.names(ctx, begun, 100)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	// A shell evaluates what it is offered, so it is not offered what means
	// something to it.
	names = slices.DeleteFunc(names, func(name string) bool { return hint.Quote(name) != name })
	return names, cobra.ShellCompDirectiveNoFileComp
}
