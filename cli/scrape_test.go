package cli_test

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scrape is what Prometheus reads.
func (p *process) scrape() string {
	p.t.Helper()
	response, err := p.Client.Get("http://localhost/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		p.t.Fatal(response.StatusCode, err)
	}
	return string(content)
}

// series are the values of a scrape by name and labels.
func (p *process) series() map[string]float64 {
	p.t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(p.scrape()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[cut:]), 64)
		if err != nil {
			p.t.Fatal(err)
		}
		all[line[:cut]] = value
	}
	return all
}

// awaitSeries waits until a series has a value.
func (p *process) awaitSeries(name string, want float64) {
	p.t.Helper()
	got := math.NaN()
	for range 500 {
		if got = p.series()[name]; got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Errorf("%s is %v, want %v", name, got, want)
}

// The families of tokend with their types, help and series, but without values, are
// in testdata/scrape.golden: a fresh server with TLS and metrics.token_names, which
// has a token that expires and one whose old value is used. UPDATE_GOLDEN=1 writes
// the file.
func TestScrape_golden(t *testing.T) {
	t.Parallel()
	s := newServiceThat(t, minimal+"[tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n[metrics]\ntoken_names = true\n", func(s *service) {
		certificate, key := newAuthority(t).issue()
		s.write("cert.pem", certificate)
		s.write("key.pem", key)
	})
	defer s.Stop()
	before, old := shape(s.scrape()), ""
	for _, request := range []string{
		fmt.Sprintf(`{"name":"expiring","expiration_date":%d}`, time.Now().Add(24*time.Hour).UnixMilli()),
		`{"name":"rotated"}`,
	} {
		status, created, err := s.ask("POST", "/_/token", request)
		if err != nil || status != http.StatusCreated {
			t.Fatal(status, err)
		}
		if created[0].Name == "rotated" {
			if status, _, err := s.ask("POST", "/_/token/rotate", `{"name":"rotated","grace_ms":3600000}`); err != nil || status != http.StatusOK {
				t.Fatal(status, err)
			}
			old = created[0].Token
		}
	}
	after := ""
	for range 500 { // what takes long to find is not found anew for each scrape
		if _, err := s.present(old); err != nil {
			t.Fatal(err)
		}
		after = shape(s.scrape())
		if strings.Contains(after, `{name="expiring"}`) && strings.Contains(after, `{name="rotated"}`) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	names := regexp.MustCompile(`(?m)^.*tokend_(token|old_value)_expiry_timestamp_seconds.*\n`)
	if diff := cmp.Diff(names.ReplaceAllString(after, ""), before); diff != "" {
		t.Errorf("not all is exported from the start: used (-), fresh (+):\n%s", diff)
	}
	const golden = "testdata/scrape.golden"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(after), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), after); diff != "" {
		t.Errorf("golden (-), scraped (+); UPDATE_GOLDEN=1 takes it over:\n%s", diff)
	}
}

// shape is a scrape without its values, of tokend's families, and with the buckets
// of one route that stands for all.
func shape(scrape string) string {
	var b strings.Builder
	for line := range strings.Lines(scrape) {
		if !strings.Contains(line, "tokend_") || strings.Contains(line, "route=") && strings.Contains(line, "le=") && !strings.Contains(line, "/_/auth/read") {
			continue
		}
		if !strings.HasPrefix(line, "#") {
			line = line[:strings.LastIndexByte(line, ' ')] + "\n"
		}
		line = regexp.MustCompile(`(goversion|revision|version)="[^"]*"`).ReplaceAllString(line, `$1="…"`)
		b.WriteString(line)
	}
	return b.String()
}

