// Package recipes_test starts the proxies of the recipes with the very files
// that are there, in front of an application and a tokend. All of it runs in a
// network of its own, so that the files' addresses are free.
package recipes_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokend/internal/testkit"

	"golang.org/x/sys/unix"
)

// The addresses in the recipes.
const (
	proxyAddress  = "127.0.0.1:8000"
	appAddress    = "127.0.0.1:8080"
	tokendAddress = "127.0.0.1:8470"
)

// silence is how long a websocket is silent. The time-outs that proxies have by default are a
// minute and less, which is too long for each run.
var silence = flag.Duration("silence", time.Second, "of a websocket through a proxy, before it is used again")

// programs is, in the network of our own, the folder of what was built before.
var programs = os.Getenv("TOKEND_TEST_PROGRAMS")

// TestMain builds what the tests need and runs them again in a network of their
// own.
func TestMain(m *testing.M) {
	if programs != "" {
		if err := loopbackUp(); err != nil {
			fmt.Println("the loopback interface does not come up:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	os.Exit(runAgain())
}

func runAgain() (code int) {
	dir, err := os.MkdirTemp("", "recipes-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := testkit.Build("..", filepath.Join(dir, "tokend")); err != nil {
		fmt.Println(err)
		return 1
	}
	for program, source := range map[string]string{"introspection": "introspection", "envoy-validate": "envoy/validate"} {
		if err := testkit.Build(source, filepath.Join(dir, program)); err != nil {
			fmt.Println(err) // their tests say what is missing
		}
	}

	self := exec.Command("/proc/self/exe", os.Args[1:]...)
	self.Stdout, self.Stderr = os.Stdout, os.Stderr
	self.Env = append(os.Environ(), "TOKEND_TEST_PROGRAMS="+dir, "PATH="+os.Getenv("PATH")+":"+dir)
	self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		self.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		self.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		self.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err = self.Run()
	exit, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case ran:
		return exit.ExitCode()
	case os.Getenv("TOKEND_REQUIRE_ALL") != "":
		fmt.Println("no network of our own:", err)
		return 1
	default:
		fmt.Println("skipped: no network of our own:", err)
	}
	return 0
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// proxy is a recipe and how to run it.
type proxy struct {
	recipe   string
	program  string
	hardened bool
	run      func(t *testing.T, file string) *exec.Cmd
}

var proxies = []proxy{
	{"nginx/minimal.conf", "nginx", false, runNginx},
	{"nginx/hardened.conf", "nginx", true, runNginx},
	{"caddy/minimal.Caddyfile", "caddy", false, runCaddy},
	{"caddy/hardened.Caddyfile", "caddy", true, runCaddy},
	{"haproxy/minimal.cfg", "haproxy", false, runHAProxy},
	{"haproxy/hardened.cfg", "haproxy", true, runHAProxy},
	{"traefik/minimal.yml", "traefik", false, runTraefik},
	{"traefik/hardened.yml", "traefik", true, runTraefik},
}

// runNginx puts a main file around the recipe, as a distribution does.
func runNginx(t *testing.T, file string) *exec.Cmd {
	dir := t.TempDir()
	do(t, os.Chmod(dir, 0o755))
	main := filepath.Join(dir, "nginx.conf")
	do(t, os.WriteFile(main, fmt.Appendf(nil, `daemon off; worker_processes 1; user root; pid %[1]s/pid; error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	include %[2]s;
}
`, dir, file), 0o600))
	return exec.Command("nginx", "-p", dir, "-c", main)
}

func runCaddy(t *testing.T, file string) *exec.Cmd {
	dir := t.TempDir()
	cmd := exec.Command("caddy", "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	return cmd
}

func runHAProxy(_ *testing.T, file string) *exec.Cmd {
	return exec.Command("haproxy", "-db", "-f", file)
}

// runTraefik starts the static part, which names minimal.yml.
func runTraefik(t *testing.T, file string) *exec.Cmd {
	static, err := os.ReadFile("traefik/traefik.yml")
	do(t, err)
	path := filepath.Join(t.TempDir(), "traefik.yml")
	do(t, os.WriteFile(path, bytes.ReplaceAll(static, []byte("minimal.yml"), []byte(file)), 0o600))
	return exec.Command("traefik", "--configFile="+path)
}

// require skips a test for lack of a program, or fails it where everything must
// be there.
func require(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("TOKEND_REQUIRE_ALL") != "" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
}

func TestRecipes(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.recipe, func(t *testing.T) {
			require(t, p.program)
			tokens := startTokend(t)
			app := startApp(t)
			p.start(t)
			t.Run("a good token passes, and the application sees whose it is", func(t *testing.T) {
				for _, method := range []string{"GET", "POST", "DELETE"} {
					a := ask(t, method, "/some/path?x=y", "", "Authorization", "Bearer "+tokens.good)
					seen := app.expect(t, a, method, "good%20one", "true")
					if target := seen.Target; target != "/some/path?x=y" {
						t.Errorf("the application sees %s", target)
					}
				}
				a := ask(t, "GET", "/", "", "X-API-Key", tokens.good)
				app.expect(t, a, "GET", "good%20one", "true")
			})
			t.Run("others are refused with 401 and a challenge", func(t *testing.T) {
				for name, c := range map[string]struct {
					headers   []string
					challenge string
				}{
					"none":      {nil, `Bearer realm="tokend"`},
					"unknown":   {[]string{"Authorization", "Bearer tkd_unknown_unknown"}, `Bearer realm="tokend", error="invalid_token"`},
					"expired":   {[]string{"Authorization", "Bearer " + tokens.expired}, `Bearer realm="tokend", error="invalid_token"`},
					"revoked":   {[]string{"Authorization", "Bearer " + tokens.revoked}, `Bearer realm="tokend", error="invalid_token"`},
					"deleted":   {[]string{"Authorization", "Bearer " + tokens.deleted}, `Bearer realm="tokend", error="invalid_token"`},
					"two of it": {[]string{"X-API-Key", tokens.good, "Authorization", "Bearer " + tokens.good}, `Bearer realm="tokend", error="invalid_token"`},
				} {
					for _, method := range []string{"GET", "POST"} {
						a := ask(t, method, "/", "", c.headers...)
						app.expectRefused(t, name, a, 401)
						if got := a.header.Get("WWW-Authenticate"); got != c.challenge {
							t.Errorf("%s: challenge %q", name, got)
						}
					}
				}
			})
			t.Run("a revocation takes effect at once", func(t *testing.T) {
				value := tokens.create(t, `{"name":"brief"}`)
				app.expect(t, ask(t, "GET", "/", "", "Authorization", "Bearer "+value), "GET", "brief", "true")
				tokens.admin(t, "PUT", "/_/token", `{"name":"brief","active":false}`)
				app.expectRefused(t, "revoked", ask(t, "GET", "/", "", "Authorization", "Bearer "+value), 401)
			})
			t.Run("a read-only token may read and not write", func(t *testing.T) {
				for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
					app.expect(t, ask(t, method, "/", "", "Authorization", "Bearer "+tokens.reader), method, "reader", "false")
				}
				for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
					app.expectRefused(t, method, ask(t, method, "/", "", "Authorization", "Bearer "+tokens.reader), 403)
				}
			})
			t.Run("what a client claims gets it nothing", func(t *testing.T) { p.claims(t, tokens, app) })
			t.Run("a body passes with its request", func(t *testing.T) {
				for _, size := range []int{1, 1 << 20, 100 << 20} {
					for _, length := range []int64{int64(size), -1} { // announced, or in chunks
						a := send(t, "POST", "/", io.LimitReader(endless{}, int64(size)), length, "Authorization", "Bearer "+tokens.good)
						if seen := app.expect(t, a, "POST", "good%20one", "true"); seen.Length != size {
							t.Errorf("the application got %d bytes of %d (length %d)", seen.Length, size, length)
						}
					}
				}
				app.expectRefused(t, "a body without a token", ask(t, "POST", "/", "x"), 401)
			})
			t.Run("headers of a client that are not for tokend do not keep it from an answer", func(t *testing.T) {
				var headers []string
				for i := range 5 {
					name := fmt.Sprintf("X-Cookie-%d", i)
					if p.program == "caddy" { // version 2.6 cannot keep all of a client's headers from tokend
						name = "Cookie"
					}
					headers = append(headers, name, strings.Repeat("c", 3500))
				}
				app.expect(t, ask(t, "GET", "/", "", append(headers, "Authorization", "Bearer "+tokens.good)...), "GET", "good%20one", "true")
				app.expectRefused(t, "no token", ask(t, "GET", "/", "", headers...), 401)
			})
			t.Run("an upgrade to anything else does not reach the application", func(t *testing.T) {
				if p.program == "traefik" || p.program == "caddy" && !p.hardened {
					t.Skip("recipes/README.md says so")
				}
				for _, upgrade := range [][]string{{"Upgrade", "h2c"}, {"Upgrade", "h2c, websocket"}, {"Upgrade", "websocket", "Upgrade", "h2c"}, {"Upgrade", "h2c", "Upgrade", "websocket"}} {
					headers := append([]string{"Connection", "Upgrade, HTTP2-Settings", "HTTP2-Settings", "AAMAAABkAAQAAP__", "Authorization", "Bearer " + tokens.good}, upgrade...)
					a := ask(t, "GET", "/", "", headers...)
					select {
					case seen := <-app.requests:
						if protocols := seen.Header.Values("Upgrade"); strings.Contains(strings.Join(protocols, ","), "h2c") {
							t.Errorf("%q: the application is asked for %q", upgrade, protocols)
						}
					default:
						t.Logf("%q is refused with %d", upgrade, a.status)
					}
				}
			})
			t.Run("a websocket opens, stays open and echoes", func(t *testing.T) { expectSocket(t, tokens.good) })
			t.Run("an event arrives when it was sent", func(t *testing.T) { expectEvents(t, tokens.good) })
			t.Run("the application does not see the token, and clients not tokend", func(t *testing.T) {
				if !p.hardened {
					t.Skip("that is for the hardened one")
				}
				a := ask(t, "GET", "/", "", "Authorization", "Bearer "+tokens.good)
				if seen := app.expect(t, a, "GET", "good%20one", "true"); len(seen.Header["Authorization"]) > 0 || strings.Contains(fmt.Sprint(seen), tokens.good) {
					t.Errorf("the application sees %v", seen)
				}
				app.expectRefused(t, "tokend's path", ask(t, "GET", "/_/token/verify", "", "Authorization", "Bearer "+tokens.good), 404)
			})
			t.Run("without tokend nothing passes", func(t *testing.T) {
				tokens.stop(t)
				for _, headers := range [][]string{nil, {"Authorization", "Bearer " + tokens.good}} {
					a := ask(t, "GET", "/", "", headers...)
					if a.status < 500 {
						t.Errorf("status %d", a.status)
					}
					app.expectRefused(t, "without tokend", a, a.status)
				}
			})
		})
	}
}

