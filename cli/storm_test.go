package cli_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// 600 half-sent headers, bodies a byte a second and readers that never read hold nobody
// up, and are cut off within 10 s.
func TestTorture_slowClients(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, dir)
	value := p.fill(inLongRun(1_000_000, 50_000))
	admin := "Authorization: Bearer " + strings.TrimSpace(readFile(t, filepath.Join(dir, "data", "admin.token"))) + "\r\n"
	const head = " HTTP/1.1\r\nHost: localhost\r\n"
	begin := time.Now()
	for range 600 {
		p.send("GET /_/token/verify" + head + "X-A: ")
	}
	for range 50 {
		c := p.send("POST /_/token" + head + admin + "Content-Length: 1000\r\n\r\n")
		go func() {
			for range 60 {
				if _, err := io.WriteString(c, " "); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
	}
	for range 10 {
		p.send("GET /_/token" + head + admin + "\r\n")
	}
	var times []time.Duration
	for time.Since(begin) < 9500*time.Millisecond {
		asked := time.Now()
		if status, err := p.present(value); err != nil || status != http.StatusOK {
			t.Fatalf("verification: %d, %v", status, err)
		}
		times = append(times, time.Since(asked))
		time.Sleep(5 * time.Millisecond)
	}
	if status, _, err := p.ask("POST", "/_/token", `{"name":"meanwhile"}`); err != nil || status != http.StatusCreated {
		t.Errorf("management: %d, %v", status, err)
	}
	slices.Sort(times)
	for p.connections() > 10 && time.Since(begin) < 20*time.Second {
		time.Sleep(50 * time.Millisecond)
	}
	took := time.Since(begin)
	t.Logf("%d verifications meanwhile, half within %v, 99 of 100 within %v; all slow clients were cut off after %v",
		len(times), times[len(times)/2], times[len(times)*99/100], took.Round(100*time.Millisecond))
	if took > 11*time.Second { // the last was there after the first second
		t.Error("they were not cut off within 10 s")
	}
	p.Stop()
}

// With 100,000 tokens and 128 MB it lives through whatever clients do.
func TestTorture_memory(t *testing.T) {
	group := newMemoryGroup(t, 128<<20)
	dir := t.TempDir()
	p := newProcess(t, dir)
	p.Cmd.Args[0] = buildAsIs(t)
	p.runBehind("echo $$ > " + filepath.Join(group.path, "cgroup.procs"))
	p.start()
	value := p.fill(100_000)
	admin := "Authorization: Bearer " + strings.TrimSpace(readFile(t, filepath.Join(dir, "data", "admin.token"))) + "\r\n"
	const head = " HTTP/1.1\r\nHost: localhost\r\n"
	lines := strings.Repeat("{}\n", 45_000)
	large := func(path, body string) string {
		return "POST " + path + head + admin + "Connection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Duration(inLongRun(60, 8))*time.Second)
	defer stop()
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		got = map[string]map[string]int{} // by the first words of a request: statuses
	)
	for request, clients := range map[string]int{
		"GET /_/token/verify" + head + "X-Api-Key: " + value + "\r\nConnection: close\r\n\r\n":             100,
		"GET /_/token" + head + admin + "Connection: close\r\n\r\n":                                        40,
		"GET /_/backup" + head + admin + "Connection: close\r\n\r\n":                                       10,
		"GET /_/token/verify" + head + "X-A: " + strings.Repeat("x", 15_000):                               600,
		large("/_/token/import", lines):                                                                    8,
		large("/_/token/import", strings.Repeat(" ", 8<<20-1)):                                             8,
		large("/_/token/bulk", `{"action":"delete","names":["`+strings.Repeat("x", 2<<20-100)+`"]}`):       8,
		large("/_/token", `{"name":"`+strings.Repeat("x", 60_000)+`"}`):                                    40,
		"GET /metrics" + head + "Connection: close\r\n\r\n":                                                10,
		"POST /_/token/introspect" + head + admin + "Content-Length: 60000\r\nConnection: close\r\n\r\nx=": 100,
	} {
		for range clients {
			wg.Go(func() {
				for status, n := range p.storm(ctx, request) {
					mu.Lock()
					what, _, _ := strings.Cut(request, " HTTP/")
					if got[what] == nil {
						got[what] = map[string]int{}
					}
					got[what][status] += n
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if status, err := p.present(value); err != nil || status != http.StatusOK {
		t.Fatalf("after the storm: %d, %v\n%s\n%s", status, err, group.state(), &p.Log)
	}
	t.Logf("statuses: %v", got)
	for _, what := range []string{"GET /_/token/verify", "GET /_/token", "GET /_/backup"} {
		if got[what]["200"] == 0 {
			t.Errorf("%s never succeeded", what)
		}
	}
	t.Logf("at most %d MiB of 128\n%s", group.highest()>>20, group.state())
	p.Stop()
}

// buildAsIs makes the program as it is shipped: the race detector takes several times the
// memory.
func buildAsIs(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tokend")
	output(t, "go", "build", "-o", path, "..")
	return path
}

// storm sends a request again and again over new connections, reads what comes and
// counts the statuses.
func (p *process) storm(ctx context.Context, request string) map[string]int {
	statuses := map[string]int{}
	for ctx.Err() == nil {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(p.dir, "tokend.sock"))
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		_, _ = io.WriteString(c, request)
		status := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(c, status); err == nil {
			statuses[string(status[len("HTTP/1.1 "):])]++
		}
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
		stop()
	}
	return statuses
}

// fill imports so many tokens and gives the value of one.
func (p *process) fill(tokens int) (value string) {
	p.t.Helper()
	const batch = 20_000
	for first := 0; first < tokens; first += batch {
		var lines strings.Builder
		for i := first; i < min(first+batch, tokens); i++ {
			fmt.Fprintf(&lines, `{"name":"token-%09d","token":"value-of-token-%09d"}`+"\n", i, i)
		}
		if status, _, err := p.ask("POST", "/_/token/import", lines.String()); status != http.StatusOK {
			p.t.Fatalf("import: %d, %v\n%s", status, err, &p.Log)
		}
	}
	return "value-of-token-000000000"
}

// send sends bytes on a connection of their own, which it leaves.
func (p *process) send(request string) net.Conn {
	p.t.Helper()
	c, err := net.Dial("unix", filepath.Join(p.dir, "tokend.sock"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		p.t.Fatal(err)
	}
	return c
}

var connectionsLine = regexp.MustCompile(`(?m)^tokend_connections (\d+)$`)

// connections is how many the server holds.
func (p *process) connections() int {
	p.t.Helper()
	response, err := p.Client.Get("http://localhost/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	found := connectionsLine.FindSubmatch(content)
	if found == nil {
		p.t.Fatal("no number of connections")
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

// memoryGroup is a control group with a limit of memory.
type memoryGroup struct {
	t    *testing.T
	path string
	v2   bool
}

func newMemoryGroup(t *testing.T, limit int) *memoryGroup {
	t.Helper()
	need(t)
	g := &memoryGroup{t: t, path: fmt.Sprintf("/sys/fs/cgroup/memory/tokend-test-%d", os.Getpid())}
	limitFile := "memory.limit_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0)
		g.path, g.v2, limitFile = fmt.Sprintf("/sys/fs/cgroup/tokend-test-%d", os.Getpid()), true, "memory.max"
	}
	err := os.Mkdir(g.path, 0o755)
	t.Cleanup(func() { _ = os.Remove(g.path) })
	if err == nil {
		err = os.WriteFile(filepath.Join(g.path, limitFile), []byte(strconv.Itoa(limit)), 0o600)
	}
	if err != nil {
		lack(t, "no control group with a limit of memory can be made here")
	}
	return g
}

// highest is the most that the group ever had, in bytes.
func (g *memoryGroup) highest() int {
	g.t.Helper()
	name := "memory.max_usage_in_bytes"
	if g.v2 {
		name = "memory.peak"
	}
	n, _ := strconv.Atoi(strings.TrimSpace(readFile(g.t, filepath.Join(g.path, name))))
	return n
}

// state is what the kernel says of its killing.
func (g *memoryGroup) state() string {
	g.t.Helper()
	name := "memory.oom_control"
	if g.v2 {
		name = "memory.events"
	}
	return readFile(g.t, filepath.Join(g.path, name))
}
