package metrics_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// exported are the names of all series.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	m := newMetrics()
	m.RegisterSnapshot(state)
	m.Manages("create")
	m.Route("GET", "/x").Observe(0, 200, time.Millisecond)
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, family := range families {
		for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
			if suffix == "" || family.GetType().String() == "HISTOGRAM" {
				names[family.GetName()+suffix] = true
			}
		}
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Every metric that the alerts, their tests and the dashboard ask for exists or is
// recorded, and every family of tokend is asked for.
func TestNames(t *testing.T) {
	names, asked := exported(t), map[string]bool{}
	var expressions []string
	for _, group := range alertRules(t).Groups {
		for _, rule := range group.Rules {
			expressions = append(expressions, rule.Expr)
			if rule.Record != "" {
				names[rule.Record] = true
			}
		}
	}
	for _, p := range dashboard(t).Panels {
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	metric := regexp.MustCompile(`\b(instance:|tokend_|process_|go_)[a-z0-9_:]+\b`)
	for _, expression := range expressions {
		for _, name := range metric.FindAllString(expression, -1) {
			asked[name] = true
		}
	}
	for _, file := range []string{"alerts.yml", "alerts_test.yml", "dashboard.json"} {
		for _, name := range metric.FindAllString(read(t, file), -1) {
			if !names[name] {
				t.Errorf("%s asks for %s, which does not exist", file, name)
			}
		}
	}
	for name := range names {
		if strings.HasPrefix(name, "tokend_") && !asked[name] && !isHistogramPart(name, asked) {
			t.Errorf("%s is on no panel and in no alert", name)
		}
	}
}

// isHistogramPart reports whether another series of a histogram is asked for.
func isHistogramPart(name string, asked map[string]bool) bool {
	for _, suffix := range []string{"_bucket", "_count", "_sum", ""} {
		base := strings.TrimSuffix(name, suffix)
		for _, other := range []string{"_bucket", "_count", "_sum"} {
			if asked[base+other] {
				return true
			}
		}
	}
	return false
}

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Record, Expr string
			Labels, Annotations map[string]string
		}
	}
}

func alertRules(t *testing.T) (all rules) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "alerts.yml")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// Each alert says what is the matter and what to do, and its section of the runbook is where
// it says.
func TestAlerts(t *testing.T) {
	sections := regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(read(t, "../docs/runbook.md"), -1)
	var described []string
	for _, section := range sections {
		described = append(described, section[1])
	}
	var alerts []string
	for _, group := range alertRules(t).Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			alerts = append(alerts, rule.Alert)
			if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) {
				t.Errorf("%s: severity %q", rule.Alert, rule.Labels["severity"])
			}
			for _, annotation := range []string{"summary", "description"} {
				if len(rule.Annotations[annotation]) < 30 {
					t.Errorf("%s: %s %q", rule.Alert, annotation, rule.Annotations[annotation])
				}
			}
			if want := "file:///usr/share/doc/tokend/docs/runbook.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
				t.Errorf("%s: runbook_url %q, want %s", rule.Alert, rule.Annotations["runbook_url"], want)
			}
			if !strings.Contains(rule.Expr, `job="tokend"`) {
				t.Errorf("%s is about every job", rule.Alert)
			}
		}
	}
	if !slices.Equal(alerts, described) {
		t.Errorf("alerts %q\nrunbook %q", alerts, described)
	}
}

// Each alert has a test in which it fires and one in which it does not.
func TestAlertTests(t *testing.T) {
	var file struct {
		Tests []struct {
			PromQL []struct {
				Expr    string
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "alerts_test.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range alertRules(t).Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			fires, silent := false, false
			for _, test := range file.Tests {
				for _, question := range test.PromQL {
					isAbout := regexp.MustCompile(`alertname=~?"([^"]+)"`).FindStringSubmatch(question.Expr)
					if isAbout == nil || !regexp.MustCompile("^"+isAbout[1]+"$").MatchString(rule.Alert) {
						continue
					}
					silent = silent || len(question.Samples) == 0
					for _, sample := range question.Samples {
						fires = fires || strings.Contains(sample.Labels, `alertname="`+rule.Alert+`"`)
					}
				}
			}
			if !fires || !silent {
				t.Errorf("%s: it is shown to fire: %v, to be silent: %v", rule.Alert, fires, silent)
			}
		}
	}
}

// promtool runs Prometheus's own checks.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("TOKEND_REQUIRE_ALL") != "" {
			t.Fatal("promtool is not installed")
		}
		t.Skip("promtool is not installed")
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil || input != "" && len(out) > 0 {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtool(t *testing.T) {
	t.Run("rules", func(t *testing.T) { promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", "alerts.yml") })
	t.Run("alerts", func(t *testing.T) { promtool(t, "", "test", "rules", "alerts_test.yml") })
	t.Run("metrics", func(t *testing.T) {
		m := newMetrics()
		m.RegisterSnapshot(state)
		m.Route("GET", "/x").Observe(0, 200, time.Millisecond)
		promtool(t, scrape(t, m), "check", "metrics")
	})
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ UID string }
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct {
		Expr       string
		Datasource struct{ UID string }
	}
}

type board struct {
	Editable   bool
	Panels     []panel
	Templating struct {
		List []struct{ Name string }
	}
}

func dashboard(t *testing.T) (d board) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// The dashboard keeps the rules of grafana/dashboard-linter, and nothing of it lies
// over anything else.
func TestDashboard(t *testing.T) {
	dashboard := dashboard(t)
	var variables []string
	for _, variable := range dashboard.Templating.List {
		variables = append(variables, variable.Name)
	}
	if dashboard.Editable || !slices.Equal(variables, []string{"datasource", "job", "instance"}) {
		t.Errorf("editable %v, variables %q", dashboard.Editable, variables)
	}
	for i, p := range dashboard.Panels {
		for _, other := range dashboard.Panels[:i] {
			a, b := p.GridPos, other.GridPos
			if p.ID == other.ID || a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s and %s are in one place", p.Title, other.Title)
			}
		}
		if p.Type != "row" {
			expectLinted(t, p)
		}
	}
}

func expectLinted(t *testing.T, p panel) {
	t.Helper()
	const source = "${datasource}"
	if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != source || len(p.Targets) == 0 {
		t.Errorf("%s: something is missing: %+v", p.Title, p)
	}
	for _, target := range p.Targets {
		if target.Datasource.UID != source {
			t.Errorf("%s: data source %q", p.Title, target.Datasource.UID)
		}
		selectors := regexp.MustCompile(`\{[^}]*\}`).FindAllString(target.Expr, -1)
		if len(selectors) == 0 {
			t.Errorf("%s: %s is about everything", p.Title, target.Expr)
		}
		for _, selector := range selectors {
			if !strings.Contains(selector, `job=~"$job", instance=~"$instance"`) {
				t.Errorf("%s: %s", p.Title, selector)
			}
		}
		for _, span := range regexp.MustCompile(`\[[^]]*\]`).FindAllString(target.Expr, -1) {
			if span != "[$__rate_interval]" {
				t.Errorf("%s: %s", p.Title, span)
			}
		}
		for _, counter := range regexp.MustCompile(`(\w+\()?\w+_(total|bucket)\{`).FindAllString(target.Expr, -1) {
			if !strings.HasPrefix(counter, "rate(") {
				t.Errorf("%s: %s is not aggregated with rate", p.Title, counter)
			}
		}
	}
}
