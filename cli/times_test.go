package cli_test

import (
	"testing"
	"time"

	"tokend/cli"
	"tokend/config"
)

func TestRelative(t *testing.T) {
	now := time.UnixMilli(1_900_000_000_000)
	const second, minute, hour, day = 1000, 60_000, 3_600_000, 86_400_000
	for distance, want := range map[int64]string{
		0: "in a moment", 59 * second: "in a moment", minute: "in 1 minute", 89 * second: "in 1 minute", 90 * second: "in 2 minutes",
		hour: "in 60 minutes", 2*hour - 1: "in 2 hours", 47 * hour: "in 47 hours", 2 * day: "in 2 days", 30*day - 1: "in 30 days",
		30*day - hour: "in 29 days", 729 * day: "in 729 days", 730 * day: "in 2 years", 1000 * 365 * day: "in 1000 years",
		-1: "just now", -59 * second: "just now", -minute: "1 minute ago", -25 * hour: "25 hours ago", -90 * day: "90 days ago",
		-1_900_000_000_000: "60 years ago",
	} {
		if got := cli.Relative(now.UnixMilli()+distance, now); got != want {
			t.Errorf("%d: %s, want %s", distance, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		listen []string
		want   string
	}{
		{[]string{"127.0.0.1:8470"}, "http://127.0.0.1:8470"},
		{[]string{"127.0.0.1:8470", "unix:/run/tokend.sock"}, "unix:/run/tokend.sock"},
		{[]string{"0.0.0.0:80"}, "http://127.0.0.1:80"},
		{[]string{":80"}, "http://127.0.0.1:80"},
		{[]string{"[::]:80"}, "http://[::1]:80"},
		{[]string{"[::1]:80"}, "http://[::1]:80"},
		{[]string{"10.0.0.1:80"}, "http://10.0.0.1:80"},
	} {
		if got := cli.Address(config.Config{Listen: c.listen}); got != c.want {
			t.Errorf("%v: %s, want %s", c.listen, got, c.want)
		}
	}
}

// Names that versions before took, and that cannot be seen.
func TestShown(t *testing.T) {
	for name, want := range map[string]string{
		"backup job": "backup job", "резерв": "резерв", "cafe\u0301": "cafe\u0301",
		"\u3164": `"\u3164"`, "deploy\ufe0f": `"deploy\ufe0f"`, "a\ufffe": `"a\ufffe"`,
	} {
		if got := cli.Shown(name); got != want {
			t.Errorf("%+q is shown as %s, want %s", name, got, want)
		}
	}
}
