package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"tokend/config"
	"tokend/internal/hint"
)

// ownSocket is a Unix socket that we opened. Its path may lead elsewhere later.
type ownSocket struct {
	path string
	info fs.FileInfo
}

func ownedSocket(path string) (ownSocket, error) {
	info, err := os.Lstat(path)
	return ownSocket{path, info}, err
}

// change does something to the socket by a path that leads to it and nowhere
// else.
func (s ownSocket) change(change func(path string) error) error {
	file, err := os.OpenFile(s.path, unix.O_PATH|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("cannot change the socket: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err == nil && !os.SameFile(info, s.info) {
		err = fmt.Errorf("%s is no longer the socket that was opened here; a restart opens it again", s.path)
	}
	if err != nil {
		return err
	}
	return change(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
}

func (s ownSocket) chmod(mode fs.FileMode) error {
	return s.change(func(path string) error { return os.Chmod(path, mode) })
}

// remove takes away the path if it still leads to the socket.
func (s ownSocket) remove() {
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.info) {
		_ = os.Remove(s.path)
	}
}

// give makes the socket its configured owner's.
func (s ownSocket) give(sockets config.UnixSockets) error {
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
	// Until here only this user may use it, by the umask.
	if uid != -1 || gid != -1 { // a sandbox may forbid even to ask
		if err := s.change(func(path string) error { return os.Chown(path, uid, gid) }); err != nil {
			return hint.New(
				fmt.Errorf("cannot give the socket to %s: %w", cmp.Or(sockets.Owner, sockets.Group), err),
				"only root may, and not tokend.service; with systemd, a .socket unit does it")
		}
	}
	return s.chmod(sockets.FileMode())
}

// userNumber is a user's number, by name or as it stands.
func userNumber(name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && n < 1<<32-1 {
		return int(n), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no user %q here", name)
	}
	return strconv.Atoi(u.Uid)
}

func groupNumber(name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && n < 1<<32-1 {
		return int(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q here", name)
	}
	return strconv.Atoi(g.Gid)
}

// clearSocket removes what a killed server left, a socket
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
