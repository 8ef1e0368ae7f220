package badgerdb

import (
	"errors"
	"fmt"
	"os"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// prefault has the disk back the pages of Badger's WAL that a commit will write. Badger
// copies into the mapped file in a goroutine of its own. There, a page that the disk does
// not give ends the process (SIGBUS), and a page that it does not answer for stops all of
// it. Asked for here, the first is an error and only the commit waits for the second, and
// nothing was changed.
type prefault struct {
	zeros   []byte
	writeAt func(file *os.File, b []byte, offset int64) (int, error)
}

// reserve asks for what a commit of so many bytes will write to the WAL in use. Badger may begin
// its next WAL within the commit, once in 8 MiB; that one is not asked for.
func (p *prefault) reserve(db *badger.DB, bytes int) error {
	log, err := logInUse(db)
	if err == nil {
		err = p.fill(log, bytes)
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: it does not take the log: %w", ErrFull, err)
	case err != nil:
		return fmt.Errorf("%w: the disk does not take the log: %w", ErrUnavailable, err)
	}
	return nil
}

// fill writes zeros where zeros are, which fails or waits like any write, and then makes the
// pages in the map writable. They stay so until they are synced, also where the disk fails
// meanwhile. Linux before 5.14 cannot be asked for that.
func (p *prefault) fill(log usedLog, bytes int) error {
	end := min(log.next+bytes, len(log.content))
	if missing := end - log.next - len(p.zeros); missing > 0 {
		p.zeros = append(p.zeros, make([]byte, missing)...)
	}
	if _, err := p.writeAt(log.file, p.zeros[:end-log.next], int64(log.next)); err != nil {
		return err
	}
	page := log.next &^ (unix.Getpagesize() - 1)
	err := unix.Madvise(log.content[page:end], unix.MADV_POPULATE_WRITE)
	if errors.Is(err, unix.EINVAL) {
		err = nil
	}
	return err
}
