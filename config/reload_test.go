package config_test

import (
	"slices"
	"strings"
	"testing"

	"tokend/config"
)

// What config.example.toml says of restarts is so.
func TestNeedRestart(t *testing.T) {
	before := config.Default()
	after := config.Config{Listen: []string{"x"}, AdminSocket: "x", DataDir: "x", AdminTokenFile: "x", MasterKeyFile: "x", TLS: config.TLS{CertFile: "x"}}
	after.Log.Format, after.Metrics.Listen = "json", "x"
	keys := before.NeedRestart(after)
	_, list, _ := strings.Cut(strings.ReplaceAll(string(read(t, example)), "\n# ", " "), "What needs a restart: ")
	list, _, _ = strings.Cut(list, ".\n")
	documented := strings.Split(list, ", ")
	if !slices.Equal(keys, documented) {
		t.Errorf("%q, documented are %q", keys, documented)
	}
	if keys := before.NeedRestart(config.Default()); keys != nil {
		t.Errorf("nothing has changed, but %q", keys)
	}
	after = before
	after.Admins, after.AllowedHosts, after.AdminUsers = []config.Admin{{}}, []string{"x"}, []string{"x"}
	after.AllowPlaintext, after.Limits, after.Timeouts, after.Audit, after.Log.Level = true, config.Limits{}, config.Timeouts{}, config.Audit{}, "x"
	after.Metrics.Token, after.Metrics.TokenNames = true, true
	if keys := before.NeedRestart(after); keys != nil {
		t.Errorf("%q need a restart", keys)
	}
}
