package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

func (c Config) validateListen() (errs []error) {
	if c.Listen != nil && len(c.Listen) == 0 {
		errs = append(errs, errors.New("listen is empty: give at least one address"))
	}
	for i, address := range c.Listen {
		switch loopback, err := parseListen(address); {
		case slices.Contains(c.Listen[:i], address):
			errs = append(errs, fmt.Errorf("listen: %q is there twice", address))
		case err != nil:
			errs = append(errs, fmt.Errorf("listen: %q %w", address, err))
		case !loopback && !c.TLS.Enabled():
			errs = append(errs, c.checkPlaintext("listen", address))
		}
	}
	return errs
}

// CheckInherited says what is against serving at the address of a socket that
// another process opened for us.
func (c Config) CheckInherited(address net.Addr) error {
	if tcp, ok := address.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !c.TLS.Enabled() {
		return c.checkPlaintext("a socket of systemd", address.String())
	}
	return nil
}

// checkPlaintext says what is against an address that other machines can reach.
func (c Config) checkPlaintext(what, address string) error {
	if c.AllowPlaintext {
		return nil
	}
	return fmt.Errorf("%s: %q is not a loopback address, so tokens would cross the network in plain text: "+
		"set tls.cert_file and tls.key_file, put a proxy that speaks TLS in front, or set allow_plaintext = true where the network is trusted", what, address)
}

func (c Config) validateMetrics() []error {
	address := c.Metrics.Listen
	if address == "" {
		return nil
	}
	loopback, err := parseListen(address)
	switch {
	case err != nil:
		return []error{fmt.Errorf("metrics.listen: %q %w", address, err)}
	case slices.Contains(c.Listen, address), c.Listen == nil && address == DefaultListen:
		return []error{fmt.Errorf("metrics.listen: %q is in listen too; leave metrics.listen empty to have the metrics there", address)}
	case address == "unix:"+c.AdminSocket:
		return []error{fmt.Errorf("metrics.listen: %q is admin_socket too; give the metrics a socket of their own", address)}
	case c.Metrics.Token && !loopback && !c.TLS.Enabled():
		if err := c.checkPlaintext("metrics.listen", address); err != nil {
			return []error{fmt.Errorf("%w, or metrics.token = false", err)}
		}
	}
	return nil
}

// parseListen checks an address and says whether only this machine can reach
// it.
func parseListen(address string) (loopback bool, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" || path[0] == '@' { // an abstract socket has no permissions
			return false, errors.New("has no path: unix:/run/tokend/tokend.sock, for example")
		}
		return true, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, errors.New("is not host:port or unix:PATH")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false, fmt.Errorf("has the port %q; 0 to 65535 are allowed", port)
	}
	if host == "localhost" {
		return true, nil
	}
	if host == "" {
		return false, nil // every address of the machine
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false, fmt.Errorf("has the host %q; an IP address or localhost is expected", host)
	}
	return ip.IsLoopback(), nil
}
