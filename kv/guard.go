package kv

import (
	"fmt"
	"runtime/debug"
)

// guard reads from Badger, which reads mapped files: a page that the disk does not
// give is a fault (SIGBUS), not an error, and would end the process. It becomes
// ErrUnavailable here.
func guard(read func() error) error { return guardIf(func() bool { return false }, read) }

// guard is for reads beside a writer: after a failed commit Badger may have no memtable
// any more (ensureRoomForWrite), and every read panics.
func (w *writer) guard(read func() error) error { return guardIf(w.failed.Load, read) }

func guardIf(broken func() bool, read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine
	defer func() {
		if p := recover(); p != nil {
			if !isFault(p) && !broken() {
				panic(p)
			}
			err = fmt.Errorf("%w: it cannot be read: %v", ErrUnavailable, p)
		}
	}()
	return read()
}

// isFault reports whether a panic is about memory that could not be read, and not a
// nil pointer.
func isFault(panicked any) bool {
	const firstPage = 4096
	fault, ok := panicked.(interface{ Addr() uintptr })
	return ok && fault.Addr() >= firstPage
}
