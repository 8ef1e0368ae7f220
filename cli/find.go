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

	"tokend/config"
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

// connect gives a client with an admin token.
func (f *clientFlags) connect() (*client, error) {
	c, err := f.reach(adminAddress)
	if err != nil {
		return nil, err
	}
	c.source = cmp.Or(f.adminTokenFile, os.Getenv("TOKEND_ADMIN_TOKEN_FILE"))
	if c.source == "" {
		server, err := f.serverConfig()
		if err != nil {
			return nil, err
		}
		if server.AdminSocket != "" && c.address == "unix:"+server.AdminSocket {
			return c, nil // where the server knows who we are
		}
		c.source = cmp.Or(server.AdminTokenFile, filepath.Join(server.DataDir, "admin.token"))
	}
	c.token, err = config.ReadClientToken(c.source)
	switch {
	case errors.Is(err, fs.ErrPermission):
		err = &hintedError{fmt.Errorf("the admin token cannot be read by you: %w", err), "try sudo, or name one of your own with --admin-token-file or TOKEND_ADMIN_TOKEN_FILE"}
	case errors.Is(err, fs.ErrNotExist):
		err = &hintedError{fmt.Errorf("the admin token is not there: %w", err), "the server makes it at its first start, in its data folder; --admin-token-file or TOKEND_ADMIN_TOKEN_FILE says where it is"}
	case err != nil:
		err = fmt.Errorf("admin token: %w", err)
	}
	return c, err
}

// connectAsNobody gives a client without a token, for what needs none.
func (f *clientFlags) connectAsNobody() (*client, error) {
	return f.reach(func(server config.Config) string {
		at := address(server)
		if strings.HasPrefix(at, "https://") { // whose certificate is for another name than this machine has for itself
			at = adminAddress(server)
		}
		return at
	})
}

// reach gives a client for the server that was named, or else for the one on this
// machine.
func (f *clientFlags) reach(of func(config.Config) string) (*client, error) {
	address := cmp.Or(f.addr, os.Getenv("TOKEND_ADDR"))
	if address == "" {
		server, err := f.serverConfig()
		if err != nil {
			return nil, err
		}
		address = of(server)
	}
	return newClient(address, f.allowPlaintext)
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
		err = &hintedError{err, "try sudo, or give --addr and --admin-token-file"}
	}
	return c, err
}

// adminAddress is where a server takes us for an administrator, if it does, or else
// its address. What a server that was killed left behind is nobody's.
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
	users, err := localAdmins(server)
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

// cause takes what we say ourselves off an error of the system.
func cause(err error) error {
	if syscall, ok := errors.AsType[*os.SyscallError](err); ok {
		return syscall.Err
	}
	return err
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
	names = slices.DeleteFunc(names, func(name string) bool { return shellQuote(name) != name })
	return names, cobra.ShellCompDirectiveNoFileComp
}
