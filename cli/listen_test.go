package cli_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// handOver gives a process sockets as systemd does (sd_listen_fds(3)).
func (p *process) handOver(sockets ...*os.File) {
	p.Cmd.ExtraFiles = sockets
	p.runBehind(fmt.Sprintf("export LISTEN_PID=$$ LISTEN_FDS=%d", len(sockets)))
}

// opened is a listening socket as systemd holds it: it outlives the server.
func opened(t *testing.T, network, address string) (*os.File, net.Addr) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	file, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file, l.Addr()
}

func TestInheritedSockets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tcp, address := opened(t, "tcp", "127.0.0.1:0")
	unix, _ := opened(t, "unix", filepath.Join(dir, "tokend.sock"))

	t.Run("are served, and a configured one that is among them is not opened again", func(t *testing.T) {
		p := newProcess(t, dir, "--data-dir", filepath.Join(dir, "data"), "--listen", "unix:"+filepath.Join(dir, "tokend.sock"), "--listen", address.String())
		p.handOver(tcp, unix)
		p.start() // which asks the Unix socket
		expectHealth(t, address, http.StatusOK)
		p.Stop()
		if _, err := os.Stat(filepath.Join(dir, "tokend.sock")); err != nil {
			t.Errorf("the socket of systemd is gone: %v", err)
		}
	})
	t.Run("take the default address's place", func(t *testing.T) {
		p := newProcess(t, dir, "--data-dir", filepath.Join(dir, "data"))
		p.handOver(tcp, unix)
		p.start()
		p.Stop()
		if got := strings.Count(p.Log.String(), "msg=serving"); got != 2 || strings.Contains(p.Log.String(), "8470") {
			t.Errorf("%d listeners:\n%s", got, &p.Log)
		}
	})
	t.Run("stand beside others", func(t *testing.T) {
		p := newProcess(t, dir, "--data-dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
		p.handOver(unix)
		p.start()
		p.Stop()
		if got := strings.Count(p.Log.String(), "msg=serving"); got != 2 {
			t.Errorf("%d listeners:\n%s", got, &p.Log)
		}
	})
	t.Run("one in the admin socket's place is that one", func(t *testing.T) {
		p := newProcess(t, dir, "--config", filepath.Join(dir, "config.toml"))
		content := fmt.Sprintf("data_dir = %q\nadmin_socket = %q\n", filepath.Join(dir, "data"), filepath.Join(dir, "admin.sock"))
		if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		admin, at := opened(t, "unix", filepath.Join(dir, "admin.sock"))
		p.handOver(unix, admin)
		p.start()
		for path, want := range map[string]int{at.String(): http.StatusOK, filepath.Join(dir, "tokend.sock"): http.StatusUnauthorized} {
			if os.Geteuid() != 0 {
				want = http.StatusUnauthorized
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}}}
			response, err := client.Get("http://localhost/_/token")
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s: status %d, want %d", path, response.StatusCode, want)
			}
		}
		p.Stop()
		if _, err := os.Stat(at.String()); err != nil {
			t.Errorf("the socket of systemd is gone: %v", err)
		}
	})
	t.Run("are refused where the network could listen", func(t *testing.T) {
		everywhere, address := opened(t, "tcp", ":0")
		p := newProcess(t, dir, "--data-dir", filepath.Join(dir, "none"))
		p.handOver(everywhere)
		if err := p.Cmd.Run(); err == nil {
			t.Error("it serves")
		}
		if want := `error: a socket of systemd: "` + address.String() + `" is not a loopback address`; !strings.Contains(p.Log.String(), want) {
			t.Errorf("%s\nwant %s", &p.Log, want)
		}
	})
	t.Run("for metrics without a token may be in the network's reach", func(t *testing.T) {
		everywhere, address := opened(t, "tcp4", "0.0.0.0:0")
		_, port, err := net.SplitHostPort(address.String())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ more, want string }{
			{"", ""},
			{"token = true\n", `a socket of systemd: "0.0.0.0:` + port + `" is not a loopback address`},
		} {
			p := newProcess(t, dir, "--config", filepath.Join(dir, "config.toml"))
			content := fmt.Sprintf("data_dir = %q\n[metrics]\nlisten = \"0.0.0.0:%s\"\n%s", filepath.Join(dir, "data"), port, c.more)
			content = strings.Replace(content, "[metrics]", "allow_plaintext = false\n[metrics]", 1)
			if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			p.handOver(unix, everywhere)
			if c.want == "" {
				p.start()
				if status, _, err := p.ask("GET", "/metrics", ""); err != nil || status != http.StatusNotFound {
					t.Errorf("metrics are elsewhere too: %d %v", status, err)
				}
				p.Stop()
				continue
			}
			if err := p.Cmd.Run(); err == nil || !strings.Contains(p.Log.String(), "plain text") {
				t.Errorf("%v: %s\nwant %s", err, &p.Log, c.want)
			}
		}
	})
	t.Run("for metrics alone leave no address for the rest", func(t *testing.T) {
		p := newProcess(t, dir, "--config", filepath.Join(dir, "config.toml"))
		content := fmt.Sprintf("listen = [%q]\ndata_dir = %q\n[metrics]\nlisten = \"localhost:%s\"\n",
			address, filepath.Join(dir, "none"), strings.TrimPrefix(address.String(), "127.0.0.1:"))
		if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		p.handOver(tcp)
		if err := p.Cmd.Run(); err == nil {
			t.Error("it serves")
		}
		if want := "error: listen: no address is left"; !strings.Contains(p.Log.String(), want) {
			t.Errorf("%s\nwant %s", &p.Log, want)
		}
	})
	t.Run("must listen", func(t *testing.T) {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		p := newProcess(t, dir, "--data-dir", filepath.Join(dir, "none"))
		p.handOver(file)
		if err := p.Cmd.Run(); err == nil {
			t.Error("it serves")
		}
		if want := "error: socket 1 from systemd is not a stream socket that listens"; !strings.Contains(p.Log.String(), want) {
			t.Errorf("%s\nwant %s", &p.Log, want)
		}
	})
}

