package cli_test

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokend/config"
	"tokend/kv"
)

// A disk that others fill while clients write: changes are refused, the rest goes on,
// room heals it, and nothing that was answered is lost, also where the process is killed
// while there is none. (Badger may be writing a table when nothing at all is left, which
// ends the process.)
func TestTorture_fullDisk(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	made := map[string]string{} // values by name
	ended := 0
	rounds := inLongRun(20, 2)
	for round := range rounds {
		p := startProcess(t, d.path)
		if round == 0 {
			p.awaitStatus(http.StatusCreated, "POST", "/_/token", `{"name":"kept"}`)
		}
		fillUnder(t, p, d, round, made)
		if p.hasEnded() {
			ended++
			d.clear()
			expectSound(t, d.path)
			continue
		}
		for name, value := range made {
			if status, err := p.present(value); err != nil || status != http.StatusOK {
				t.Fatalf("%s: %d, %v\n%s", name, status, err, &p.Log)
			}
		}
		if status, listed, err := p.ask("GET", "/_/token", ""); err != nil || status != http.StatusOK || len(listed) < len(made) {
			t.Fatalf("%d of %d tokens, %d, %v", len(listed), len(made), status, err)
		}
		for _, change := range [][3]string{{"POST", "/_/token", `{"name":"x"}`}, {"DELETE", "/_/token?name=kept", ""}, {"POST", "/_/token/rotate", `{"name":"kept"}`}} {
			if status, _, err := p.ask(change[0], change[1], change[2]); err != nil || status != http.StatusInsufficientStorage {
				t.Errorf("%s %s: %d, %v", change[0], change[1], status, err)
			}
		}
		if round%2 == 0 {
			d.clear()
			p.awaitStatus(http.StatusCreated, "POST", "/_/token", fmt.Sprintf(`{"name":"healed-%d"}`, round))
			p.Stop()
		} else {
			p.Kill()
			refused, err := exec.Command("tokend", "--listen", "unix:"+filepath.Join(t.TempDir(), "tokend.sock"), "--data-dir", filepath.Join(d.path, "data")).CombinedOutput()
			if err == nil || !strings.Contains(string(refused), "the disk is nearly full") {
				t.Errorf("started on a full disk: %v\n%s", err, refused)
			}
			d.clear()
		}
		expectSound(t, d.path)
	}
	p := startProcess(t, d.path)
	for name, value := range made {
		if status, err := p.present(value); err != nil || status != http.StatusOK {
			t.Errorf("%s: %d, %v", name, status, err)
		}
	}
	if status, listed, err := p.ask("GET", "/_/token", ""); err != nil || status != http.StatusOK || len(listed) < len(made) {
		t.Errorf("%d of %d tokens, %d, %v", len(listed), len(made), status, err)
	}
	p.Stop()
	t.Logf("%d tokens in %d rounds; it lived on in %d", len(made), rounds, rounds-ended)
}

// hasEnded reports whether a process was ended by the disk, while Badger wrote a table. It
// is to be ended by nothing else.
func (p *process) hasEnded() bool {
	p.t.Helper()
	if _, err := p.present("tkd_x"); err == nil {
		return false
	}
	_ = p.Cmd.Wait()
	if log := p.Log.String(); !strings.Contains(log, "SIGBUS") || !strings.Contains(log, "table.CreateTable") {
		p.t.Fatalf("it ended:\n%s", log)
	}
	return true
}

