package metrics_test

import (
	"os"
	"regexp"
	"testing"
	"time"
)

// Every metric that the alerts and the dashboard ask for exists.
func TestAlertsAndDashboard(t *testing.T) {
	m := newMetrics()
	m.Watch(state)
	m.Route("GET", "/x").Observe(0, 200, time.Millisecond)
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	for _, family := range families {
		exists[family.GetName()] = true
		exists[family.GetName()+"_bucket"] = true
	}
	for _, file := range []string{"alerts.yml", "dashboard.json"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`\b(tokend|process|go)_[a-z_]+\b`).FindAllString(string(content), -1)
		if len(found) < 4 {
			t.Errorf("%s asks for %q only", file, found)
		}
		for _, name := range found {
			if !exists[name] {
				t.Errorf("%s asks for %s, which does not exist", file, name)
			}
		}
	}
}
