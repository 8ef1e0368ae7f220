package config_test

import (
	"os"
	"path/filepath"
	"testing"

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