func expectHealth(t *testing.T, address net.Addr, status int) {
	t.Helper()
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}).Get("http://" + address.String() + "/healthz")
	if err != nil {
		t.Error(err)
		return
	}
	_ = response.Body.Close()
	if response.StatusCode != status {
		t.Errorf("status %d, want %d", response.StatusCode, status)
	}
}

// Who restarts a server with sockets of systemd loses no connection: those that
// come meanwhile wait, and those that came are answered.
func TestRestart_losesNoConnection(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tcp, address := opened(t, "tcp", "127.0.0.1:0")
	unix, _ := opened(t, "unix", filepath.Join(dir, "tokend.sock"))
	start := func() *process {
		p := newProcess(t, dir, "--data-dir", filepath.Join(dir, "data"))
		p.handOver(tcp, unix)
		p.start()
		return p
	}
	p := start()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				expectHealth(t, address, http.StatusOK)
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	for range 5 {
		time.Sleep(50 * time.Millisecond)
		p.Stop()
		p = start()
	}
	close(stop)
	clients.Wait()
	p.Stop()
}

func TestUnixSocket_owner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a socket away")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "tokend.sock")
	configFile := filepath.Join(dir, "config.toml")
	serve := func(sockets string) *process {
		content := fmt.Sprintf("listen = [%q]\ndata_dir = %q\n[unix_sockets]\n%s\n", "unix:"+socket, filepath.Join(dir, "data"), sockets)
		if err := os.WriteFile(configFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return newProcess(t, dir, "--config", configFile)
	}
	p := serve(`owner = "daemon"` + "\n" + `group = "4242"` + "\n" + `mode = "0620"`)
	p.start()
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	const daemon = 1 // in every Linux
	stat := info.Sys().(*syscall.Stat_t)
	if stat.Uid != daemon || stat.Gid != 4242 || info.Mode().Perm() != 0o620 {
		t.Errorf("%d:%d %v", stat.Uid, stat.Gid, info.Mode())
	}
	p.Stop()

	p = serve(`group = "no-such-group"`)
	if err := p.Cmd.Run(); err == nil || !strings.Contains(p.Log.String(), `error: unix_sockets.group: there is no group "no-such-group" here`) {
		t.Errorf("%v:\n%s", err, &p.Log)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is left behind")
	}
}
