package recipes_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const prometheusAddress = "127.0.0.1:9090"

// startPrometheus runs Prometheus with the recipe, but for its interval.
func startPrometheus(t *testing.T, adjust func(recipe string) string, args ...string) (dir string) {
	t.Helper()
	require(t, "prometheus")
	dir = t.TempDir()
	recipe, err := os.ReadFile("prometheus.yml")
	do(t, err)
	alerts, err := os.ReadFile("../metrics/alerts.yml")
	do(t, err)
	do(t, os.WriteFile(filepath.Join(dir, "alerts.yml"), alerts, 0o600))
	configuration := filepath.Join(dir, "prometheus.yml")
	do(t, os.WriteFile(configuration, []byte(strings.ReplaceAll(adjust(string(recipe)), "15s", "1s")), 0o600))
	start(t, exec.Command("prometheus", append(args, "--config.file="+configuration, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+prometheusAddress)...), prometheusAddress)
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get("http://" + prometheusAddress + "/-/ready")
		do(t, err)
		do(t, response.Body.Close())
		if response.StatusCode == http.StatusOK {
			return dir
		}
	}
	t.Fatal("Prometheus is not ready")
	return ""
}

// askPrometheus decodes what its API answers.
func askPrometheus(t *testing.T, target string, data any) {
	t.Helper()
	response, err := http.Get("http://" + prometheusAddress + "/api/v1/" + target)
	do(t, err)
	defer func() { do(t, response.Body.Close()) }()
	content, err := io.ReadAll(response.Body)
	do(t, err)
	answer := struct{ Data any }{data}
	if err := json.Unmarshal(content, &answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", target, response.StatusCode, content)
	}
}

type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (s sample) value(t *testing.T) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s.Value[1].(string), 64)
	do(t, err)
	return v
}

func query(t *testing.T, expression string) []sample {
	t.Helper()
	var result struct{ Result []sample }
	askPrometheus(t, "query?query="+url.QueryEscape(expression), &result)
	return result.Result
}

// expectQuery waits until an expression has one value.
func expectQuery(t *testing.T, expression string, want float64) {
	t.Helper()
	var got []sample
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(200 * time.Millisecond) {
		if got = query(t, expression); len(got) == 1 && got[0].value(t) == want {
			return
		}
	}
	t.Errorf("%s: %v, want %v", expression, got, want)
}

// A person who copies the three files sees what happened.
func TestPrometheus(t *testing.T) {
	require(t, "prometheus")
	config := filepath.Join(t.TempDir(), "config.toml")
	do(t, os.WriteFile(config, []byte("[metrics]\ntoken_names = true\n"), 0o600))
	tokens := startTokend(t, "--config", config)
	dir := startPrometheus(t, func(recipe string) string { return recipe })
	t.Run("promtool has nothing to say", func(t *testing.T) {
		require(t, "promtool")
		if out, err := exec.Command("promtool", "check", "config", "--lint=all", "--lint-fatal", filepath.Join(dir, "prometheus.yml")).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		check := exec.Command("promtool", "check", "metrics")
		response, err := http.Get("http://" + tokendAddress + "/metrics")
		do(t, err)
		defer func() { do(t, response.Body.Close()) }()
		check.Stdin = response.Body
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
	expectQuery(t, `up{job="tokend"}`, 1)

	load := tokens.load(t, 8, 5*time.Second)
	t.Run("the counts are what the client did", func(t *testing.T) {
		for result, n := range load {
			expectQuery(t, `tokend_verifications_total{result="`+result+`"}`, float64(n))
		}
		expectQuery(t, `sum(tokend_http_requests_total{route="/_/auth/read"})`, float64(load["valid"]+load["invalid_unknown"]+load["invalid_expired"]+load["invalid_inactive"]))
		expectQuery(t, `tokend_http_request_duration_seconds_count{route="/_/auth/write"}`, float64(load["insufficient_scope"]))
		expectQuery(t, `tokend_management_calls_total{operation="create",outcome="done"}`, 5)
		expectQuery(t, `tokend_management_calls_total{operation="import",outcome="done"}`, 1)
		expectQuery(t, `tokend_management_calls_total{operation="delete",outcome="done"}`, 1)
		expectQuery(t, `tokend_tokens{status="active"}`, 3)
		expectQuery(t, `tokend_tokens{status="expired"}`, 1)
		expectQuery(t, `tokend_tokens_expiring{within="2d"}`, 1)
	})
	t.Run("the target is up", func(t *testing.T) {
		var targets struct {
			ActiveTargets []struct{ Health, LastError string }
		}
		askPrometheus(t, "targets", &targets)
		if len(targets.ActiveTargets) != 1 || targets.ActiveTargets[0].Health != "up" || targets.ActiveTargets[0].LastError != "" {
			t.Errorf("%+v", targets)
		}
	})
	t.Run("the rules are fine, and no alert fires", func(t *testing.T) {
		var rules struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError, State string }
			}
		}
		askPrometheus(t, "rules", &rules)
		n := 0
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				if n++; rule.Health != "ok" || rule.LastError != "" || rule.State == "firing" {
					t.Errorf("%+v", rule)
				}
			}
		}
		if n != 21 {
			t.Errorf("%d rules", n)
		}
	})
	t.Run("the dashboard shows something everywhere", func(t *testing.T) { expectDashboard(t) })
	t.Run("an alert that should", func(t *testing.T) {
		tokens.stop(t)
		expectQuery(t, `ALERTS{alertname="TokendDown",alertstate="pending"}`, 1)
	})
}

