package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// need skips the test where a program is missing, or root, unless all are required.
func need(t *testing.T, programs ...string) {
	t.Helper()
	missing := ""
	if os.Geteuid() != 0 {
		missing = "only root can mount a disk"
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = program + " is not installed"
		}
	}
	switch {
	case missing != "" && os.Getenv("TOKEND_REQUIRE_ALL") != "":
		t.Fatal(missing)
	case missing != "":
		t.Skip(missing)
	}
}

// disk is an XFS in a file, which can lose its power.
type disk struct {
	t     *testing.T
	image string
	path  string // where it is mounted
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	need(t, "mkfs.xfs", "xfs_io", "mount", "umount")
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "image"), path: filepath.Join(dir, "disk")}
	const size = 320 << 20 // the smallest that mkfs.xfs makes is 300 MiB
	writeFile(t, d.image, "")
	if err := os.Truncate(d.image, size); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		t.Fatal(err)
	}
	output(t, "mkfs.xfs", "-q", d.image)
	d.mount()
	t.Cleanup(func() { _ = exec.Command("umount", d.path).Run() })
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	output(d.t, "mount", "-o", "loop", d.image, d.path)
}

// cut loses all that was not synced, and lets nothing through any more.
func (d *disk) cut() {
	d.t.Helper()
	output(d.t, "xfs_io", "-x", "-c", "shutdown", d.path)
}

// restore gives the power back.
func (d *disk) restore() {
	d.t.Helper()
	output(d.t, "umount", d.path)
	d.mount()
}
