package badgerdb

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"tokend/internal/durable"
)

func copyPath(dir string) string { return dir + ".checking" }

// removeStaleCopy removes the copy of an Inspect that was broken off.
func removeStaleCopy(dir string) error { return os.RemoveAll(copyPath(dir)) }

// workOnCopy copies the database beside it, and works on the copy. Nothing may be linked:
// Badger truncates a file before it deletes it. Where the file system can share what two
// files have in common, copying a table takes no room.
func (db *DB) workOnCopy() error {
	original, copied := db.dir, copyPath(db.dir)
	db.dir, db.reserve.dir = copied, copied
	db.drop = func() error { return os.RemoveAll(copied) }
	if err := durable.MakeDir(copied); err != nil {
		return err
	}
	err := walkFiles(original, func(path string, _ fs.FileInfo) error {
		to := filepath.Join(copied, filepath.Base(path))
		switch {
		case filepath.Ext(path) == tableSuffix:
			return copyFile(path, to, copyWhole)
		case isBadgerFile(path):
			return copyFile(path, to, copyNonZero)
		}
		return nil
	})
	if err == nil {
		err = removeEmptyLogs(copied)
	}
	if err == nil {
		err = db.reserve.checkMemory()
	}
	return err
}

func copyFile(from, to string, transfer func(target, source *os.File) error) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(transfer(target, source), target.Close())
}

func copyWhole(target, source *os.File) error {
	_, err := io.Copy(target, source) // by copy_file_range
	return err
}

// copyNonZero leaves out what is zero: Badger's logs mostly are.
func copyNonZero(target, source *os.File) error {
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
