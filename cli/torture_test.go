package cli_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokend/internal/testkit"
)

// inLongRun is one number where TOKEND_TORTURE is set (make torture), else another.
func inLongRun(long, usual int) int {
	if os.Getenv("TOKEND_TORTURE") != "" {
		return long
	}
	return usual
}

// kill -9 in the middle of 64 clients that do everything: the store opens by itself,
// nothing that was answered is lost, what was not is whole or absent, and the index
// agrees with the records.
func TestTorture_kill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	torment(t, inLongRun(100, 3), dir, func(p *process) { _ = p.Cmd.Process.Kill() }, func() {})
}

// A power cut loses nothing that was answered either.
func TestTorture_powerCut(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	torment(t, inLongRun(30, 2), d.path, func(*process) { d.cut() }, d.restore)
}

// torment has clients at work on a data folder and ends the server in each round; what
// else the end needs is done once it is gone.
func torment(t *testing.T, rounds int, dir string, end func(*process), afterwards func()) {
	t.Helper()
	const clients, bulkers, enough = 64, 4, 1000
	h := newHistorian(t, 24)
	pairs := &pairs{}
	random := testkit.Rand(t, 0)
	for range rounds {
		p := startRoomy(t, dir)
		h.readAll(p)
		pairs.check(t, p)
		var (
			acknowledged, working atomic.Int64
			wg                    sync.WaitGroup
		)
		begin := func(work func()) {
			working.Add(1)
			wg.Go(func() {
				defer working.Add(-1)
				work()
			})
		}
		for client := range clients {
			begin(func() { h.work(p, client, func() { acknowledged.Add(1) }) })
		}
		for range bulkers {
			begin(func() { pairs.work(p) })
		}
		idle := make(chan struct{})
		go func() { wg.Wait(); close(idle) }()
		target := int64(enough + random.IntN(enough)) // at another moment each time
	waiting:
		for acknowledged.Load() < target {
			select {
			case <-idle:
				break waiting
			case <-time.After(time.Millisecond):
			}
		}
		if n := working.Load(); n != clients+bulkers {
			t.Errorf("only %d are at work when the end comes", n)
		}
		end(p)
		p.Kill()
		wg.Wait()
		h.end()
		afterwards()
		if t.Failed() {
			t.Fatalf("the log:\n%s", &p.Log)
		}
		expectSound(t, dir)
	}
	p := startProcess(t, dir)
	h.readAll(p)
	pairs.check(t, p)
	p.Stop()
	testkit.ExpectLinearizable(t, h.history)
}

// startRoomy starts a server that has places for all of them. The configuration is
// written each time, since a power cut may have lost it.
func startRoomy(t *testing.T, dir string) *process {
	t.Helper()
	path := filepath.Join(dir, "config.toml")
	writeFile(t, path, fmt.Sprintf("listen = [%q]\ndata_dir = %q\n[limits]\nmax_management = 200\n",
		"unix:"+filepath.Join(dir, "tokend.sock"), filepath.Join(dir, "data")))
	p := newProcess(t, dir, "--config", path)
	p.start()
	return p
}

// expectSound checks a store that nobody holds.
func expectSound(t *testing.T, dir string) {
	t.Helper()
	output, err := exec.Command("tokend", "check", "--data-dir", filepath.Join(dir, "data")).CombinedOutput()
	if err != nil {
		t.Fatalf("check: %v\n%s", err, output)
	}
}

// pairs are tokens that are turned on and off two at a time, in one bulk.
type pairs struct {
	mu     sync.Mutex
	number int
	told   map[int]bool // whether a pair is active, as it was answered last
	asked  map[int]bool // as it was asked for last
}

