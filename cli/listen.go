package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
)

// listen opens every address, or none.
func listen(addresses []string) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(listeners)
		}
	}()
	for _, address := range addresses {
		l, err := listenOn(address)
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

func listenOn(address string) (net.Listener, error) {
	network := "tcp"
	path, isSocket := strings.CutPrefix(address, "unix:")
	if isSocket {
		network, address = "unix", path
		removeStaleSocket(path)
	}
	l, err := net.Listen(network, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &hintedError{
			fmt.Errorf("%s is in use by another process", address),
			"perhaps another tokend runs already; choose another address with --listen",
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	if isSocket {
		// The owner and the group, as for a file of the service.
		if err := os.Chmod(path, 0o660); err != nil { //nolint:gosec // connecting needs write permission
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// removeStaleSocket takes away what a server that was killed left behind: a
// socket that nobody listens on.
func removeStaleSocket(path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
		return
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path)
	}
}
