package badgerdb

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

	"tokend/internal/durable"
)

// cleanMark tells what the files were when the database was closed: a line for each, and a
// checksum of the lines. Badger takes a MANIFEST that ends early for the trace of a crash
// and deletes the tables that it does not name. Where nothing crashed, that is damage. Open
// removes the mark before anything is changed.
type cleanMark struct{ lines []string }

func cleanMarkPath(dir string) string { return filepath.Join(dir, "CLOSED") }

// describeFiles is a line for each of Badger's files. Tables have checksums of their own.
func describeFiles(dir string) (map[string]string, error) {
	lines := map[string]string{}
	err := walkFiles(dir, func(path string, info fs.FileInfo) error {
		name := filepath.Base(path)
		if !isBadgerFile(name) {
			return nil
		}
		sum := "-"
		if filepath.Ext(name) != tableSuffix {
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

// writeCleanMark is called when Badger has closed all files. It syncs them: Badger truncates
// some without doing so.
func writeCleanMark(dir string) error {
	files, err := describeFiles(dir)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := durable.SyncFile(filepath.Join(dir, name)); err != nil {
			return err
		}
		text.WriteString(files[name] + "\n")
	}
	sum := sha256.Sum256([]byte(text.String()))
	text.WriteString(hex.EncodeToString(sum[:]) + "\n")
	return durable.WriteFile(cleanMarkPath(dir), []byte(text.String()), 0o600)
}

// readCleanMark gives the mark of a database that was closed. There is none after a crash,
// nor where it cannot be read any more, in which case nothing is known to be wrong.
func readCleanMark(dir string) (*cleanMark, error) {
	content, err := os.ReadFile(cleanMarkPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	last := len(lines) - 1
	sum := sha256.Sum256([]byte(strings.Join(lines[:last], "\n") + "\n"))
	if lines[last] != hex.EncodeToString(sum[:]) {
		return nil, nil
	}
	return &cleanMark{lines[:last]}, nil
}

// check compares the files of a database that was closed with what they were then.
func (m *cleanMark) check(dir string) error {
	if m == nil {
		return nil
	}
	files, err := describeFiles(dir)
	if err != nil {
		return err
	}
	var wrong []error
	for _, line := range m.lines {
		_, rest, _ := strings.Cut(line, " ")
		_, name, _ := strings.Cut(rest, " ")
		switch now, exists := files[name]; {
		case !exists:
			wrong = append(wrong, fmt.Errorf("%w: %s is missing", ErrCorrupt, name))
		case now != line:
			wrong = append(wrong, fmt.Errorf("%w: %s has changed since the store was closed", ErrCorrupt, name))
		}
		delete(files, name)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		wrong = append(wrong, fmt.Errorf("%w: %s was not there when the store was closed", ErrCorrupt, name))
	}
	return errors.Join(wrong...)
}