// Names are told only where somebody wants them, which a reload decides.
func TestScrape_names(t *testing.T) {
	t.Parallel()
	s := newService(t, minimal)
	defer s.Stop()
	expiring := fmt.Sprintf(`{"name":"private","expiration_date":%d}`, time.Now().Add(time.Hour).UnixMilli())
	if status, _, err := s.ask("POST", "/_/token", expiring); err != nil || status != http.StatusCreated {
		t.Fatal(status, err)
	}
	expect := func(want bool) {
		t.Helper()
		for range 500 {
			if strings.Contains(s.scrape(), `{name="private"}`) == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("the name is told: %v", !want)
	}
	expect(false)
	s.configure(minimal + "[metrics]\ntoken_names = true\n")
	s.expectTaken()
	expect(true)
	s.configure(minimal)
	s.expectTaken()
	expect(false)
}

func TestScrape_reload(t *testing.T) {
	t.Parallel()
	s := newService(t, minimal)
	defer s.Stop()
	const successful, at = "tokend_config_last_reload_successful", "tokend_config_last_reload_success_timestamp_seconds"
	started := s.series()
	if since := time.Since(time.UnixMilli(int64(1000 * started[at]))); started[successful] != 1 || since < 0 || since > time.Minute {
		t.Errorf("after the start: %v, %v", started[successful], since)
	}
	s.configure("nonsense")
	s.expectRefused("config.toml:1:")
	refused := s.series()
	if refused[successful] != 0 || refused[at] != started[at] {
		t.Errorf("after a refusal: %v, %v", refused[successful], refused[at])
	}
	s.configure(minimal)
	s.expectTaken()
	if taken := s.series(); taken[successful] != 1 || taken[at] <= started[at] {
		t.Errorf("after a reload: %v, %v", taken[successful], taken[at])
	}
}

func TestScrape_certificate(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	s := newServiceThat(t, minimal+"[tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n", func(s *service) {
		certificate, key := authority.issue()
		s.write("cert.pem", certificate)
		s.write("key.pem", key)
	})
	defer s.Stop()
	const name = "tokend_tls_certificate_expiry_timestamp_seconds"
	expires := time.Unix(int64(s.series()[name]), 0)
	if left := time.Until(expires); left < 50*time.Minute || left > time.Hour {
		t.Errorf("it expires in %v", left)
	}
	time.Sleep(time.Second) // times in certificates have seconds
	certificate, key := authority.issue()
	s.write("key.pem", key)
	for _, c := range []struct {
		name, chain string
		later       bool
	}{
		{"renewed", certificate, true},
		{"with an authority that expires before", certificate + asPEM("CERTIFICATE", authority.certificate.Raw), false},
	} {
		s.write("cert.pem", c.chain)
		s.expectTaken()
		if got := time.Unix(int64(s.series()[name]), 0); got.After(expires) != c.later {
			t.Errorf("%s: it expires at %v, before at %v", c.name, got, expires)
		}
	}
}

func TestMetricsListen(t *testing.T) {
	t.Parallel()
	s := newService(t, minimal+"[metrics]\nlisten = \"127.0.0.1:0\"\n")
	defer s.Stop()
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(s.expectNotice(`serving at .*127\.0\.0\.1:\d+`))
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/readyz": 200, "/_/token": 404, "/": 404} {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
	}
	if status, _, err := s.ask("GET", "/metrics", ""); err != nil || status != http.StatusNotFound {
		t.Errorf("at the other address: %d %v", status, err)
	}
}

// What is kept of the numbers of tokens is what a scan finds, after changes of every
// kind, and after kill -9 in the middle of them.
func TestKill_census(t *testing.T) {
	t.Parallel()
	const writers, enough = 16, 3000
	dir := t.TempDir()
	for round := range 2 {
		p := startProcess(t, dir)
		var (
			changed atomic.Int64
			wg      sync.WaitGroup
		)
		for w := range writers {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for p.changeSomething(random, w) {
					changed.Add(1)
				}
			})
		}
		for changed.Load() < enough {
			time.Sleep(time.Millisecond)
		}
		if err := p.Cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.Cmd.Wait()
		wg.Wait()
		p = startProcess(t, dir)
		time.Sleep(1100 * time.Millisecond) // what expires within a second has
		p.expectCensus()
		p.Stop()
	}
}

// changeSomething changes one of a writer's tokens. It is false once the server is
// gone.
func (p *process) changeSomething(random *rand.Rand, writer int) bool {
	name := fmt.Sprintf("%d-%d", writer, random.IntN(20))
	expiry := "null"
	if days := []int{0, 0, 1, 7, 20, 40}[random.IntN(6)]; random.IntN(4) > 0 {
		expiry = strconv.FormatInt(time.Now().Add(time.Duration(days)*24*time.Hour+time.Second).UnixMilli(), 10)
	}
	spec := fmt.Sprintf(`{"name":%q,"active":%t,"expiration_date":%s}`, name, random.IntN(3) > 0, expiry)
	var err error
	switch random.IntN(6) {
	case 0, 1:
		_, _, err = p.ask("POST", "/_/token", spec)
	case 2:
		_, _, err = p.ask("PUT", "/_/token", spec)
	case 3:
		_, _, err = p.ask("PATCH", "/_/token", fmt.Sprintf(`{"name":%q,"active":%t}`, name, random.IntN(2) > 0))
	case 4:
		_, _, err = p.ask("POST", "/_/token/rotate", fmt.Sprintf(`{"name":%q,"grace_ms":%d}`, name, random.IntN(2)*3600_000))
	case 5:
		_, _, err = p.ask("DELETE", "/_/token?name="+name, "")
	}
	return err == nil
}

// expectCensus compares a scrape with a list.
func (p *process) expectCensus() {
	p.t.Helper()
	_, listed, err := p.ask("GET", "/_/token", "")
	if err != nil {
		p.t.Fatal(err)
	}
	want := map[string]float64{}
	for _, t := range listed {
		left := time.Until(time.UnixMilli(t.ExpirationDate))
		want[`tokend_tokens{status="`+t.Status+`"}`]++
		for within, days := range map[string]time.Duration{"2d": 2, "14d": 14, "30d": 30} {
			if t.Status == "active" && t.Expires && left <= days*24*time.Hour {
				want[`tokend_tokens_expiring{within="`+within+`"}`]++
			}
		}
		if t.PreviousValidUntil != 0 {
			want[`tokend_old_values{state="unused"}`]++
		}
	}
	if len(want) != 7 {
		p.t.Errorf("not all kinds are there: %v", want)
	}
	p.awaitSeries(`tokend_tokens{status="active"}`, want[`tokend_tokens{status="active"}`])
	got := map[string]float64{}
	for name, value := range p.series() {
		family, _, _ := strings.Cut(name, "{")
		if value != 0 && slices.Contains([]string{"tokend_tokens", "tokend_tokens_expiring", "tokend_old_values"}, family) {
			got[name] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Errorf("listed (-), scraped (+):\n%s", diff)
	}
}
