package kv

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const copySuffix = ".checking"

// workOnCopy makes options for a copy of a store and gives what removes it. Nothing may
// be linked: Badger cuts a file to nothing before it deletes it. Where the file system
// can share what two files have in common, copying a table takes no room.
func workOnCopy(o *Options) (drop func() error, err error) {
	original := o.Dir
	copied := original + copySuffix
	drop = func() error { return os.RemoveAll(copied) }
	if err := makeFolder(copied); err != nil {
		return nil, err
	}
	err = eachFile(original, func(path string, _ fs.FileInfo) error {
		to := filepath.Join(copied, filepath.Base(path))
		switch {
		case filepath.Ext(path) == ".sst":
			return copyWhole(path, to)
		case isBadgers(path):
			return copySparse(path, to)
		}
		return nil
	})
	if err == nil {
		err = removeStillborn(copied)
	}
	if err == nil {
		err = reserve{dir: copied, min: o.MinFreeBytes, free: o.FreeBytes}.checkMemory()
	}
	if err != nil {
		return nil, errors.Join(err, drop())
	}
	o.Dir = copied
	return drop, nil
}

func copyWhole(from, to string) error {
	return copyFile(from, to, func(source, target *os.File) error {
		_, err := io.Copy(target, source) // by copy_file_range
		return err
	})
}

func copyFile(from, to string, transfer func(source, target *os.File) error) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(transfer(source, target), target.Close())
}

// copySparse leaves out what is zero: Badger's logs mostly are.
func copySparse(from, to string) error { return copyFile(from, to, copyNonZero) }

func copyNonZero(source, target *os.File) error {
	var size int64
	piece, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(source, piece)
		if n > 0 && string(piece[:n]) != string(zeros[:n]) {
			if _, err := target.WriteAt(piece[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return target.Truncate(size)
		}
		if err != nil {
			return err
		}
	}
}
