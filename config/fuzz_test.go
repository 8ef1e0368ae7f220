package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"tokend/config"
)

// Whatever the file, it is a configuration that can be validated or an error.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("../config.example.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, text := range []string{"listen = [\"unix:x\"]\n[log]\nlevel = 'loud'", "[[admin]]\nname = \"x\"", "a.b.c = {d = [{E = 1}]}", "x = \"\\uD800\"", "[timeouts]\nidle = 1"} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "config.toml")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := config.Load(path); err == nil {
			_ = c.Validate()
		}
	})
}

// Whatever the file, it is one line of visible ASCII that is long enough, or an error that
// tells nothing of it.
func FuzzReadAdminToken(f *testing.F) {
	const good = "an-admin-token-of-32-characters.."
	for _, text := range []string{good, good + "\r\n", good + "\n\n", " " + good, "short", "", "\x00" + good, strings.Repeat("x", 513)} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "admin.token")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		switch token, err := config.ReadAdminToken(path); {
		case err != nil && len(content) > 20 && strings.Contains(err.Error(), string(content)):
			t.Errorf("told: %v", err)
		case err == nil && (len(token) < 32 || strings.Trim(string(content), "\r\n") != token || strings.ContainsFunc(token, func(r rune) bool { return !unicode.IsGraphic(r) || r == ' ' || r > unicode.MaxASCII })):
			t.Errorf("%q is %q", content, token)
		}
	})
}