// Envoy itself is not here. Its configurations are held against its schema, and
// its requests are made as its documentation has them: the original method and
// path behind path_prefix, Host, Content-Length: 0, Authorization and what
// allowed_headers names.
func TestEnvoy(t *testing.T) {
	for _, file := range []string{"envoy/minimal.yaml", "envoy/hardened.yaml"} {
		t.Run(file, func(t *testing.T) {
			require(t, "envoy-validate")
			if out, err := exec.Command("envoy-validate", file).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			recipe, err := os.ReadFile(file)
			do(t, err)
			for _, line := range []string{
				`server_uri: {uri: "http://127.0.0.1:8470"`, "path_prefix: /_/auth/envoy\n", "failure_mode_allow: false", "{exact: x-api-key}",
				"{exact: x-token-name}, {exact: x-token-write}, {exact: x-token-rotated}",
			} {
				if !strings.Contains(string(recipe), line) {
					t.Errorf("%s is missing", line)
				}
			}
		})
	}
	t.Run("requests", func(t *testing.T) {
		tokens := startTokend(t)
		for _, c := range []struct {
			method, path, header, token string
			status                      int
		}{
			{"GET", "/some/path?x=y", "authorization", "Bearer " + tokens.good, 200},
			{"DELETE", "/", "authorization", "Bearer " + tokens.good, 200},
			{"GET", "/", "x-api-key", tokens.reader, 200},
			{"POST", "/?need=read", "authorization", "Bearer " + tokens.reader, 403},
			{"GET", "/../../healthz", "authorization", "Bearer " + tokens.revoked, 401},
			{"GET", "/", "authorization", "Bearer " + tokens.good + ",Bearer " + tokens.good, 401}, // as it joins two
			{"GET", "/", "authorization", "", 401},
		} {
			status, identity := tokens.askAsEnvoy(t, fmt.Sprintf("%s /_/auth/envoy%s HTTP/1.1\r\nhost: app.example\r\ncontent-length: 0\r\n%s: %s\r\n\r\n",
				c.method, c.path, c.header, c.token))
			if status != c.status || identity != (status == 200) {
				t.Errorf("%s %s: %d", c.method, c.path, status)
			}
		}
	})
}