// load verifies for a while, with several clients, and gives how many results there
// must be.
func (s *tokend) load(t *testing.T, clients int, during time.Duration) map[string]int {
	t.Helper()
	brief := s.create(t, fmt.Sprintf(`{"name":"brief","expiration_date":%d}`, time.Now().Add(time.Hour).UnixMilli()))
	var (
		mu      sync.Mutex
		results = map[string]int{}
		wg      sync.WaitGroup
	)
	for range clients {
		wg.Go(func() {
			for begin := time.Now(); time.Since(begin) < during; {
				for _, c := range []struct{ path, token, result string }{
					{"read", s.good, "valid"}, {"read", brief, "valid"}, {"write", s.reader, "insufficient_scope"},
					{"read", s.deleted, "invalid_unknown"}, {"read", s.expired, "invalid_expired"}, {"read", s.revoked, "invalid_inactive"},
				} {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+tokendAddress+"/_/auth/"+c.path, nil)
					if err != nil {
						t.Error(err)
						return
					}
					r.Header.Set("Authorization", "Bearer "+c.token)
					a, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, a.Body)
					_ = a.Body.Close()
					mu.Lock()
					results[c.result]++
					mu.Unlock()
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return results
}

// expectDashboard asks Prometheus what Grafana would.
func expectDashboard(t *testing.T) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	content, err := os.ReadFile("../metrics/dashboard.json")
	do(t, err)
	do(t, json.Unmarshal(content, &dashboard))
	mayBeEmpty := map[string]bool{"Certificate: time left": true, "Old values in use": true, "Alerts": true}
	n := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			n++
			expression := strings.NewReplacer("$__rate_interval", "30s", "$job", "tokend", "$instance", ".+").Replace(target.Expr)
			if got := query(t, expression); len(got) == 0 && !mayBeEmpty[panel.Title] {
				t.Errorf("%s shows nothing: %s", panel.Title, expression)
			}
		}
	}
	if n < 30 {
		t.Errorf("%d expressions only", n)
	}
}

// A scrape with a token, and the native histograms that Prometheus then gets.
func TestPrometheus_token(t *testing.T) {
	require(t, "prometheus")
	config := filepath.Join(t.TempDir(), "config.toml")
	do(t, os.WriteFile(config, []byte("[metrics]\ntoken = true\n"), 0o600))
	tokens := startTokend(t, "--config", config)
	value := tokens.create(t, `{"name":"prometheus","write":false}`)
	startPrometheus(t, func(recipe string) string {
		credentials := filepath.Join(t.TempDir(), "tokend.token")
		do(t, os.WriteFile(credentials, []byte(value+"\n"), 0o600))
		return strings.NewReplacer(
			"# authorization:", "authorization:",
			"#   credentials_file: tokend.token", "  credentials_file: "+credentials,
		).Replace(recipe)
	}, "--enable-feature=native-histograms")
	expectQuery(t, `up{job="tokend"}`, 1)
	load := tokens.load(t, 2, 3*time.Second)
	expectQuery(t, `histogram_count(tokend_http_request_duration_seconds{route="/_/auth/write"})`, float64(load["insufficient_scope"]))
	median := query(t, `histogram_quantile(0.5, tokend_http_request_duration_seconds{route="/_/auth/read"})`)
	if len(median) != 1 || median[0].value(t) <= 1e-6 || median[0].value(t) > 0.1 {
		t.Errorf("the median of verifications is %v", median)
	}
	expectQuery(t, `sum(tokend_authentication_failures_total{access="metrics"})`, 0)

	tokens.admin(t, "DELETE", "/_/token?name=prometheus", "")
	expectQuery(t, `up{job="tokend"}`, 0)
}
