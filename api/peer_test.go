package api_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"tokend/api"
)

// serveAdmins opens a second listener, for administrators by who they are.
func (s *server) serveAdmins() (path string) {
	s.t.Helper()
	path = filepath.Join(s.t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	do(s.t, err)
	go func() { _ = s.ServeAdmins(l) }() // until the server shuts down
	return path
}

// askSocket sends a request with headers and gives the status.
func askSocket(t *testing.T, path, request, headers string) int {
	t.Helper()
	c, err := net.Dial("unix", path)
	do(t, err)
	defer func() { do(t, c.Close()) }()
	_, err = io.WriteString(c, request+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+headers+"\r\n")
	do(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	do(t, err)
	_, err = io.Copy(io.Discard, answer.Body)
	do(t, err)
	do(t, answer.Body.Close())
	return answer.StatusCode
}

// askSocketAs is askSocket as another user: a thread of its own becomes that user.
func askSocketAs(t *testing.T, uid int, path, request string) (status int) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			t.Error(errno)
			return
		}
		status = askSocket(t, path, request, "")
	}()
	<-done
	return status
}

func TestLocalAdmins(t *testing.T) {
	us := uint32(os.Getuid())
	s := newServer(t, func(c *api.Settings) { c.LocalAdmins = map[uint32]string{us: "we"} })
	path := s.serveAdmins()
	const list = "GET /_/token"
	value := s.create(`{"name":"x"}`)

	for _, c := range []struct {
		name, request, headers string
		status                 int
	}{
		{"a list", list, "", 200},
		{"a change", "DELETE /_/token?name=none", "", 404},
		{"a value", "GET /_/token/value?name=x", "", 200},
		{"introspection, as far as its body", "POST /_/token/introspect", "", 400},
		{"a token wins over who asks", list, "Authorization: Bearer " + readerToken + "\r\n", 200},
		{"a wrong token too", list, "Authorization: Bearer wrong-token-0123456789\r\n", 401},
		{"an issued token too", list, "Authorization: Bearer " + value + "\r\n", 403},
		{"a proxy: Forwarded", list, "Forwarded: for=192.0.2.1\r\n", 401},
		{"a proxy: Via", list, "Via: 1.1 proxy\r\n", 401},
		{"a proxy: X-Forwarded-For", list, "X-Forwarded-For: 192.0.2.1\r\n", 401},
		{"a proxy: any other of these, in any case", list, "x-FORWARDED-pREFIX: /\r\n", 401},
		{"a proxy with nothing to say", list, "Via:\r\n", 401},
		{"verification still wants a token", "GET /_/token/verify", "", 401},
		{"a proxy's check still wants a token", "GET /_/auth/read", "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := askSocket(t, path, c.request, c.headers); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
		})
	}
	t.Run("other listeners know no users", func(t *testing.T) {
		expectProblem(t, s.askAs("", "GET", "/_/token", ""), 401, "unauthorized", "")
		another := filepath.Join(t.TempDir(), "tokend.sock")
		l, err := net.Listen("unix", another)
		do(t, err)
		go func() { _ = s.Serve(l) }() // until the server shuts down
		if got := askSocket(t, another, list, ""); got != 401 {
			t.Errorf("status %d", got)
		}
	})
	t.Run("nobody is none, even where he is on the list", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can be nobody")
		}
		do(t, os.Chmod(path, 0o777))
		for folder := filepath.Dir(path); folder != filepath.Clean(os.TempDir()) && folder != "/"; folder = filepath.Dir(folder) {
			do(t, os.Chmod(folder, 0o755))
		}
		changed := s.settings
		changed.LocalAdmins = map[uint32]string{65534: "nobody", 65533: "somebody"}
		s.Apply(changed)
		for uid, want := range map[int]int{65534: 401, 65533: 200} {
			if got := askSocketAs(t, uid, path, list); got != want {
				t.Errorf("user %d: status %d, want %d", uid, got, want)
			}
		}
	})
	t.Run("who is taken off the list is none any more", func(t *testing.T) {
		changed := s.settings
		changed.LocalAdmins = map[uint32]string{us + 1: "another"}
		s.Apply(changed)
		if got := askSocket(t, path, list, ""); got != 401 {
			t.Errorf("status %d", got)
		}
	})
}