func (s *tokend) askAsEnvoy(t *testing.T, request string) (status int, identity bool) {
	t.Helper()
	c, err := net.Dial("tcp", tokendAddress)
	do(t, err)
	defer func() { do(t, c.Close()) }()
	_, err = io.WriteString(c, request)
	do(t, err)
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	do(t, err)
	do(t, a.Body.Close())
	return a.StatusCode, a.Header.Get("X-Token-Name") != "" && a.Header.Get("X-Token-Write") != "" && a.Header.Get("X-Token-Rotated") != ""
}

// The README shows a recipe as it is here.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	do(t, err)
	recipe, err := os.ReadFile("caddy/minimal.Caddyfile")
	do(t, err)
	_, shown, _ := strings.Cut(string(readme), "```caddyfile\n")
	shown, _, _ = strings.Cut(shown, "```")
	if _, lines, _ := strings.Cut(string(recipe), "\n:"); shown != ":"+lines || strings.Count(shown, "\n") >= 10 {
		t.Errorf("the README shows\n%s", shown)
	}
}

// Introspection is used here by a library that knows nothing of tokend.
func TestIntrospection(t *testing.T) {
	require(t, "introspection")
	tokens := startTokend(t)
	credential := filepath.Join(t.TempDir(), "credential")
	do(t, os.WriteFile(credential, []byte(tokens.reader+"\n"), 0o600))
	start(t, exec.Command("introspection", "-listen", proxyAddress, "-credential-file", credential), proxyAddress)
	brief := tokens.create(t, fmt.Sprintf(`{"name":"brief","write":false,"expiration_date":%d}`, time.Now().Add(time.Hour).UnixMilli()))
	for _, c := range []struct {
		name, token string
		status      int
		body        string
	}{
		{"a token that expires", brief, 200, "brief may read\n"},
		{"a token that may write", tokens.good, 200, "good one may read write\n"},
		{"an expired one", tokens.expired, 401, ""},
		{"a revoked one", tokens.revoked, 401, ""},
		{"an unknown one", "unknown+with/odd=characters", 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := ask(t, "GET", "/", "", "Authorization", "Bearer "+c.token)
			if a.status != c.status || !strings.HasPrefix(a.body, c.body) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	t.Run("a server whose own token was revoked is told nothing", func(t *testing.T) {
		tokens.admin(t, "DELETE", "/_/token?name=reader", "")
		if a := ask(t, "GET", "/", "", "Authorization", "Bearer "+tokens.good); a.status != 503 {
			t.Errorf("status %d", a.status)
		}
	})
}

// claims sends what a client could think of to be taken for another one.
func (p proxy) claims(t *testing.T, tokens *tokend, app *app) {
	lies := []string{
		"X-Token-Name", "root", "X-Token-Write", "true", "X-Token-Rotated", "true",
		"X-Original-Method", "GET", "X-Forwarded-Method", "GET", "X-HTTP-Method-Override", "GET",
	}
	doubled := slices.Concat(lies, lies, []string{"x-token-name", "root", "x-original-method", "GET", "x-forwarded-method", "GET"})
	for _, headers := range [][]string{lies, doubled} {
		with := func(token string) []string {
			return append([]string{"Authorization", "Bearer " + token}, headers...)
		}
		for _, target := range []string{"/", "/?need=read", "/?need=read&need=read", "/_/auth/read", "/%5f/auth/read?need=read"} {
			a := ask(t, "POST", target, "", with(tokens.reader)...)
			if !slices.Contains([]int{400, 403, 404}, a.status) {
				t.Errorf("POST %s: status %d", target, a.status)
			}
			app.expectRefused(t, "a read-only token's POST "+target, a, a.status)
		}
		app.expectRefused(t, "no token", ask(t, "GET", "/?need=read", "", headers...), 401)
		app.expect(t, ask(t, "GET", "/?need=read", "", with(tokens.reader)...), "GET", "reader", "false")
	}
	if !p.hardened {
		return
	}
	// To an application behind CGI or WSGI these are the same names.
	for _, name := range []string{"X_Token_Name", "X_Token-Name", "X-Token_Name", "x_token_name"} {
		a := ask(t, "GET", "/", "", "Authorization", "Bearer "+tokens.reader, name, "root")
		seen := app.expect(t, a, "GET", "reader", "false")
		for header, values := range seen.Header {
			if strings.Contains(header, "_") || slices.Contains(values, "root") {
				t.Errorf("the application sees %s: %s", header, values)
			}
		}
	}
	t.Run("Connection takes nothing away", func(t *testing.T) {
		a := ask(t, "GET", "/", "", "Authorization", "Bearer "+tokens.reader, "Connection", "X-Token-Name, X-Token-Write, keep-alive")
		app.expect(t, a, "GET", "reader", "false")
	})
}

// start runs the proxy until the test ends.
func (p proxy) start(t *testing.T) {
	t.Helper()
	file, err := filepath.Abs(p.recipe)
	do(t, err)
	start(t, p.run(t, file), proxyAddress)
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		if ask(t, "GET", "/", "").status == http.StatusUnauthorized { // Traefik listens before it has its routes
			return
		}
	}
	t.Fatalf("%s does not ask tokend", p.program)
}

// start runs a program that is to listen on an address until the test ends.
func start(t *testing.T, cmd *exec.Cmd, address string) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	do(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, &log)
		}
	})
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			do(t, c.Close())
			return
		}
	}
	t.Fatalf("%s does not come up:\n%s", cmd.Path, &log)
}