// work makes a pair and turns it until nobody answers any more.
func (ps *pairs) work(p *process) {
	ps.mu.Lock()
	if ps.told == nil {
		ps.told, ps.asked = map[int]bool{}, map[int]bool{}
	}
	number := ps.number
	ps.number++
	ps.mu.Unlock()
	for _, half := range []string{"a", "b"} {
		if status, _, err := p.ask("POST", "/_/token", fmt.Sprintf(`{"name":"pair-%d-%s"}`, number, half)); err != nil || status != http.StatusCreated {
			return
		}
	}
	set := func(in map[int]bool, active bool) {
		ps.mu.Lock()
		defer ps.mu.Unlock()
		in[number] = active
	}
	set(ps.told, true)
	for active := false; ; active = !active {
		set(ps.asked, active)
		action := map[bool]string{true: "activate", false: "deactivate"}[active]
		status, _, err := p.ask("POST", "/_/token/bulk", fmt.Sprintf(`{"action":%q,"names":["pair-%d-a","pair-%d-b"]}`, action, number, number))
		if err != nil || status != http.StatusOK {
			return
		}
		set(ps.told, active)
	}
}

// check holds that the two of a pair are alike, and as was answered or asked for last.
func (ps *pairs) check(t *testing.T, p *process) {
	t.Helper()
	_, tokens, err := p.ask("GET", "/_/token?prefix=pair-", "")
	if err != nil {
		t.Fatal(err)
	}
	active := map[string]bool{}
	for _, token := range tokens {
		active[token.Name] = token.Active
	}
	for number, told := range ps.told {
		a, hasA := active[fmt.Sprintf("pair-%d-a", number)]
		b, hasB := active[fmt.Sprintf("pair-%d-b", number)]
		if !hasA || !hasB || a != b || a != told && a != ps.asked[number] {
			t.Errorf("pair %d: %v (%v) and %v (%v), %v was answered, %v asked for", number, a, hasA, b, hasB, told, ps.asked[number])
		}
		ps.told[number], ps.asked[number] = a, a
	}
}

// kill -9 at any point of a change of the master key leaves one of the two keys good,
// with all tokens, and verification never notices.
func TestTorture_rekey(t *testing.T) {
	random := testkit.Rand(t, 0)
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, dir)
	_, created, err := p.ask("POST", "/_/token", `{"name":"x"}`)
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	keyFile := filepath.Join(dir, "data", "master.key")
	current := readFile(t, keyFile)
	taken := 0
	for round := range inLongRun(60, 6) {
		p := startProcess(t, dir)
		next := output(t, "tokend", "keygen", "master")
		writeFile(t, keyFile, next+current)
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(time.Duration(random.IntN(1200)) * time.Microsecond)
			_ = p.Cmd.Process.Kill()
		}()
		status, _, err := p.ask("POST", "/_/rekey", "")
		<-killed
		_ = p.Cmd.Wait()
		keys := []string{next, current}
		if round%2 == 0 { // the other one first, so that each is tried alone
			slices.Reverse(keys)
		}
		var good []string
		for _, key := range keys {
			writeFile(t, keyFile, key)
			if _, err := exec.Command("tokend", "check", "--data-dir", filepath.Join(dir, "data")).CombinedOutput(); err == nil {
				good = append(good, key)
			}
		}
		if len(good) != 1 || err == nil && status == http.StatusOK && good[0] != next {
			t.Fatalf("round %d: %d keys are good after the answer %d (%v)", round, len(good), status, err)
		}
		if good[0] == next {
			taken++
		}
		current = good[0]
		writeFile(t, keyFile, current)
		p = startProcess(t, dir)
		if status, err := p.present(created[0].Token); err != nil || status != http.StatusOK {
			t.Fatalf("round %d: %d, %v", round, status, err)
		}
		p.Stop()
	}
	t.Logf("the new key was taken up in %d of %d rounds", taken, inLongRun(60, 6))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// output runs a command of the host and gives what it printed.
func output(t *testing.T, command ...string) string {
	t.Helper()
	var errors strings.Builder
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = &errors
	printed, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(command, " "), err, printed, &errors)
	}
	return string(printed)
}
