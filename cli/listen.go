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
		if err := clearSocket(path); err != nil {
			return nil, err
		}
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