// tokend is a running tokend and its tokens.
type tokend struct {
	token                                   string
	good, reader, expired, revoked, deleted string
	process                                 *testkit.Process
}

func startTokend(t *testing.T, args ...string) *tokend {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	args = append(args, "--data-dir", data)
	cmd := exec.Command(filepath.Join(programs, "tokend"), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	s := &tokend{process: testkit.NewProcess(t, tokendAddress, cmd)}
	s.process.Start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("tokend:\n%s", &s.process.Log)
		}
	})
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	do(t, err)
	s.token = strings.TrimSpace(string(token))
	s.good = s.create(t, `{"name":"good one"}`)
	s.reader = s.create(t, `{"name":"reader","write":false}`)
	s.revoked = s.create(t, `{"name":"revoked","active":false}`)
	s.deleted = s.create(t, `{"name":"deleted"}`)
	s.admin(t, "DELETE", "/_/token?name=deleted", "")
	s.expired = "tkd-of-before-which-has-expired-0123456789"
	s.importLine(t, fmt.Sprintf(`{"name":"expired","token":%q,"created_at":1000,"expiration_date":2000}`, s.expired))
	return s
}

func (s *tokend) stop(*testing.T) { s.process.Stop() }

func (s *tokend) importLine(t *testing.T, line string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+tokendAddress+"/_/token/import", strings.NewReader(line))
	do(t, err)
	r.Header.Set("Authorization", "Bearer "+s.token)
	a, err := http.DefaultClient.Do(r)
	do(t, err)
	defer func() { _ = a.Body.Close() }()
	if content, err := io.ReadAll(a.Body); err != nil || !strings.Contains(string(content), `"created":1`) {
		t.Fatalf("%s, %v", content, err)
	}
}

