package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
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
	if missing != "" {
		lack(t, missing)
	}
}

// lack skips the test for what the machine does not have, unless all is required.
func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("TOKEND_REQUIRE_ALL") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
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
	if err := d.mount(); err != nil {
		lack(t, "a file cannot be mounted here")
	}
	t.Cleanup(func() { _ = exec.Command("umount", d.path).Run() })
	return d
}

func (d *disk) mount() error { return exec.Command("mount", "-o", "loop", d.image, d.path).Run() }

// cut loses all that was not synced, and lets nothing through any more.
func (d *disk) cut() {
	d.t.Helper()
	output(d.t, "xfs_io", "-x", "-c", "shutdown", d.path)
}

// restore gives the power back.
func (d *disk) restore() {
	d.t.Helper()
	output(d.t, "umount", d.path)
	if err := d.mount(); err != nil {
		d.t.Fatal(err)
	}
}

// free is how much room there is, in bytes.
func (d *disk) free() uint64 {
	d.t.Helper()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(d.path, &stat); err != nil {
		d.t.Fatal(err)
	}
	return stat.Bavail * uint64(stat.Frsize)
}

// fill takes room until so much is left, and clear gives it back.
func (d *disk) fill(left uint64) {
	d.t.Helper()
	file, err := os.OpenFile(d.filler(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for piece := make([]byte, 256<<10); d.free() > left && len(piece) > 0; {
		if _, err := file.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *disk) clear() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) filler() string { return filepath.Join(d.path, "filler") }
