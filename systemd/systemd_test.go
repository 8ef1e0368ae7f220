// Package systemd_test boots a Debian and does with the package what
// administrators do.
package systemd_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokend/kv/kvtest"
)

// build makes a package for this machine and gives its path.
func build(t *testing.T, version string) string {
	t.Helper()
	dist := t.TempDir()
	cmd := exec.Command("make", "packages", "VERSION="+version, "DIST="+dist, "ARCHES="+runtime.GOARCH, "FORMATS=deb")
	cmd.Dir = ".."
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make packages: %v\n%s", err, output)
	}
	return filepath.Join(dist, fmt.Sprintf("tokend_%s_%s.deb", version, runtime.GOARCH))
}

// The life of an installation. Each step stands on those before.
func TestInstallation(t *testing.T) {
	need(t, "make", "debootstrap", "systemd-nspawn", "nsenter")
	previous, present := build(t, "0.0.1~previous"), build(t, "0.0.1")
	m := boot(t)
	m.put(previous, "/root/previous.deb")
	m.put(present, "/root/present.deb")
	step := func(name string, f func(*testing.T)) {
		t.Helper()
		m.t = t
		if !t.Run(name, func(t *testing.T) { m.t = t; f(t) }) {
			t.Fatal("the other steps stand on this one")
		}
		m.t = t
	}

	step("install: it runs, and its status says how it is", func(*testing.T) {
		m.run("apt-get install -y /root/previous.deb")
		m.expect("systemctl is-active tokend.service tokend.socket", "active\nactive\n")
		m.expect("systemctl is-enabled tokend.service tokend.socket", "enabled\nenabled\n")
		m.expect("curl -sS http://127.0.0.1:8470/metrics", "process_start_time_seconds")
		m.awaitOutput("systemctl status tokend", `Status: "0 tokens, serving at`)
		m.expect("systemctl status tokend", "version 0.0.1~previous")
		m.expect("stat -c %U /proc/"+m.pid()+"/fd", "root") // nobody looks into its memory
		m.expect("awk '/^Uid/ {print $2}' /proc/"+m.pid()+"/status | xargs getent passwd", "tokend")
		m.expect("stat -c '%a %U' /var/lib/tokend /run/tokend/admin.sock", "700 tokend\n600 tokend\n")
		m.expect("journalctl -u tokend -o cat", "this was the first start")
	})
	step("call: without a token for root, with one over TCP and a Unix socket", func(*testing.T) {
		m.run("tokend token create backup > /root/backup.token")
		m.expect("tokend token verify < /root/backup.token", "backup: read and write")
		const verify = `sed 's/^/Authorization: Bearer /' /root/backup.token | curl -sS -H @- `
		m.expect(verify+"http://127.0.0.1:8470/_/token/verify", `"name":"backup"`)
		m.expect(verify+"--unix-socket /run/tokend/tokend.sock http://localhost/_/token/verify", `"name":"backup"`)
		m.expect("curl -sS http://127.0.0.1:8470/_/token", `"code":"unauthorized"`)
		m.expect("journalctl -u tokend -o cat", `who=local:root from="uid=0,pid=`)
	})
	step("the sandbox is tight and the units are clean", func(t *testing.T) {
		if output := m.run("systemd-analyze verify tokend.service tokend.socket tokend-backup.service tokend-backup.timer 2>&1"); output != "" {
			t.Errorf("systemd-analyze verify: %s", output)
		}
		verdict := m.run("systemd-analyze security --no-pager tokend.service | tail -1")
		t.Log(strings.TrimSpace(verdict))
		found := regexp.MustCompile(`level for tokend\.service: ([0-9.]+)`).FindStringSubmatch(verdict)
		if found == nil {
			t.Fatalf("no verdict: %s", verdict)
		}
		if exposure, err := strconv.ParseFloat(found[1], 64); err != nil || exposure > 1.2 {
			t.Errorf("exposure %s, at most 1.2 is wanted (%v)", found[1], err)
		}
	})
	step("reload: a good configuration is taken, a bad one is refused and told", func(*testing.T) {
		m.run("cp /etc/tokend/config.toml /root/config.toml")
		m.run(`printf '[log]\naccess = true\n' >> /etc/tokend/config.toml && systemctl reload tokend`)
		m.awaitOutput("journalctl -u tokend -o cat", "msg=reloaded")
		m.run("curl -sS http://127.0.0.1:8470/healthz")
		m.expect("journalctl -u tokend -o cat", "msg=request method=GET route=/healthz status=200")
		m.run(`printf 'listne = 1\n' >> /etc/tokend/config.toml`)
		m.refuse("systemctl reload tokend", "")
		m.expect("journalctl -u tokend -p err -o cat", `unknown key "log.listne"`)
		m.expect("systemctl is-active tokend", "active")
		m.run("tokend token list --addr unix:/run/tokend/admin.sock --config /root/config.toml")
		m.run("cp /root/config.toml /etc/tokend/config.toml && sed -i 's/admin[.]sock/other.sock/' /etc/tokend/config.toml && systemctl reload tokend")
		m.awaitOutput("systemctl status tokend", "the last reload was refused")
		m.expect("journalctl -u tokend -p err -o cat", "admin_socket can only change with a restart")
		m.run("cp /root/config.toml /etc/tokend/config.toml && systemctl reload tokend")
		m.awaitOutput("systemctl is-active tokend", "active")
	})
	step("kill -9: systemd starts it again with all its tokens", func(*testing.T) {
		pid := m.pid()
		m.run("kill -9 " + pid)
		m.await("another process", func() bool { now := m.pid(); return now != "0" && now != pid })
		m.expect("tokend token verify < /root/backup.token", "backup: read and write") // which waits for it
	})
	step("a hang: the watchdog ends it and systemd starts it again", func(*testing.T) {
		m.run(`mkdir -p /etc/systemd/system/tokend.service.d && printf '[Service]\nWatchdogSec=2s\n' > /etc/systemd/system/tokend.service.d/test.conf &&
			systemctl daemon-reload && systemctl restart tokend`)
		pid := m.pid()
		m.run("sleep 5") // it is fed: otherwise it would be another one now
		if now := m.pid(); now != pid {
			m.t.Errorf("process %s has become %s, though it does not hang", pid, now)
		}
		m.run("kill -STOP " + pid)
		m.await("another process", func() bool { now := m.pid(); return now != "0" && now != pid })
		m.expect("journalctl -o cat -t systemd", "tokend.service: Watchdog timeout")
		m.awaitOutput("tokend token verify < /root/backup.token", "backup: read and write")
		m.run("rm -r /etc/systemd/system/tokend.service.d && systemctl daemon-reload && systemctl restart tokend")
	})
	step("restart: who sends a request every 5 ms sees no refused connection", func(t *testing.T) {
		m.underLoad(t, func() {
			for range 20 {
				m.run("systemctl restart tokend")
			}
		})
	})
	step("without the socket unit it opens its addresses itself", func(*testing.T) {
		m.run("systemctl disable --now tokend.socket && systemctl restart tokend")
		m.expect("stat -c %a /run/tokend/tokend.sock", "666")
		m.expect("systemctl is-active tokend.socket || true", "inactive")
		m.expect("curl -sS http://127.0.0.1:8470/readyz", `"ready"`)
		m.run("systemctl stop tokend && systemctl enable --now tokend.socket && systemctl start tokend")
		m.expect("curl -sS --unix-socket /run/tokend/tokend.sock http://localhost/readyz", `"ready"`)
	})
	step("the docs' way to rotate the admin token", func(*testing.T) {
		m.run("cp /var/lib/tokend/admin.token /root/old.token")
		m.follow("Rotate an admin token")
		m.run("cp /var/lib/tokend/admin.token /root/admin.token")
		const list = "sed 's/^/Authorization: Bearer /' /root/%s.token | curl -sS -H @- http://127.0.0.1:8470/_/token"
		m.awaitOutput(fmt.Sprintf(list, "admin"), `"backup"`)
		m.expect(fmt.Sprintf(list, "old"), `"invalid_token"`)
	})
	step("the docs' way to rotate the master key", func(*testing.T) {
		m.run("cp -p /var/lib/tokend/master.key /root/old.key")
		m.follow("Rotate the master key")
		m.run("systemctl restart tokend")
		m.expect("tokend token verify < /root/backup.token", "backup: read and write")
		m.refuse("cmp /root/old.key /var/lib/tokend/master.key", "differ")
		m.expect("wc -l < /var/lib/tokend/master.key", "1\n")
	})
	step("the daily backup, and the docs' way to restore it", func(*testing.T) {
		m.expect("systemctl list-timers --no-pager tokend-backup.timer", "tokend-backup.service")
		m.run("tokend token create restored > /root/restored.token && systemctl start tokend-backup.service")
		m.expect("journalctl -u tokend-backup -o cat", "backed up 2 tokens to /var/backups/tokend/tokend-")
		m.expect("stat -c '%a %U' /var/backups/tokend/*", "600 root\n")
		m.run("tokend token delete restored")
		m.follow("Restore a backup")
		m.awaitOutput("tokend token verify < /root/restored.token", "restored: read and write")
		m.expect("find /var/lib/tokend ! -user tokend | wc -l", "0\n")
		m.run("tokend token delete restored && rm -r /var/lib/tokend/store.old")
	})
	step("the docs' way to keep both as encrypted credentials", func(*testing.T) {
		m.run("cp -p /var/lib/tokend/master.key /root/master.key")
		m.follow("Keep the master key and the admin token out of the data folder")
		m.expect("tokend token verify < /root/backup.token", "backup: read and write")
		m.expect("sed 's/^/Authorization: Bearer /' /root/admin.token | curl -sS -H @- http://127.0.0.1:8470/_/token", `"backup"`)
		m.expect("ls /var/lib/tokend", "store\n")
	})
	step("the docs' way to put it behind TLS", func(t *testing.T) {
		m.certify(t, "/root/cert.pem", "/root/key.pem")
		m.run("cp /root/cert.pem /etc/tokend/ && install -m 640 -g tokend /root/key.pem /etc/tokend/")
		_, listen, _ := strings.Cut(m.block("Put it behind TLS", "toml"), "\n") // behind the file's name
		listen, tls, _ := strings.Cut(listen, "\n")
		shipped := regexp.MustCompile(`(?m)^listen = .*$`).ReplaceAllLiteralString(m.run("cat /root/config.toml"), listen)
		m.write("/etc/tokend/config.toml", shipped+tls)
		m.run("systemctl restart tokend")
		m.expect("curl -sS --cacert /root/cert.pem https://127.0.0.1:8443/healthz", "ok")
		m.expect("curl -sS http://127.0.0.1:8470/healthz", "ok")
		m.expect("tokend token verify < /root/backup.token", "backup: read and write")
		m.run("cp /root/config.toml /etc/tokend/config.toml && systemctl restart tokend")
	})
	step("the audit goes to a file of its own, which can be moved away", func(*testing.T) {
		m.run(`printf '\n[audit]\nfile = "/var/log/tokend/audit.log"\nrequired = true\n' >> /etc/tokend/config.toml && systemctl reload tokend`)
		m.awaitOutput("tokend token list >/dev/null; cat /var/log/tokend/audit.log", "who=local:root")
		m.run("mv /var/log/tokend/audit.log /var/log/tokend/audit.log.1 && systemctl reload tokend")
		m.awaitOutput("tokend token list >/dev/null; cat /var/log/tokend/audit.log", "operation=list outcome=begun")
		m.run("cp /root/config.toml /etc/tokend/config.toml && systemctl reload tokend")
	})
	step("upgrade: the tokens stay, the configuration stays, no connection is refused", func(t *testing.T) {
		m.run(`printf '\n[log]\nlevel = "debug"\n' >> /etc/tokend/config.toml`)
		pid := m.pid()
		m.underLoad(t, func() { m.run("apt-get install -y /root/present.deb") })
		if now := m.pid(); now == pid {
			t.Error("the previous one still runs")
		}
		m.awaitOutput("systemctl status tokend", `Status: "1 token, serving at`)
		m.expect("systemctl status tokend", "version 0.0.1\"")
		m.expect("tail -1 /etc/tokend/config.toml", `level = "debug"`)
		m.expect("tokend token verify < /root/backup.token", "backup: read and write")
	})
	step("no value and no key is in the journal, the store or the backups", func(t *testing.T) {
		kvtest.ExpectNoSecret(t, "the journal", []byte(m.run("journalctl -o cat --no-pager")), strings.TrimSpace(m.run("cat /root/master.key")), strings.TrimSpace(m.run("cat /root/admin.token")))
		for _, folder := range []string{"var/lib/tokend/store", "var/backups/tokend", "var/log/tokend"} {
			kvtest.ExpectNoSecretIn(t, filepath.Join(m.root, folder))
		}
	})
	step("upgrade: what was stopped stays stopped", func(*testing.T) {
		m.run("systemctl stop tokend.socket tokend.service")
		m.run("apt-get install -y --allow-downgrades /root/previous.deb")
		m.expect("systemctl is-active tokend.service tokend.socket || true", "inactive\ninactive\n")
	})
	step("remove keeps the data, and installing again finds it", func(*testing.T) {
		m.run("systemctl start tokend.socket tokend.service && apt-get remove -y tokend")
		m.expect("systemctl is-active tokend.service tokend.socket || true", "inactive\ninactive\n")
		m.expect("ls /var/lib/tokend /etc/tokend", "config.toml")
		m.run("apt-get install -y /root/present.deb")
		m.expect("systemctl is-active tokend.service tokend.socket", "active\nactive\n")
		m.expect("tokend token verify < /root/backup.token", "backup: read and write")
	})
	step("the docs' way to move it to another machine", func(*testing.T) {
		m.run("rm /etc/credstore.encrypted/tokend.* && install -m 600 -o tokend /root/master.key /var/lib/tokend/master.key")
		commands := m.commands("Move it to another machine")
		m.run("cd /root && " + commands[0])
		m.run("apt-get purge -y tokend && apt-get install -y /root/present.deb")
		m.run("cd /root && " + commands[1])
		m.run("cd /root && " + commands[2])
		m.expect("tokend token verify < /root/backup.token", "backup: read and write")
	})
	step("purge removes the data", func(*testing.T) {
		m.run("apt-get purge -y tokend")
		m.run("test ! -e /var/lib/tokend && test ! -e /var/log/tokend && test ! -e /run/tokend")
		m.expect("ls -x /etc/tokend", "cert.pem  key.pem\n") // what the administrator put there is theirs
		m.expect("systemctl list-unit-files 'tokend*' --no-legend --no-pager | wc -l", "0")
	})
}

