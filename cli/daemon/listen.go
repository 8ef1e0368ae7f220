package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"tokend/config"
	"tokend/internal/hint"
)

// listeners are all that a server listens on.
type listeners struct {
	open    []net.Listener
	admins  net.Listener // on which users are administrators by their user; nil: none
	metrics net.Listener // on which nothing else is; nil: none
	own     map[string]ownSocket
}

func (ls *listeners) all() []net.Listener {
	all := slices.Clone(ls.open)
	for _, l := range []net.Listener{ls.admins, ls.metrics} {
		if l != nil {
			all = append(all, l)
		}
	}
	return all
}

func (ls *listeners) close() {
	for _, l := range ls.all() {
		_ = l.Close()
	}
	for _, socket := range ls.own {
		socket.remove()
	}
}

// listen takes the sockets that systemd hands over and opens the configured
// addresses that are not among them, all or none. The default address is for a
// server that has no other.
func listen(c config.Config) (ls *listeners, err error) {
	ls = &listeners{own: map[string]ownSocket{}}
	defer func() {
		if err != nil {
			ls.close()
		}
	}()
	if ls.open, err = inherited(); err != nil {
		return ls, err
	}
	handedOver := slices.Clone(ls.open)
	if c.AdminSocket != "" {
		if ls.admins, err = ls.setApart("unix:"+c.AdminSocket, config.UnixSockets{Mode: adminSocketMode(c)}); err != nil {
			return ls, err
		}
	}
	if c.Metrics.Listen != "" {
		if ls.metrics, err = ls.setApart(c.Metrics.Listen, c.UnixSockets); err != nil {
			return ls, err
		}
	}
	if err := ls.check(c); err != nil {
		return ls, err
	}
	addresses := c.Listen
	if addresses == nil && len(ls.open) == 0 {
		addresses = []string{config.DefaultListen}
	}
	for _, address := range addresses {
		if slices.ContainsFunc(handedOver, func(l net.Listener) bool { return isAt(l.Addr(), address) }) {
			continue
		}
		l, err := ls.listenOn(address, c.UnixSockets)
		if errors.Is(err, syscall.EADDRINUSE) && len(handedOver) > 0 {
			return ls, hint.New(err, "perhaps a socket of systemd has the port: systemctl cat tokend.socket shows them")
		}
		if err != nil {
			return ls, err
		}
		ls.open = append(ls.open, l)
	}
	if len(ls.open) == 0 {
		return ls, errors.New("listen: no address is left; one of its own is needed beside admin_socket and metrics.listen")
	}
	return ls, nil
}

// check says what is against serving at the addresses that systemd gave, one of
// which may stand for more than the configured one. Those that are opened as
// configured may be.
func (ls *listeners) check(c config.Config) error {
	checked := ls.open
	if ls.metrics != nil && c.Metrics.Token {
		checked = append(slices.Clip(checked), ls.metrics)
	}
	for _, l := range checked {
		if err := c.CheckInherited(l.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// setApart takes a listener out of those that are open, or opens it.
func (ls *listeners) setApart(address string, sockets config.UnixSockets) (net.Listener, error) {
	if i := slices.IndexFunc(ls.open, func(l net.Listener) bool { return isAt(l.Addr(), address) }); i >= 0 {
		l := ls.open[i]
		ls.open = slices.Delete(ls.open, i, i+1)
		return l, nil
	}
	return ls.listenOn(address, sockets)
}

// adminSocketMode lets in those who may be administrators: root always may, and
// whoever else it is, the kernel tells the server.
func adminSocketMode(c config.Config) string {
	if len(c.AdminUsers) > 0 {
		return "0666"
	}
	return "0600"
}

// LocalAdmins are the users, by their numbers, who are administrators on the admin socket.
func LocalAdmins(c config.Config) (map[uint32]string, error) {
	users := map[uint32]string{0: "root"}
	for _, name := range c.AdminUsers {
		number, err := userNumber(name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("admin_users: %w", err)
		case number == config.Nobody:
			return nil, fmt.Errorf("admin_users: %q is nobody and cannot be an administrator", name)
		}
		users[uint32(number)] = name //nolint:gosec // a user's number has 32 bits
	}
	return users, nil
}

// inherited are the sockets that systemd opened for us (sd_listen_fds(3)). They
// stay open in systemd when we close them, so that connections wait there while
// we restart.
func inherited() (all []net.Listener, err error) {
	opened, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot use the sockets from systemd: %w", err)
	}
	for i, l := range opened {
		if l == nil || !isListening(l) {
			return all, fmt.Errorf("socket %d from systemd is not a stream socket that listens; a .socket unit opens them with ListenStream=", i+1)
		}
		all = append(all, l)
	}
	return all, nil
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

// sameIP also takes all addresses of the machine, [::], for those of IPv4.
func sameIP(listener, configured net.IP) bool {
	isAll := listener.IsUnspecified() && listener.To4() == nil
	return listener.Equal(configured) || isAll && (configured == nil || configured.IsUnspecified())
}

// isListening tells a socket of streams that listens from others.
func isListening(l net.Listener) bool {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	listening := false
	err = raw.Control(func(fd uintptr) {
		accepts, err1 := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		kind, err2 := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		listening = err1 == nil && err2 == nil && accepts == 1 && kind == unix.SOCK_STREAM
	})
	return err == nil && listening
}

func (ls *listeners) listenOn(address string, sockets config.UnixSockets) (net.Listener, error) {
	network := "tcp"
	path, isSocket := strings.CutPrefix(address, "unix:")
	if isSocket {
		network, address = "unix", path
		if err := clearSocket(path); err != nil {
			return nil, err
		}
	} else if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().Is4() {
		network = "tcp4" // or 0.0.0.0 would be all of IPv6 too
	}
	l, err := net.Listen(network, address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, hint.New(
			&inUseError{address},
			"perhaps another tokend runs already; choose another address with --listen")
	case err != nil:
		return nil, fmt.Errorf("cannot listen: %w", err)
	case isSocket:
		l.(*net.UnixListener).SetUnlinkOnClose(false) // the path may lead elsewhere then
		own, err := ownedSocket(path)
		if err == nil {
			ls.own[path] = own
			err = own.give(sockets)
		}
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// inUseError is an address that somebody else has.
type inUseError struct{ address string }

func (e *inUseError) Error() string { return e.address + " is in use by another process" }

func (*inUseError) Unwrap() error { return syscall.EADDRINUSE }
