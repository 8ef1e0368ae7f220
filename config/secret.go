package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSecretFile is more than any key or token file needs.
const maxSecretFile = 64 << 10

// FileError is a file that cannot be used, and what to do about it.
type FileError struct {
	Path   string
	Reason error
	Advice string // may be empty
}

func (e *FileError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Reason) }

func (e *FileError) Unwrap() error { return e.Reason }

// Hint is the way out, for people.
func (e *FileError) Hint() string { return e.Advice }

// ReadSecret reads a file that holds keys or tokens. It refuses one that others
// may read, that the group or others may write, or that belongs to another user
// than root and ours, except in $CREDENTIALS_DIRECTORY, which systemd guards
// itself.
func ReadSecret(path string) ([]byte, error) { return readSecret(path, isOurs) }

func readSecret(path string, mayOwn func(os.FileInfo) bool) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, &FileError{Path: path, Reason: cause(err)}
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, &FileError{Path: path, Reason: cause(err)}
	case !info.Mode().IsRegular():
		return nil, &FileError{Path: path, Reason: errors.New("not a regular file")}
	case info.Mode().Perm()&0o026 != 0 && !isCredential(path):
		return nil, &FileError{
			Path:   path,
			Reason: fmt.Errorf("its mode %#o lets too many users read or write it", info.Mode().Perm()),
			Advice: "if nobody else has seen it: chmod 600 " + path,
		}
	case !mayOwn(info) && !isCredential(path):
		return nil, &FileError{
			Path:   path,
			Reason: errors.New("it belongs to another user"),
			Advice: "chown it to the user that tokend runs as",
		}
	case info.Size() > maxSecretFile:
		return nil, &FileError{Path: path, Reason: errors.New("too large for a key or token file")}
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return nil, &FileError{Path: path, Reason: cause(err)}
	}
	return content, nil
}

// ReadAdminToken reads the one line of an admin token file.
func ReadAdminToken(path string) (string, error) { return readToken(path, isOurs) }

// ReadClientToken is ReadAdminToken for a client, for whom the file may belong to
// anybody: root uses that of the server's user.
func ReadClientToken(path string) (string, error) {
	return readToken(path, func(os.FileInfo) bool { return true })
}

func readToken(path string, mayOwn func(os.FileInfo) bool) (string, error) {
	content, err := readSecret(path, mayOwn)
	if err != nil {
		return "", err
	}
	token := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	refuse := func(reason string) error {
		return &FileError{Path: path, Reason: errors.New(reason), Advice: "tokend keygen admin prints a good one"}
	}
	switch {
	case len(token) < 32:
		return "", refuse("an admin token has at least 32 characters")
	case len(token) > 512:
		return "", refuse("an admin token has at most 512 characters")
	case strings.IndexFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0:
		return "", refuse("an admin token is one line of visible ASCII")
	}
	return token, nil
}

func isCredential(path string) bool {
	directory := os.Getenv("CREDENTIALS_DIRECTORY")
	if directory == "" {
		return false
	}
	directory, err1 := filepath.Abs(directory)
	path, err2 := filepath.Abs(path)
	relative, err3 := filepath.Rel(directory, path)
	return errors.Join(err1, err2, err3) == nil && filepath.IsLocal(relative)
}

// isOurs reports whether a file belongs to root or to the user that we are.
func isOurs(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// cause takes the path off an error that will be shown after it.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// Credential is the path of a credential that systemd gave the service
// (systemd.exec(5)), or empty where there is none of that name.
func Credential(name string) string {
	directory := os.Getenv("CREDENTIALS_DIRECTORY")
	if directory == "" {
		return ""
	}
	path := filepath.Join(directory, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { //nolint:gosec // systemd names the folder
		return ""
	}
	return path
}