// block is what stands in the blocks of a kind in a section of docs/operations.md.
func (m *machine) block(section, kind string) (text string) {
	m.t.Helper()
	content, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		m.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "\n## "+section+"\n")
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, part := range strings.Split(rest, "```"+kind+"\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		text += block
	}
	if text == "" {
		m.t.Fatalf("docs/operations.md does not say how to: %s", section)
	}
	return text
}

// commands are those of such a section.
func (m *machine) commands(section string) []string {
	m.t.Helper()
	return strings.Split(strings.TrimSpace(strings.ReplaceAll(m.block(section, "sh"), "sudo ", "")), "\n") // root we are
}

// follow runs them.
func (m *machine) follow(section string) {
	m.t.Helper()
	for _, command := range m.commands(section) {
		m.run(command)
	}
}

// underLoad sends a request every 5 ms over new connections of both kinds while
// something happens. Each must be answered.
func (m *machine) underLoad(t *testing.T, happen func()) {
	t.Helper()
	var (
		clients sync.WaitGroup
		sent    atomic.Int64
	)
	stop := make(chan struct{})
	for network, address := range map[string]string{"tcp": "127.0.0.1:8470", "unix": "/run/tokend/tokend.sock"} {
		clients.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				if err := m.request(network, address); err != nil {
					t.Errorf("%s: %v", network, err)
				}
				sent.Add(1)
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		})
	}
	happen()
	time.Sleep(200 * time.Millisecond)
	close(stop)
	clients.Wait()
	t.Logf("%d requests were answered", sent.Load())
}

func (m *machine) request(network, address string) error {
	c, err := m.dial(network, address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
