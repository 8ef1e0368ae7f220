package cli_test

import (
	"testing"

	"tokend/cli"
)

// What a duration or a moment is shown as means the same again.
func FuzzTimes(f *testing.F) {
	for _, text := range []string{"30d", "1h30m", "0", "2027-01-01", "2027-01-01T12:00:00Z", "2027-01-01 12:00", "0000-01-01", "9999-12-31T23:59:59+14:00", "292y", "-1d", "1ms"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, set := range cli.TimeFlags {
			shown, err := set(text)
			if err != nil || shown == "" {
				continue
			}
			if again, err := set(shown); err != nil || again != shown {
				t.Errorf("%s %q is %q, and that is %q, %v", name, text, shown, again, err)
			}
		}
	})
}
