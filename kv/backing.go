package kv

import (
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// backing has the disk back the pages of Badger's log that a commit will write. Badger
// copies into the mapped file in a goroutine of its own, where a page that the disk does not
// give is the end of the process (SIGBUS), and one that it does not answer for holds the
// whole process. Asked for here, both are an error or a wait of the commit alone, and
// nothing was changed.
type backing struct{ zeros []byte }

var writeAt = (*os.File).WriteAt // which a test lets fail

// ask asks for what a commit of so many bytes will write to the log in use. Badger may begin
// its next log within the commit, once in 8 MiB; that one is not asked for.
func (b *backing) ask(db *badger.DB, bytes int) error {
	switch err := b.fill(logInUse(db), bytes); {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: it does not take the log: %w", ErrFull, err)
	case err != nil:
		return fmt.Errorf("%w: the disk does not take the log: %w", ErrUnavailable, err)
	}
	return nil
}

// fill writes zeros where there are zeros, which may fail or wait as any write, and then
// makes the pages in the map writable. They stay so until they are synced, also where the
// disk fails meanwhile. Linux before 5.14 cannot be asked for that.
func (b *backing) fill(log usedLog, bytes int) error {
	end := min(log.next+bytes, len(log.content))
	if missing := end - log.next - len(b.zeros); missing > 0 {
		b.zeros = append(b.zeros, make([]byte, missing)...)
	}
	if _, err := writeAt(log.file, b.zeros[:end-log.next], int64(log.next)); err != nil {
		return err
	}
	page := log.next &^ (unix.Getpagesize() - 1)
	err := unix.Madvise(log.content[page:end], unix.MADV_POPULATE_WRITE)
	if errors.Is(err, unix.EINVAL) {
		err = nil
	}
	return err
}

// usedLog is the log that Badger writes next.
type usedLog struct {
	file    *os.File
	content []byte // all of it, mapped
	next    int    // where it goes on; there are zeros from there on
}

// logInUse is what Badger does not tell. Nothing but a commit changes it, and the writer
// waits for its own.
func logInUse(db *badger.DB) usedLog {
	wal := reflect.ValueOf(db).Elem().FieldByName("mt").Elem().FieldByName("wal").Elem()
	file := wal.FieldByName("MmapFile").Elem()
	return usedLog{
		file:    (*os.File)(file.FieldByName("Fd").UnsafePointer()),
		content: file.FieldByName("Data").Bytes(),
		next:    int(wal.FieldByName("writeAt").Uint()), //nolint:gosec // below 16 MiB
	}
}
