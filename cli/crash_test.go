package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// process is a tokend of its own on a Unix socket.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string
	client *http.Client
	log    processLog
}

// processLog may be read while the process writes.
type processLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *processLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *processLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
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
	socket := filepath.Join(dir, "tokend.sock")
	p := &process{t: t, dir: dir, client: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
	if len(args) == 0 {
		args = []string{"--listen", "unix:" + socket, "--data-dir", filepath.Join(dir, "data")}
	}
	p.cmd = exec.Command("tokend", args...)
	p.cmd.Stderr = &p.log
	return p
}

// runBehind has a shell do something before the process takes its place.
func (p *process) runBehind(shell string) {
	wrapped := exec.Command("sh", append([]string{"-c", shell + ` && exec "$@"`, "sh"}, p.cmd.Args...)...)
	wrapped.Dir, wrapped.Stderr, wrapped.ExtraFiles = p.dir, p.cmd.Stderr, p.cmd.ExtraFiles
	p.cmd = wrapped
}

// start waits until the process serves.
func (p *process) start() {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = p.cmd.Process.Kill(); p.client.CloseIdleConnections() })
	for range 500 {
		if status, _, err := p.ask("GET", "/readyz", ""); err == nil && status == http.StatusOK {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // then the log is whole
	p.t.Fatalf("the server is not ready:\n%s", &p.log)
}

// stop ends the process gently and fails the test where it was not fine.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%v:\n%s", err, &p.log)
	}
}

type token struct {
	Name       string
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
	response, err := p.client.Do(r)
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

// verify gives the status for a value, and whether it is an old one.
func (p *process) verify(value string) (status int, rotated bool) {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://localhost/_/token/verify", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", value)
	response, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("X-Token-Rotated") == "true"
}

// A rotation that was answered survives a crash, with the old value's grace.
// One that was not is whole or absent.
func TestKill_rotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, dir)
	const owners = 8
	var (
		current, old [owners]string
		rotations    atomic.Int64
		wg           sync.WaitGroup
	)
	for i := range owners {
		name := fmt.Sprint("token-", i)
		_, created, err := p.ask("POST", "/_/token", `{"name":"`+name+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		current[i] = created[0].Token
		wg.Go(func() {
			for {
				status, rotated, err := p.ask("POST", "/_/token/rotate", `{"name":"`+name+`","grace_ms":3600000}`)
				if err != nil {
					return
				}
				if status != http.StatusOK {
					t.Errorf("status %d", status)
					return
				}
				old[i], current[i] = current[i], rotated[0].Token
				rotations.Add(1)
			}
		})
	}
	for rotations.Load() < 1000 {
		time.Sleep(time.Millisecond)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	wg.Wait()
	p = startProcess(t, dir)
	for i := range owners {
		status, unanswered := p.verify(current[i]) // as an old value, if another rotation was made
		if status != http.StatusOK {
			t.Errorf("token-%d: its value is lost: %d", i, status)
		}
		switch status, rotated := p.verify(old[i]); {
		case !unanswered && (status != http.StatusOK || !rotated):
			t.Errorf("token-%d: its old value is lost: %d", i, status)
		case unanswered && status != http.StatusUnauthorized:
			t.Errorf("token-%d: the value before the old one is good: %d", i, status)
		}
	}
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
		response, err := p.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response.StatusCode, err)
		}
	}
	time.Sleep(5 * time.Second)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
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
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
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

// history is what one client knows of a token: the last state that was
// acknowledged, and the one that it asked for without getting an answer.
type history struct {
	acknowledged, asked *token // nil: does not exist
	unanswered          bool
}

// kill -9 in the middle of 64 writers loses nothing that was acknowledged, and
// what was not is whole or absent.
func TestKill(t *testing.T) {
	const writers, rounds, enough = 64, 3, 2000
	dir := t.TempDir()
	histories := map[string]*history{}
	for round := range rounds {
		p := startProcess(t, dir)
		var (
			mu           sync.Mutex
			acknowledged atomic.Int64
			wg           sync.WaitGroup
		)
		killed, idle := make(chan struct{}), make(chan struct{})
		for w := range writers {
			wg.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("r%d-w%d-%d", round, w, i)
					h := &history{}
					mu.Lock()
					histories[name] = h
					mu.Unlock()
					if !h.write(p, name, i, &acknowledged) {
						return
					}
				}
			})
		}
		go func() {
			defer close(killed)
			for acknowledged.Load() < enough {
				select {
				case <-idle: // the writers have given up, and said why
					return
				case <-time.After(time.Millisecond):
				}
			}
			_ = p.cmd.Process.Kill()
		}()
		wg.Wait()
		close(idle)
		<-killed
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()

		p = startProcess(t, dir)
		expectHistories(t, p, histories)
		if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, &p.log)
		}
	}
	t.Logf("%d tokens in %d rounds", len(histories), rounds)
}

// write takes a token through its life: created, often changed, sometimes
// deleted. It is false once the server is gone.
func (h *history) write(p *process, name string, i int, acknowledged *atomic.Int64) bool {
	do := func(method, body string, after *token, want int) bool {
		h.asked, h.unanswered = after, true
		status, tokens, err := p.ask(method, "/_/token", body)
		if err != nil {
			return false
		}
		if status != want {
			p.t.Errorf("%s %s: %d", method, body, status)
			return false
		}
		if method == "POST" {
			after.Token = tokens[0].Token
		}
		h.acknowledged, h.unanswered = after, false
		acknowledged.Add(1)
		return true
	}
	if !do("POST", fmt.Sprintf(`{"name":%q}`, name), &token{Name: name, Write: true}, http.StatusCreated) {
		return false
	}
	value := h.acknowledged.Token
	if i%3 > 0 && !do("PUT", fmt.Sprintf(`{"name":%q,"write":false}`, name), &token{Name: name, Token: value}, http.StatusOK) {
		return false
	}
	return i%5 > 0 || do("DELETE", fmt.Sprintf(`{"name":%q}`, name), nil, http.StatusOK)
}

func expectHistories(t *testing.T, p *process, histories map[string]*history) {
	t.Helper()
	_, listed, err := p.ask("GET", "/_/token", "")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*token{}
	for _, listed := range listed {
		found[listed.Name] = &listed
	}
	for name, h := range histories {
		got := found[name]
		delete(found, name)
		if got != nil {
			_, values, err := p.ask("GET", "/_/token/value?name="+name, "")
			if err != nil {
				t.Fatal(err)
			}
			got.Token = values[0].Token
		}
		if err := h.settle(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name := range found {
		t.Errorf("%s: nobody made it", name)
	}
}

// settle says whether a state may be, and takes it as known from now on.
func (h *history) settle(got *token) error {
	same := func(want *token) bool {
		if got == nil || want == nil {
			return got == want
		}
		// The value of a creation that was not answered is not known.
		return got.Write == want.Write && (want.Token == "" || want.Token == got.Token)
	}
	if same(h.acknowledged) || h.unanswered && same(h.asked) {
		h.acknowledged, h.unanswered = got, false
		return nil
	}
	return errors.New("an acknowledged state is lost")
}
