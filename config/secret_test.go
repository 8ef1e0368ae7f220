package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tokend/config"
)

func TestReadSecret_modes(t *testing.T) {
	for _, c := range []struct {
		mode os.FileMode
		ok   bool
	}{
		{0o600, true}, {0o400, true}, {0o640, true}, {0o440, true},
		{0o644, false}, {0o604, false}, {0o660, false}, {0o620, false}, {0o602, false}, {0o666, false},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		write(t, path, "x", c.mode)
		_, err := config.ReadSecret(path)
		if (err == nil) != c.ok {
			t.Errorf("mode %#o: %v", c.mode, err)
		}
		var refused *config.FileError
		if !c.ok && (!errors.As(err, &refused) || !strings.Contains(refused.Hint(), "chmod 600 "+path)) {
			t.Errorf("mode %#o: the error gives no way out: %v", c.mode, err)
		}
	}
}

func TestReadSecret_credentialsDirectory(t *testing.T) {
	credentials, elsewhere := t.TempDir(), t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	write(t, filepath.Join(credentials, "key"), "x", 0o444)
	write(t, filepath.Join(elsewhere, "key"), "x", 0o444)
	if _, err := config.ReadSecret(filepath.Join(credentials, "key")); err != nil {
		t.Errorf("a credential: %v", err)
	}
	t.Chdir(filepath.Dir(credentials))
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Base(credentials))
	if _, err := config.ReadSecret(filepath.Join(filepath.Base(credentials), "key")); err != nil {
		t.Errorf("a credential by a relative path: %v", err)
	}
	for _, path := range []string{
		filepath.Join(elsewhere, "key"),
		credentials + "/../" + filepath.Base(elsewhere) + "/key",
	} {
		if _, err := config.ReadSecret(path); err == nil {
			t.Errorf("%s is no credential and was read", path)
		}
	}
}

func TestReadSecret_owner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "x", 0o600)
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ReadSecret(path); err == nil || err.Error() != path+": it belongs to another user" {
		t.Errorf("error %v", err)
	}
}

func TestReadSecret_refuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	write(t, large, strings.Repeat("x", 64<<10+1), 0o600)
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file or directory",
		dir:                        "not a regular file",
		fifo:                       "not a regular file",
		large:                      "too large for a key or token file",
	} {
		_, err := config.ReadSecret(path)
		if err == nil || err.Error() != path+": "+want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestReadAdminToken(t *testing.T) {
	good := strings.Repeat("s", 32)
	for _, c := range []struct{ name, content, want string }{
		{"a line", good + "\n", ""},
		{"no newline", good, ""},
		{"CRLF", good + "\r\n", ""},
		{"the longest", strings.Repeat("s", 512) + "\n", ""},
		{"too short", good[1:] + "\n", "an admin token has at least 32 characters"},
		{"empty", "", "an admin token has at least 32 characters"},
		{"too long", strings.Repeat("s", 513), "an admin token has at most 512 characters"},
		{"two lines", good + "\n" + good + "\n", "an admin token is one line of visible ASCII"},
		{"a space", good + " x", "an admin token is one line of visible ASCII"},
		{"beyond ASCII", good + "é", "an admin token is one line of visible ASCII"},
	} {
		path := filepath.Join(t.TempDir(), "token")
		write(t, path, c.content, 0o600)
		token, err := config.ReadAdminToken(path)
		switch {
		case c.want == "" && (err != nil || token != strings.TrimSpace(c.content)):
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || err.Error() != path+": "+c.want):
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "sss") {
			t.Errorf("%s: the error repeats the token", c.name)
		}
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}
