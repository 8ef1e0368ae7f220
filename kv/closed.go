package kv

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// closedFile tells what the store's files were when it was closed: a line for each, and
// a checksum of the lines. Badger takes a list of tables that ends early for the trace
// of a crash and deletes what is not in it; where nothing crashed, that is damage. Open
// removes it before anything is changed.
const closedFile = "CLOSED"

// describeFiles is a line for each of Badger's files. Tables have checksums of their
// own.
func describeFiles(dir string) (map[string]string, error) {
	lines := map[string]string{}
	err := eachFile(dir, func(path string, info fs.FileInfo) error {
		name := filepath.Base(path)
		if !isBadgers(name) {
			return nil
		}
		sum := "-"
		if filepath.Ext(name) != ".sst" {
			var err error
			if sum, err = sumOf(path); err != nil {
				return err
			}
		}
		lines[name] = fmt.Sprintf("%s %d %s", sum, info.Size(), name)
		return nil
	})
	return lines, err
}

func sumOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return hex.EncodeToString(hash.Sum(nil)), err
}

// markClosed is called when Badger has closed all files.
func markClosed(dir string) error {
	files, err := describeFiles(dir)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := syncFile(filepath.Join(dir, name)); err != nil { // Badger cuts some without doing so
			return err
		}
		text.WriteString(files[name] + "\n")
	}
	sum := sha256.Sum256([]byte(text.String()))
	text.WriteString(hex.EncodeToString(sum[:]) + "\n")
	err = renameio.WriteFile(filepath.Join(dir, closedFile), []byte(text.String()), 0o600, renameio.WithTempDir(dir))
	if err != nil {
		return err
	}
	return SyncFolder(dir)
}

// checkClosed holds the files of a store that was closed against what they were then.
// It is not closed after a crash, nor where that cannot be told any more, in which case
// nothing is known to be wrong.
func checkClosed(dir string) (closed bool, err error) {
	content, err := os.ReadFile(filepath.Join(dir, closedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	last := len(lines) - 1
	sum := sha256.Sum256([]byte(strings.Join(lines[:last], "\n") + "\n"))
	if lines[last] != hex.EncodeToString(sum[:]) {
		return false, nil
	}
	files, err := describeFiles(dir)
	if err != nil {
		return false, err
	}
	var wrong []error
	for _, line := range lines[:last] {
		_, rest, _ := strings.Cut(line, " ")
		_, name, _ := strings.Cut(rest, " ")
		switch now, exists := files[name]; {
		case !exists:
			wrong = append(wrong, fmt.Errorf("%w: %s is missing", ErrCorrupt, name))
		case now != line:
			wrong = append(wrong, fmt.Errorf("%w: %s is not as it was when the store was closed", ErrCorrupt, name))
		}
		delete(files, name)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		wrong = append(wrong, fmt.Errorf("%w: %s was not there when the store was closed", ErrCorrupt, name))
	}
	return true, errors.Join(wrong...)
}

// unmarkClosed is called before Badger opens the files.
func unmarkClosed(dir string) error {
	err := os.Remove(filepath.Join(dir, closedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return SyncFolder(dir)
}
