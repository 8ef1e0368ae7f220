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

// A moment is taken as people and date(1) write it, and read as what it says.
func TestMoments(t *testing.T) {
	utc := time.Date(2027, 1, 2, 12, 0, 0, 0, time.UTC)
	local := time.Date(2027, 1, 2, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"2027-01-02":       time.Date(2027, 1, 2, 0, 0, 0, 0, time.Local),
		"2027-01-02 12:00": local, "2027-01-02T12:00": local, "2027-01-02 12:00:00": local, "2027-01-02T12:00:00": local,
		"2027-01-02 12:00:00Z": utc, "2027-01-02T12:00Z": utc, "2027-01-02 12:00 UTC": utc, "2027-01-02 12:00:00 UTC": utc,
		"2027-01-02 12:00:00+00:00": utc, // date --rfc-3339=seconds
		"2027-01-02T14:00:00+02:00": utc, // date --iso-8601=seconds
		"2027-01-02T14:00+0200":     utc, "2027-01-02 07:00:00 -0500": utc, "2027-01-02T14:00:00+02": utc, "2027-01-02 17:30:00 +05:30": utc,
		"2027-01-02T12:00:00.000Z": utc,
	} {
		shown, err := cli.TimeFlags["moment"](text)
		got, malformed := time.Parse(time.RFC3339, shown)
		if err != nil || malformed != nil || !got.Equal(want) {
			t.Errorf("%s is %s (%v), want %v", text, shown, err, want)
		}
	}
	for _, text := range []string{"", "tomorrow", "2027-13-01", "2027-01-02 25:00", "12:00", "2027-01-02 12:00 CET", "01/02/2027", "1798891200"} {
		if shown, err := cli.TimeFlags["moment"](text); err == nil {
			t.Errorf("%q is taken as %s", text, shown)
		}
	}
}