func (s *tokend) create(t *testing.T, body string) (value string) {
	t.Helper()
	return s.admin(t, "POST", "/_/token", body)[0]["token"].(string)
}

func (s *tokend) admin(t *testing.T, method, target, body string) []map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+tokendAddress+target, strings.NewReader(body))
	do(t, err)
	r.Header.Set("Authorization", "Bearer "+s.token)
	a, err := http.DefaultClient.Do(r)
	do(t, err)
	defer func() { _ = a.Body.Close() }()
	content, err := io.ReadAll(a.Body)
	do(t, err)
	var decoded struct{ Data []map[string]any }
	if err := json.Unmarshal(content, &decoded); err != nil || a.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s", method, target, a.StatusCode, content)
	}
	return decoded.Data
}

// app is the application: it notes what reaches it.
type app struct{ requests chan seen }

// seen is a request as the application sees it.
type seen struct {
	Method, Target string
	Header         http.Header
	Length         int
}

func startApp(t *testing.T) *app {
	t.Helper()
	a := &app{requests: make(chan seen, 100)}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/app/socket":
				serveSocket(w, r)
				return
			case "/app/events":
				serveEvents(w)
				return
			}
			length, _ := io.Copy(io.Discard, r.Body)
			a.requests <- seen{r.Method, r.RequestURI, r.Header, int(length)}
			w.Header().Set("X-App", "yes")
		}),
	}
	l, err := net.Listen("tcp", appAddress)
	do(t, err)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { do(t, server.Shutdown(context.Background())) })
	return a
}