// fillUnder fills the disk while clients make tokens, until nothing is left at all.
func fillUnder(t *testing.T, p *process, d *disk, round int, made map[string]string) {
	t.Helper()
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		refused atomic.Int64
	)
	const clients = 16
	for client := range clients {
		wg.Go(func() {
			for i := 0; refused.Load() < clients; i++ {
				name := fmt.Sprintf("%d-%d-%d-%s", round, client, i, strings.Repeat("n", 90))
				status, created, err := p.ask("POST", "/_/token", fmt.Sprintf(`{"name":%q}`, name))
				switch {
				case err != nil: // see hasEnded
					refused.Add(clients)
				case status != http.StatusCreated && status != http.StatusInsufficientStorage:
					t.Errorf("%d", status)
					refused.Add(clients)
				case status == http.StatusInsufficientStorage:
					refused.Add(1)
				default:
					mu.Lock()
					made[name] = created[0].Token
					mu.Unlock()
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	d.fill(kv.DefaultMinFreeBytes - 16<<20)
	wg.Wait()
	d.fill(0)
	if t.Failed() {
		t.Fatalf("the log:\n%s", &p.Log)
	}
}

// awaitStatus asks until it gets a status.
func (p *process) awaitStatus(want int, method, target, body string) {
	p.t.Helper()
	var status int
	for range 500 {
		if status, _, _ = p.ask(method, target, body); status == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("%s %s: %d, want %d\n%s", method, target, status, want, &p.Log)
}

// The default reserve is what Badger may need, and no more than people give it.
func TestDefaultReserve(t *testing.T) {
	if got := config.Default().Store.MinFreeBytes; got != kv.DefaultMinFreeBytes || got > 256<<20 {
		t.Errorf("%d, want %d", got, kv.DefaultMinFreeBytes)
	}
}

// A disk that does not answer: verification goes on, and so does what says how things are.
// That holds where nobody writes, too: the last uses are then the only thing that is saved.
func TestDisk_thatHangs(t *testing.T) {
	t.Run("changes", func(t *testing.T) {
		t.Parallel()
		p, d, value, thaw := freeze(t)
		refused := make(chan int, 1)
		begin := time.Now()
		go func() {
			status, _, _ := p.ask("POST", "/_/token", `{"name":"during"}`)
			refused <- status
		}()
		answers := func() bool {
			select {
			case status := <-refused:
				if took := time.Since(begin); status != http.StatusServiceUnavailable || took < 25*time.Second || took > 60*time.Second {
					t.Errorf("a change: %d after %v", status, took)
				}
				return false
			default:
				return true
			}
		}
		p.expectAnswers(value, begin, answers)
		thaw()
		p.awaitStatus(http.StatusOK, "GET", "/_/token?name=during", "")
		p.awaitStatus(http.StatusCreated, "POST", "/_/token", `{"name":"after"}`)
		p.Stop()
		expectSound(t, d.path)
	})
	t.Run("verifications only", func(t *testing.T) {
		t.Parallel()
		p, d, value, thaw := freeze(t)
		begin := time.Now()
		p.expectAnswers(value, begin, func() bool { return time.Since(begin) < 20*time.Second })
		thaw()
		p.awaitStatus(http.StatusCreated, "POST", "/_/token", `{"name":"after"}`)
		p.Stop()
		expectSound(t, d.path)
	})
}

// freeze starts a server with a token on a disk, and then has the disk answer no more.
func freeze(t *testing.T) (p *process, d *disk, value string, thaw func()) {
	t.Helper()
	need(t, "fsfreeze")
	d = newDisk(t)
	p = startProcess(t, d.path)
	p.Client.Timeout = 70 * time.Second
	_, created, err := p.ask("POST", "/_/token", `{"name":"before"}`)
	if err != nil || len(created) != 1 {
		t.Fatal(created, err)
	}
	output(t, "fsfreeze", "--freeze", d.path)
	thaw = sync.OnceFunc(func() { output(t, "fsfreeze", "--unfreeze", d.path) })
	t.Cleanup(thaw)
	return p, d, created[0].Token, thaw
}

// expectAnswers verifies and asks how things are while something goes on, on a disk that
// has not answered since a moment. That is said within 10 s of the first commit, which
// comes within a round of flushes.
func (p *process) expectAnswers(value string, since time.Time, goesOn func() bool) {
	p.t.Helper()
	for goesOn() {
		asked := time.Now()
		if status, err := p.present(value); err != nil || status != http.StatusOK {
			p.t.Fatalf("verification: %d, %v", status, err)
		}
		status, ready := p.get("/readyz")
		_, metrics := p.get("/metrics")
		if status != http.StatusOK || !strings.Contains(metrics, "tokend_") {
			p.t.Fatalf("%d, %s\n%s", status, ready, metrics)
		}
		if took := time.Since(asked); took > 5*time.Second {
			p.t.Errorf("these took %v", took)
		}
		if asked.Sub(since) > 18*time.Second && !strings.Contains(ready, `"writable":false`) {
			p.t.Error(ready)
		}
		time.Sleep(200 * time.Millisecond)
	}
	if !strings.Contains(p.Log.String(), "the disk, which does not answer") {
		p.t.Errorf("the log does not say it:\n%s", &p.Log)
	}
}

// get gives the answer to somebody without a token.
func (p *process) get(path string) (status int, body string) {
	p.t.Helper()
	response, err := p.Client.Get("http://localhost" + path)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, &p.Log)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// A file system that has failed: no change is answered as made, verification goes on.
// (Badger may be writing a table in that very moment, which ends the process.)
func TestTorture_failingDisk(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	ended := 0
	var kept []string // what was answered
	rounds := inLongRun(30, 3)
	for round := range rounds {
		p := startProcess(t, d.path)
		_, created, err := p.ask("POST", "/_/token", fmt.Sprintf(`{"name":"kept-%d"}`, round))
		if err != nil || len(created) != 1 {
			t.Fatal(created, err)
		}
		kept = append(kept, created[0].Name)
		var (
			mu    sync.Mutex // of kept
			wg    sync.WaitGroup
			cut   atomic.Bool
			after atomic.Int64 // refusals
		)
		for client := range 4 {
			wg.Go(func() {
				for i := 0; after.Load() < 100; i++ {
					wasCut := cut.Load()
					status, _, err := p.ask("POST", "/_/token", fmt.Sprintf(`{"name":"%d-%d-%d"}`, round, client, i))
					switch {
					case err != nil:
						return
					case wasCut && status != http.StatusServiceUnavailable:
						t.Errorf("status %d after the failure", status)
						return
					case wasCut:
						after.Add(1)
					case status == http.StatusCreated:
						mu.Lock()
						kept = append(kept, fmt.Sprintf("%d-%d-%d", round, client, i))
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		d.cut()
		cut.Store(true)
		wg.Wait()
		if p.hasEnded() {
			ended++
		} else {
			if status, err := p.present(created[0].Token); err != nil || status != http.StatusOK {
				t.Errorf("verification: %d, %v", status, err)
			}
			p.Kill()
		}
		d.restore()
		expectSound(t, d.path)
	}
	p := startProcess(t, d.path)
	for _, name := range kept {
		if status, _, err := p.ask("GET", "/_/token?name="+name, ""); err != nil || status != http.StatusOK {
			t.Errorf("%s: %d, %v", name, status, err)
		}
	}
	p.Stop()
	if ended == rounds {
		t.Error("it never lived on")
	}
	t.Logf("it lived on in %d of %d failures", rounds-ended, rounds)
}

// Every trouble again while nobody writes: the flush of last uses is then the only thing that
// meets the disk. Every verification is answered, and what was used before is known
// afterwards.
func TestTorture_verificationsOnly(t *testing.T) {
	type trouble struct {
		begin, end func(p *process, d *disk)
		kill       bool // the process, in the middle of it
	}
	nothing := func(*process, *disk) {}
	cut := func(_ *process, d *disk) { d.cut() }
	restore := func(_ *process, d *disk) { d.restore() }
	fill := func(_ *process, d *disk) { d.fill(0) }
	empty := func(_ *process, d *disk) { d.clear() }
	for name, trouble := range map[string]trouble{
		"full disk":            {fill, empty, false},
		"full disk and a kill": {fill, empty, true},
		"failing disk":         {cut, restore, true},
		"kill":                 {nothing, nothing, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			var values []string
			for round := range inLongRun(6, 1) {
				p := startProcess(t, d.path)
				for i := range 20 {
					_, created, err := p.ask("POST", "/_/token", fmt.Sprintf(`{"name":"%d-%d"}`, round, i))
					if err != nil || len(created) != 1 {
						t.Fatal(created, err)
					}
					values = append(values, created[0].Token)
				}
				p.verifyAll(values)
				p.awaitFlush()
				stop := make(chan struct{})
				var clients sync.WaitGroup
				for client := range 4 {
					clients.Go(func() { p.verifyUntil(stop, values, client) })
				}
				trouble.begin(p, d)
				time.Sleep(time.Second) // of verifications, in which a quarter of the shards is flushed
				close(stop)
				clients.Wait()
				if trouble.kill {
					p.Kill()
					trouble.end(p, d)
				} else {
					trouble.end(p, d)
					p.awaitStatus(http.StatusCreated, "POST", "/_/token", fmt.Sprintf(`{"name":"healed-%d"}`, round))
					_, _, _ = p.ask("DELETE", fmt.Sprintf("/_/token?name=healed-%d", round), "")
					p.Stop()
				}
				expectSound(t, d.path)
			}
			p := startProcess(t, d.path)
			_, listed, err := p.ask("GET", "/_/token", "")
			if err != nil || len(listed) != len(values) {
				t.Errorf("%d of %d tokens, %v", len(listed), len(values), err)
			}
			for _, token := range listed {
				if token.LastUsedAt == nil {
					t.Errorf("%s: its last use is lost", token.Name)
				}
			}
			p.Stop()
		})
	}
}

// verifyAll presents each value once.
func (p *process) verifyAll(values []string) {
	p.t.Helper()
	for i, value := range values {
		if status, err := p.present(value); err != nil || status != http.StatusOK {
			p.t.Fatalf("value %d: %d, %v\n%s", i, status, err, &p.Log)
		}
	}
}

// verifyUntil presents values in turn until it is told to stop.
func (p *process) verifyUntil(stop <-chan struct{}, values []string, first int) {
	for i := first; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		if status, err := p.present(values[i%len(values)]); err != nil || status != http.StatusOK {
			p.t.Errorf("a verification: %d, %v", status, err)
			return
		}
	}
}

// awaitFlush waits until what was used before is on disk.
func (p *process) awaitFlush() {
	p.t.Helper()
	time.Sleep(5 * time.Second) // as promised
}
