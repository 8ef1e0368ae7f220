package badgerdb

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// guardRead reads from Badger, which reads mapped files: a page that the disk does not give
// is a fault (SIGBUS), not an error, and would end the process. It becomes ErrUnavailable.
// After a failed commit Badger may have no memtable (ensureRoomForWrite), and every read
// panics: that becomes ErrUnavailable too.
func (db *DB) guardRead(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine
	defer func() {
		if p := recover(); p != nil {
			if !isFault(p) && !db.failed.Load() {
				panic(p)
			}
			err = fmt.Errorf("%w: it cannot be read: %v", ErrUnavailable, p)
		}
	}()
	return read()
}

// isFault reports whether a panic is about memory that could not be read, and not about a
// nil pointer.
func isFault(panicked any) bool {
	const firstPage = 4096
	fault, ok := panicked.(interface{ Addr() uintptr })
	return ok && fault.Addr() >= firstPage
}

// recoverRead is for the reading of tables: the library panics at some damage, as where a
// length at a table's end reaches beyond its beginning.
func recoverRead(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("it is truncated, or has a block that cannot be read")
		}
	}()
	return read()
}