// expect is for an answer that must come from the application, which must have
// been told who calls, once and without doubt.
func (a *app) expect(t *testing.T, answer answer, method, name, write string) (r seen) {
	t.Helper()
	select {
	case r = <-a.requests:
	default:
		t.Errorf("%s as %s did not reach the application: %d", method, name, answer.status)
		return r
	}
	if answer.status != http.StatusOK || answer.header.Get("X-App") == "" || r.Method != method {
		t.Errorf("%s as %s: %s reached the application, answer %d", method, name, r.Method, answer.status)
	}
	for header, want := range map[string]string{"X-Token-Name": name, "X-Token-Write": write, "X-Token-Rotated": "false"} {
		if got := r.Header.Values(header); len(got) != 1 || got[0] != want {
			t.Errorf("%s: the application sees %q, want %q", header, got, want)
		}
	}
	return r
}

func (a *app) expectRefused(t *testing.T, what string, answer answer, status int) {
	t.Helper()
	select {
	case r := <-a.requests:
		t.Errorf("%s reached the application: %+v", what, r)
	default:
	}
	if answer.status != status || answer.header.Get("X-App") != "" {
		t.Errorf("%s: status %d, want %d", what, answer.status, status)
	}
}

// answer is what came back through the proxy.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request to the proxy.
func ask(t *testing.T, method, target, body string, headers ...string) answer {
	t.Helper()
	return send(t, method, target, strings.NewReader(body), int64(len(body)), headers...)
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// send sends a request with a body of a length to the proxy. A negative one is not announced.
func send(t *testing.T, method, target string, body io.Reader, length int64, headers ...string) answer {
	t.Helper()
	if length == 0 {
		body = nil
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+proxyAddress+target, body)
	do(t, err)
	r.ContentLength = length
	for i := 0; i < len(headers); i += 2 {
		// As it is spelt, which Add would change.
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	client := &http.Client{Timeout: 20 * time.Second}
	a, err := client.Do(r)
	do(t, err)
	content, err := io.ReadAll(a.Body)
	do(t, err)
	do(t, a.Body.Close())
	return answer{a.StatusCode, a.Header, string(content)}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
