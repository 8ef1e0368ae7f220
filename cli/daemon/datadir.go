package daemon

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"tokend/config"
	"tokend/internal/durable"
	"tokend/internal/hint"
	"tokend/kv"
)

// DataDir is the folder of data, held by this process, and what is needed to
// open the store in it.
type DataDir struct {
	Path       string
	firstStart bool
	lock       *os.File

	MasterKeyFile string
	MasterKeys    []kv.MasterKey

	adminTokenFile string // empty: the administrators are all in the configuration
	adminToken     [sha256.Size]byte
}

// StorePath is where the store is in it.
func (d *DataDir) StorePath() string { return filepath.Join(d.Path, "store") }

// Close lets go of the folder.
func (d *DataDir) Close() {
	if d.lock != nil {
		_ = d.lock.Close()
	}
}

// open reads what the store needs. At the first start it makes the folder and
// those of the two secrets that are not configured to lie elsewhere. What can be
// refused without making anything is refused before.
func (d *DataDir) open(c config.Config) error {
	if c.MasterKeyFile != "" {
		if err := d.ReadMasterKeys(c.MasterKeyFile); err != nil {
			return err
		}
	}
	if c.AdminTokenFile != "" {
		if err := d.readAdminToken(c.AdminTokenFile); err != nil {
			return err
		}
	}
	if err := d.MakeAndLock(); err != nil {
		return err
	}
	var err error
	if d.firstStart, err = IsEmptyOrMissing(d.StorePath()); err != nil {
		return err
	}
	if c.MasterKeyFile == "" {
		if err := d.ownMasterKey(); err != nil {
			return err
		}
	}
	if c.AdminTokenFile == "" {
		return d.ownAdminToken(hasOtherAdmins(c))
	}
	return nil
}

// readAdminAgain reads the admin token as it is now.
func (d *DataDir) readAdminAgain(c config.Config) error {
	d.firstStart, d.adminTokenFile = false, ""
	if c.AdminTokenFile != "" {
		return d.readAdminToken(c.AdminTokenFile)
	}
	return d.ownAdminToken(hasOtherAdmins(c))
}

// hasOtherAdmins reports whether anybody can manage tokens without the admin token.
func hasOtherAdmins(c config.Config) bool { return len(c.Admins) > 0 || c.AdminSocket != "" }

// MakeAndLock makes the folder if it is missing and locks it if it is not.
func (d *DataDir) MakeAndLock() error {
	if d.lock != nil {
		return nil
	}
	err := os.Mkdir(d.Path, 0o700)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot make the data folder: %s does not exist", filepath.Dir(d.Path))
	case err != nil && !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("cannot make the data folder: %w", err)
	}
	if err := durable.SyncDir(filepath.Dir(d.Path)); err != nil {
		return err
	}
	return d.LockExisting()
}

// LockExisting takes hold of the folder if it is there.
func (d *DataDir) LockExisting() error {
	folder, err := os.Open(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot use the data folder: %w", err)
	}
	d.lock = folder
	info, err := folder.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("cannot use the data folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("the data folder %s is not a folder", d.Path)
	case info.Mode().Perm()&0o077 != 0:
		return hint.New(
			fmt.Errorf("the data folder %s has mode %#o; only its owner may use it", d.Path, info.Mode().Perm()),
			"chmod 700 "+hint.Quote(d.Path))
	}
	err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return hint.New(
			fmt.Errorf("another tokend holds the data folder %s", d.Path),
			"stop it, or choose another folder with --data-dir")
	}
	return err
}

// ReadMasterKeys reads a key file, which may be anywhere.
func (d *DataDir) ReadMasterKeys(path string) (err error) {
	d.MasterKeys, err = readMasterKeys(path)
	d.MasterKeyFile = path
	return err
}

func (d *DataDir) readAdminToken(path string) error {
	token, err := config.ReadAdminToken(path)
	if err != nil {
		return fmt.Errorf("admin token: %w", err)
	}
	d.adminToken = sha256.Sum256([]byte(token))
	d.adminTokenFile = path
	return nil
}

// ownMasterKey reads the key in the folder, or makes it at the first start. A
// store never gets a new key: it would be lost with the old one.
func (d *DataDir) ownMasterKey() error {
	path := filepath.Join(d.Path, "master.key")
	switch missing, err := IsEmptyOrMissing(path); {
	case err != nil:
		return err
	case !missing:
		return d.ReadMasterKeys(path)
	case !d.firstStart:
		return hint.New(
			fmt.Errorf("the store in %s exists, but its master key %s is missing", d.Path, path),
			"put the key file back, or name it with --master-key-file; nothing else opens this store")
	}
	if err := writeSecret(path, kv.NewMasterKey().Encode()); err != nil {
		return err
	}
	return d.ReadMasterKeys(path)
}

// ownAdminToken reads the token in the folder, or makes it at the first start.
// Later it may be missing if the configuration has other administrators.
func (d *DataDir) ownAdminToken(others bool) error {
	path := filepath.Join(d.Path, "admin.token")
	switch missing, err := IsEmptyOrMissing(path); {
	case err != nil:
		return err
	case !missing:
		return d.readAdminToken(path)
	case !d.firstStart && others:
		return nil
	case !d.firstStart:
		return hint.New(
			fmt.Errorf("nobody could manage tokens: %s is missing and the configuration has neither an [[admin]] nor an admin_socket", path),
			fmt.Sprintf("(umask 077; tokend keygen admin | head -1 > %s)", hint.Quote(path)))
	}
	if err := writeSecret(path, kv.NewValue(AdminPrefix).Reveal()); err != nil {
		return err
	}
	return d.readAdminToken(path)
}

// IsEmptyOrMissing reports whether there is nothing at a path: no file, or a
// folder with nothing in it.
func IsEmptyOrMissing(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return false, nil
	}
	entries, err := os.ReadDir(path)
	return len(entries) == 0, err
}

// writeSecret makes a file whole or not at all, and durable.
func writeSecret(path, line string) error {
	return durable.WriteFile(path, []byte(line+"\n"), 0o600)
}
