package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"tokend/config"
)

// listen takes the sockets that systemd hands over and opens the configured
// addresses that are not among them, all or none. The default address is for a
// server that has no other.
func listen(c config.Config) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(listeners)
		}
	}()
	if listeners, err = inherited(c); err != nil {
		return listeners, err
	}
	addresses := c.Listen
	if addresses == nil && len(listeners) == 0 {
		addresses = []string{config.DefaultListen}
	}
	handedOver := len(listeners)
	for _, address := range addresses {
		if slices.ContainsFunc(listeners[:handedOver], func(l net.Listener) bool { return isAt(l.Addr(), address) }) {
			continue
		}
		l, err := listenOn(address, c.UnixSockets)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// inherited are the sockets that systemd opened for us (sd_listen_fds(3)). They
// stay open in systemd when we close them, so that connections wait there while
// we restart.
func inherited(c config.Config) (listeners []net.Listener, err error) {
	opened, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("the sockets from systemd cannot be used: %w", err)
	}
	for i, l := range opened {
		if l == nil {
			return listeners, fmt.Errorf("socket %d from systemd is not a stream socket that listens; a .socket unit opens them with ListenStream=", i+1)
		}
		listeners = append(listeners, l)
		if err := c.CheckInherited(l.Addr()); err != nil {
			return listeners, err
		}
	}
	return listeners, nil
}

// isAt reports whether a listener is at a configured address.
func isAt(listener net.Addr, address string) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listener.Network() == "unix" && listener.String() == path
	}
	at, err := net.ResolveTCPAddr("tcp", address) // an IP address or localhost
	tcp, ok := listener.(*net.TCPAddr)
	return err == nil && ok && tcp.Port == at.Port && sameIP(tcp.IP, at.IP)
}

// sameIP takes all addresses of the machine for the same, however they are
// written.
func sameIP(a, b net.IP) bool {
	isAll := func(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }
	return a.Equal(b) || isAll(a) && isAll(b)
}

func listenOn(address string, sockets config.UnixSockets) (net.Listener, error) {
	network := "tcp"
	path, isSocket := strings.CutPrefix(address, "unix:")
	if isSocket {
		network, address = "unix", path
		if err := clearSocket(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen(network, address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, &hintedError{
			fmt.Errorf("%s is in use by another process", address),
			"perhaps another tokend runs already; choose another address with --listen",
		}
	case err != nil:
		return nil, fmt.Errorf("cannot listen: %w", err)
	case isSocket:
		if err := giveSocket(path, sockets); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// giveSocket makes a socket that we opened its configured owner's.
func giveSocket(path string, sockets config.UnixSockets) error {
	uid, gid := -1, -1 // as they are
	if sockets.Owner != "" {
		var err error
		if uid, err = userNumber(sockets.Owner); err != nil {
			return fmt.Errorf("unix_sockets.owner: %w", err)
		}
	}
	if sockets.Group != "" {
		var err error
		if gid, err = groupNumber(sockets.Group); err != nil {
			return fmt.Errorf("unix_sockets.group: %w", err)
		}
	}
	// Until here it is for us alone, by our umask.
	if err := os.Chown(path, uid, gid); err != nil {
		return &hintedError{
			fmt.Errorf("the socket cannot be given to %s: %w", cmp.Or(sockets.Owner, sockets.Group), err),
			"only root gives a socket to another user, and others give it to a group they belong to; a .socket unit of systemd can do both",
		}
	}
	return os.Chmod(path, sockets.FileMode())
}

// userNumber is a user's number, by his name or as it stands.
func userNumber(name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(n), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no user %q here", name)
	}
	return strconv.Atoi(u.Uid)
}

func groupNumber(name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q here", name)
	}
	return strconv.Atoi(g.Gid)
}

// clearSocket takes away what a server that was killed left behind, a socket
// that nobody listens on, and refuses anything else in its place.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("cannot listen: %s exists and is not a socket", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return c.Close() // somebody listens, as net.Listen will say
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}
