package cli_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A server leaves no core dump, and no other process may look into its memory.
func TestMemoryIsPrivate(t *testing.T) {
	p := startProcess(t, t.TempDir(), "ulimit -S -c unlimited")
	proc := fmt.Sprintf("/proc/%d/", p.Cmd.Process.Pid)
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok && strings.Fields(rest)[0] != "0" {
			t.Error(line)
		}
	}
	p.Stop()
}

// However little memory it may have, it serves: a limit of no connection at all would be
// worse than one that is passed.
func TestSmallestMemoryLimit(t *testing.T) {
	p := newProcess(t, t.TempDir())
	p.Cmd.Env = append(os.Environ(), "GOMEMLIMIT=64KiB")
	p.start()
	p.Stop()
}
