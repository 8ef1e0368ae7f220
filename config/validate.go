package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate says what is wrong with a configuration, all of it at once. Each
// line of the error names the key and the way out.
func (c Config) Validate() error {
	return errors.Join(slices.Concat(
		c.validateListen(),
		c.validateAllowedHosts(),
		c.validateAdminSocket(),
		c.validateMetrics(),
		c.UnixSockets.validate(),
		c.TLS.validate(),
		c.Audit.validate(),
		c.Token.validate(),
		c.Timeouts.validate(),
		c.Limits.validate(),
		c.Store.validate(),
		c.Log.validate(),
		validateAdmins(c.Admins),
		required("data_dir", c.DataDir),
	)...)
}

func required(key, value string) []error {
	if value == "" {
		return []error{fmt.Errorf("%s is empty", key)}
	}
	return nil
}

// Enabled reports whether there is a certificate.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// Covers reports whether a listener speaks TLS: one of TCP, on loopback only
// where that is wanted.
func (t TLS) Covers(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && t.Enabled() && (t.Loopback || !tcp.IP.IsLoopback())
}

func (t TLS) validate() (errs []error) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		errs = append(errs, errors.New("tls: cert_file and key_file belong together"))
	}
	if t.ClientCAFile != "" && t.CertFile == "" {
		errs = append(errs, errors.New("tls.client_ca_file: without tls.cert_file there is no TLS"))
	}
	return errs
}

func (a Audit) validate() (errs []error) {
	if !a.Enabled && (a.File != "" || a.Required) {
		errs = append(errs, errors.New("audit: file and required mean nothing while enabled is false"))
	}
	return errs
}

var socketMode = regexp.MustCompile(`^0?[0-7]{3}$`)

func (u UnixSockets) validate() []error {
	if !socketMode.MatchString(u.Mode) {
		return []error{fmt.Errorf("unix_sockets.mode: %q is not an octal mode such as \"0660\"", u.Mode)}
	}
	return nil
}

// FileMode is the mode, in a validated configuration.
func (u UnixSockets) FileMode() fs.FileMode {
	mode, err := strconv.ParseUint(u.Mode, 8, 9)
	if err != nil {
		panic("config: FileMode of a mode that was not validated")
	}
	return fs.FileMode(mode)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func (c Config) validateAllowedHosts() (errs []error) {
	for _, host := range c.AllowedHosts {
		if !hostName.MatchString(host) {
			errs = append(errs, fmt.Errorf("allowed_hosts: %q is not the name of a host, without scheme and port", host))
		}
	}
	return errs
}

// Nobody is the number that the kernel shows for users that it cannot tell: never
// an administrator.
const Nobody = 65534

func (c Config) validateAdminSocket() (errs []error) {
	switch path := c.AdminSocket; {
	case path == "" && len(c.AdminUsers) > 0:
		errs = append(errs, errors.New("admin_users: there is no admin_socket on which they could be administrators"))
	case strings.HasPrefix(path, "unix:"), strings.HasPrefix(path, "@"):
		errs = append(errs, fmt.Errorf("admin_socket: %q is not a path such as /run/tokend/admin.sock", path))
	case path != "" && slices.Contains(c.Listen, "unix:"+path):
		errs = append(errs, fmt.Errorf("admin_socket: %q is in listen too; applications and proxies must use another socket", path))
	}
	for _, user := range c.AdminUsers {
		if user == "" || user == "nobody" || user == strconv.Itoa(Nobody) {
			errs = append(errs, fmt.Errorf("admin_users: %q cannot be an administrator", user))
		}
	}
	return errs
}

var tokenPrefix = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

func (t Token) validate() []error {
	if !tokenPrefix.MatchString(t.Prefix) {
		return []error{fmt.Errorf("token.prefix: %q is not 1 to 16 of a-z and 0-9", t.Prefix)}
	}
	return nil
}

func (t Timeouts) validate() (errs []error) {
	for _, timeout := range []struct {
		key   string
		value Duration
	}{
		{"header", t.Header}, {"body", t.Body}, {"write", t.Write}, {"idle", t.Idle}, {"shutdown", t.Shutdown},
	} {
		if wrong := timeout.value.Wrong; wrong != "" {
			errs = append(errs, fmt.Errorf("timeouts.%s: %q is not a duration such as \"10s\" or \"2m\"", timeout.key, wrong))
		} else if d := timeout.value.Duration; d < 10*time.Millisecond || d > 24*time.Hour {
			errs = append(errs, fmt.Errorf("timeouts.%s: %v is not between 10ms and 24h", timeout.key, d))
		}
	}
	return errs
}

func (l Limits) validate() (errs []error) {
	for _, limit := range []struct {
		key   string
		value int
	}{
		{"max_connections", l.MaxConnections}, {"max_management", l.MaxManagement},
	} {
		if limit.value < 1 || limit.value > 1<<20 {
			errs = append(errs, fmt.Errorf("limits.%s: %d is not between 1 and %d", limit.key, limit.value, 1<<20))
		}
	}
	return errs
}

func (s Store) validate() []error {
	if s.MaxIndexedTokens < 0 || s.MaxIndexedTokens > 1e9 {
		return []error{fmt.Errorf("store.max_indexed_tokens: %d is not between 0 and 1000000000", s.MaxIndexedTokens)}
	}
	return nil
}

func (l Log) validate() (errs []error) {
	return slices.Concat(
		oneOf("log.level", l.Level, "debug", "info", "warn", "error"),
		oneOf("log.format", l.Format, "text", "json"))
}

func oneOf(key, value string, allowed ...string) []error {
	if !slices.Contains(allowed, value) {
		return []error{fmt.Errorf("%s: %q is not one of %s", key, value, strings.Join(allowed, ", "))}
	}
	return nil
}

var adminName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// AdminTokenFile is what the audit calls whoever uses the token of that file.
const AdminTokenFile = "admin_token_file"

func validateAdmins(admins []Admin) (errs []error) {
	names, hashes := map[string]bool{}, map[string]bool{}
	for i, admin := range admins {
		refuse := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("admin %d: "+format, append([]any{i + 1}, args...)...))
		}
		hash, err := admin.hash()
		switch {
		case !adminName.MatchString(admin.Name):
			refuse("name: %q is not 1 to 64 of A-Z, a-z, 0-9 and . _ @ -", admin.Name)
		case admin.Name == AdminTokenFile:
			refuse("name: %q means whoever has the token of admin_token_file", admin.Name)
		case names[admin.Name]:
			refuse("name: %q is there twice", admin.Name)
		case err != nil:
			refuse("token_sha256: %w", err)
		case hashes[string(hash[:])]:
			refuse("token_sha256: another admin has the same")
		}
		names[admin.Name], hashes[string(hash[:])] = true, true
	}
	return errs
}

// hash is the SHA-256 of the admin's token. The error does not repeat the text,
// which may be the token itself, put there by mistake.
func (a Admin) hash() (hash [32]byte, err error) {
	decoded, err := hex.DecodeString(a.TokenSHA256)
	if err != nil || len(decoded) != len(hash) {
		return hash, errors.New("it is not 64 hexadecimal digits (tokend keygen admin prints both a token and its hash)")
	}
	return [32]byte(decoded), nil
}

// Hash is the SHA-256 of the admin's token, in a validated configuration.
func (a Admin) Hash() [32]byte {
	hash, err := a.hash()
	if err != nil {
		panic("config: Hash of an admin that was not validated")
	}
	return hash
}
