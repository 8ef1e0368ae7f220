package cli_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// copyProgram puts tokend where other users may run it.
func copyProgram(t *testing.T, dir string) string {
	t.Helper()
	from, err := exec.LookPath("tokend")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tokend")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// The command line needs no token where the server knows its user.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be root and another user")
	}
	const socketed = minimal + "admin_socket = \"admin.sock\"\n"
	s := newService(t, socketed)
	// Another user must reach the program and the folder.
	program := copyProgram(t, s.dir)
	for folder := s.dir; folder != filepath.Clean(os.TempDir()) && folder != "/"; folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(s.dir, "config.toml"), 0o644); err != nil {
		t.Fatal(err)
	}
	tokend := func(uid uint32, args ...string) (string, error) {
		cmd := exec.CommandContext(context.Background(), program, args...)
		cmd.Dir = s.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	expectMode := func(want os.FileMode) {
		t.Helper()
		if info, err := os.Stat(filepath.Join(s.dir, "admin.sock")); err != nil || info.Mode().Perm() != want {
			t.Error(info, err)
		}
	}
	expectMode(0o600)
	if err := os.Remove(filepath.Join(s.dir, "data", "admin.token")); err != nil {
		t.Fatal(err)
	}
	if output, err := tokend(0, "token", "create", "x", "--config", "config.toml"); err != nil {
		t.Errorf("root: %v %s", err, output)
	}
	const daemon = 1
	if output, err := tokend(daemon, "token", "list", "--addr", "unix:admin.sock", "--config", "config.toml"); err == nil || !strings.Contains(output, "permission denied") {
		t.Errorf("another user: %v %s", err, output)
	}
	s.write("config.toml", socketed+"admin_users = [\"daemon\"]\n")
	s.expectTaken()
	expectMode(0o666)
	if output, err := tokend(daemon, "token", "list", "--config", "config.toml"); err != nil || !strings.Contains(output, "x") {
		t.Errorf("a user among admin_users: %v %s", err, output)
	}
	if output, err := tokend(2, "token", "list", "--addr", "unix:admin.sock", "--config", "config.toml"); err == nil || !strings.Contains(output, "error: your user is not an administrator of this server") {
		t.Errorf("a third user: %v %s", err, output)
	}
	s.write("config.toml", socketed+"admin_users = [\"no-such-user\"]\n")
	s.expectRefused(`there is no user \"no-such-user\" here`)
	if output, err := tokend(daemon, "token", "list", "--addr", "unix:admin.sock", "--config", "config.toml"); err != nil {
		t.Errorf("a refused reload took the right away: %v %s", err, output)
	}
	s.Stop()
	if !strings.Contains(s.Log.String(), `who=local:root from="uid=0,pid=`) {
		t.Errorf("the audit does not know them:\n%s", &s.Log)
	}
}
