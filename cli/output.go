package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"tokend/internal/durable"
	"tokend/internal/hint"
)

// writeFile writes a file whole or not at all, readable by its owner only and durable, and
// gives the path that a link leads to.
func writeFile(path string, write func(io.Writer) error) (string, error) {
	path, err := replaceable(path)
	if err != nil {
		return "", err
	}
	var failure error // of the content, which says itself what it is about
	err = durable.Write(path, 0o600, func(w io.Writer) error {
		failure = write(&namedWriter{w, path})
		return failure
	})
	if err != nil && failure == nil {
		err = cannotWrite(path, err)
	}
	return path, err
}

// replaceable is the path of a file, or where a link to it leads. A device, a
// pipe or a folder is not to be replaced by a file.
func replaceable(path string) (string, error) {
	target, err := durable.Target(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return target, nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = hint.New(fmt.Errorf("%q is not a file", path), "- writes to standard output")
	}
	return target, err
}

// namedWriter says what cannot be written by the name that a person knows.
type namedWriter struct {
	io.Writer
	name string
}

func (w *namedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		err = &writeError{cannotWrite(w.name, err)}
	}
	return n, err
}

// writeError is one of the target, among those of what is copied.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

func cannotWrite(name string, err error) error {
	if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
		err = wrapped.Err // without the name of a temporary file
	}
	return fmt.Errorf("%s cannot be written: %w", name, err)
}
