package kv

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// backLog has the disk back the pages of Badger's log that a commit of so many bytes will
// write. Badger copies into the mapped file in a goroutine of its own, where a page that
// the disk does not give is the end of the process (SIGBUS); asked for here, it is an
// error, and nothing was changed. A page stays writable until it is synced, also where the
// disk fails meanwhile. Linux before 5.14 cannot be asked.
func backLog(db *badger.DB, bytes int) error {
	log, next := logInUse(db)
	page := next &^ (unix.Getpagesize() - 1)
	err := unix.Madvise(log[page:min(next+bytes, len(log))], unix.MADV_POPULATE_WRITE)
	if err == nil || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("%w: the disk does not take the log: %w", ErrUnavailable, err)
}

// logInUse is the map of the log that Badger writes next, and where it goes on. Badger
// tells neither. Nothing but a commit changes them, and the writer waits for its own.
func logInUse(db *badger.DB) (log []byte, next int) {
	wal := reflect.ValueOf(db).Elem().FieldByName("mt").Elem().FieldByName("wal").Elem()
	return wal.FieldByName("MmapFile").Elem().FieldByName("Data").Bytes(), int(wal.FieldByName("writeAt").Uint()) //nolint:gosec // below 16 MiB
}
