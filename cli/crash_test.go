package cli_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokend/internal/testkit"
	"tokend/kv/kvtest"
)

// process is a tokend of its own on a Unix socket.
type process struct {
	*testkit.Process

	t   *testing.T
	dir string
}

func startProcess(t *testing.T, dir string, shell ...string) *process {
	t.Helper()
	p := newProcess(t, dir)
	if len(shell) > 0 {
		p.runBehind(shell[0])
	}
	p.start()
	return p
}

// newProcess is one that does not run yet.
func newProcess(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	address := "unix:" + filepath.Join(dir, "tokend.sock")
	if len(args) == 0 {
		args = []string{"--listen", address, "--data-dir", filepath.Join(dir, "data")}
	}
	return &process{testkit.NewProcess(t, address, exec.Command("tokend", args...)), t, dir}
}

// runBehind has a shell do something before the process takes its place.
func (p *process) runBehind(shell string) {
	wrapped := exec.Command("sh", append([]string{"-c", shell + ` && exec "$@"`, "sh"}, p.Cmd.Args...)...)
	wrapped.Dir, wrapped.Stderr, wrapped.ExtraFiles = p.dir, p.Cmd.Stderr, p.Cmd.ExtraFiles
	p.Cmd = wrapped
}

// start waits until the process serves. Nothing of it may have shown a secret when the test
// ends.
func (p *process) start() {
	p.t.Helper()
	p.t.Cleanup(p.expectNoSecret) // after it was ended
	p.Start()
}

// expectNoSecret holds for every test: there is no value and no key in the log, the
// store's files and the backups.
func (p *process) expectNoSecret() {
	p.t.Helper()
	var known []string
	for _, name := range []string{"admin.token", "master.key"} {
		content, _ := os.ReadFile(filepath.Join(p.dir, "data", name))
		for line := range strings.Lines(string(content)) {
			line = strings.TrimSpace(line)
			known = append(known, line)
			if raw, err := base64.StdEncoding.DecodeString(line); err == nil {
				known = append(known, string(raw))
			}
		}
	}
	kvtest.ExpectNoSecret(p.t, "the log", []byte(p.Log.String()), known...)
	kvtest.ExpectNoSecretIn(p.t, filepath.Join(p.dir, "data", "store"), known...)
}

type token struct {
	Name       string
	Active     bool
	Write      bool
	Token      string
	LastUsedAt *int64 `json:"last_used_at"`

	Status             string
	Expires            bool
	ExpirationDate     int64 `json:"expiration_date"`
	PreviousValidUntil int64 `json:"previous_valid_until"`
}

// ask gives the status and the tokens of an answer.
func (p *process) ask(method, target, body string) (int, []token, error) {
	r, err := http.NewRequest(method, "http://localhost"+target, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	admin, err := os.ReadFile(filepath.Join(p.dir, "data", "admin.token"))
	if err != nil && !os.IsNotExist(err) { // it may be a credential
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(admin)))
	response, err := p.Client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, err
	}
	var decoded struct{ Data []token }
	err = json.Unmarshal(content, &decoded)
	return response.StatusCode, decoded.Data, err
}

// present gives the status for somebody who presents a value and would write.
func (p *process) present(value string) (status int, err error) {
	r, err := http.NewRequest(http.MethodGet, "http://localhost/_/token/verify?need=write", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("X-Api-Key", value)
	response, err := p.Client.Do(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// A crash costs at most the last five seconds of when tokens were used.
func TestKill_lastUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, dir)
	used := map[string]bool{}
	for i := range 50 {
		name := fmt.Sprint("token-", i)
		_, created, err := p.ask("POST", "/_/token", `{"name":"`+name+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		if used[name] = i%2 == 0; !used[name] {
			continue
		}
		r, err := http.NewRequest(http.MethodGet, "http://localhost/_/auth/read", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+created[0].Token)
		response, err := p.Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response.StatusCode, err)
		}
	}
	time.Sleep(5 * time.Second)
	if err := p.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Cmd.Wait()
	_, tokens, err := startProcess(t, dir).ask("GET", "/_/token", "")
	if err != nil || len(tokens) != len(used) {
		t.Fatal(len(tokens), err)
	}
	for _, token := range tokens {
		if (token.LastUsedAt != nil) != used[token.Name] {
			t.Errorf("%s: used is %v, last used at %v", token.Name, used[token.Name], token.LastUsedAt)
		}
	}
}

// A log that nobody reads any more does not end the server, nor the care that
// it takes when it stops.
func TestLogReaderIsGone(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir, "mkfifo log && { head -1 < log > head & } && exec 2> log")
	if status, _, err := p.ask("POST", "/_/token", `{"name":"x"}`); err != nil || status != http.StatusCreated {
		t.Fatal(status, err)
	}
	if err := p.Cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.Cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// More clients than file descriptors: those beyond are refused, and the server
// lives on.
func TestFewFileDescriptors(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir, "ulimit -n 80")
	var held []net.Conn
	for range 150 {
		c, err := net.Dial("unix", filepath.Join(dir, "tokend.sock"))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for _, c := range held {
		_ = c.Close()
	}
	for range 500 {
		if status, _, err := p.ask("GET", "/readyz", ""); err == nil && status == http.StatusOK {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the server does not answer any more")
}
