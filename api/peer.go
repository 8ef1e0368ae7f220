package api

import (
	"fmt"
	"net"
	"strings"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// peer is who is at the other end of a Unix socket, as the kernel knows it since
// the connection was made (SO_PEERCRED, unix(7)).
type peer struct {
	known bool
	uid   uint32
	pid   int32
}

// nobody is what the kernel shows for users that our user namespace does not
// have: anybody.
const nobody = 65534

func peerOf(c net.Conn) peer {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return peer{}
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return peer{}
	}
	var p peer
	err = raw.Control(func(fd uintptr) {
		if credentials, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p = peer{true, credentials.Uid, credentials.Pid}
		}
	})
	if err != nil {
		return peer{}
	}
	return p
}

// from is where a request comes from, for the log.
func (r *request) from() string {
	if c := r.connection(); c != nil && c.peer.known {
		return fmt.Sprintf("uid=%d,pid=%d", c.peer.uid, c.peer.pid)
	}
	return r.ctx.RemoteAddr().String()
}

// authorizePeer lets pass an administrator who is known by their user: one of the
// configured users, on the socket for them, and not through a proxy.
func (s *Server) authorizePeer(r *request) error {
	c := r.connection()
	if c == nil || c.role != adminSocket {
		return errUnauthorized
	}
	name, ok := s.settings.Load().LocalAdmins[c.peer.uid]
	if !ok || !c.peer.known || c.peer.uid == nobody || isForwarded(&r.ctx.Request.Header) {
		return errNotLocalAdmin
	}
	r.admin = Admin{Name: name, Write: true, Local: true}
	return nil
}

// isForwarded reports whether a proxy says that it passes a request on for
// somebody else (RFC 7239; RFC 9110, section 7.6.3).
func isForwarded(h *fasthttp.RequestHeader) bool {
	for name := range h.All() {
		lower := strings.ToLower(string(name))
		if lower == "forwarded" || lower == "via" || strings.HasPrefix(lower, "x-forwarded-") {
			return true
		}
	}
	return false
}
