package badgerdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// manifest is what a MANIFEST says: which tables there are. The file is a head of 8 bytes
// and then entries: each its length and its checksum, 32 bits each, and the bytes.
type manifest struct {
	content []byte // up to the end of the last entry that is whole; nil: there is no file
	tables  tableSet
}

// tableSet is tables by their numbers.
type tableSet map[uint64]badger.TableManifest

const (
	manifestHead = 8
	entryHead    = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func manifestPath(dir string) string { return filepath.Join(dir, manifestName) }

// readManifest reads the MANIFEST of a folder. A folder that is about to become a database
// has none.
func readManifest(dir string) (manifest, error) {
	file, err := os.Open(manifestPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, nil
	}
	if err != nil {
		return manifest{}, err
	}
	defer func() { _ = file.Close() }()
	m, err := parseFile(file)
	if err != nil {
		return manifest{}, fmt.Errorf("%w: MANIFEST: %w", ErrCorrupt, err)
	}
	return m, nil
}

// parseFile parses an open MANIFEST, and leaves the file at its end.
func parseFile(file *os.File) (manifest, error) {
	content, err := readAll(file)
	if err != nil {
		return manifest{}, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return manifest{}, err
	}
	list, end, err := badger.ReplayManifestFile(file, 0, badger.DefaultOptions("").WithLogger(nil))
	if err == nil {
		err = checkTail(content[end:])
	}
	if _, seekErr := file.Seek(0, io.SeekEnd); err == nil {
		err = seekErr
	}
	if err != nil {
		return manifest{}, err
	}
	return manifest{content[:end], list.Tables}, nil
}

// parse parses what is in memory. Badger parses files only.
func parse(content []byte) (manifest, error) {
	descriptor, err := unix.MemfdCreate(manifestName, unix.MFD_CLOEXEC)
	if err != nil {
		return manifest{}, err
	}
	file := os.NewFile(uintptr(descriptor), manifestName)
	defer func() { _ = file.Close() }()
	if _, err := file.Write(content); err != nil {
		return manifest{}, err
	}
	return parseFile(file)
}

// checkTail looks at what follows the last entry that is whole. A crash may have torn an
// entry there. But if its checksum is that of the bytes that are there, all of it is there
// and its length is wrong: Badger would cut it off and delete the tables that it names.
func checkTail(tail []byte) error {
	if len(tail) < entryHead {
		return nil
	}
	want, sum := binary.BigEndian.Uint32(tail[4:]), uint32(0)
	for i := entryHead; sum != want; i++ {
		if i == len(tail) {
			return nil
		}
		sum = crc32.Update(sum, castagnoli, tail[i:i+1])
	}
	return errors.New("the length of an entry is damaged")
}

// lastEntry is where the last entry of a MANIFEST begins.
func lastEntry(content []byte) (last int) {
	for next := manifestHead; next+entryHead <= len(content); {
		last = next
		next += entryHead + int(binary.BigEndian.Uint32(content[next:]))
	}
	return last
}

// checkManifest refuses a folder that has a database's files but no MANIFEST, or an empty
// one: Badger would take it for a new database and delete them. While Badger runs there is
// always a WAL, and what MANIFEST does not name yet is still in that.
func checkManifest(dir string, m manifest) error {
	var files, tables, logs bool
	err := walkFiles(dir, func(path string, _ fs.FileInfo) error {
		files = files || holdsRecords(path)
		tables = tables || filepath.Ext(path) == tableSuffix
		logs = logs || filepath.Ext(path) == walSuffix
		return nil
	})
	switch {
	case err != nil:
		return err
	case files && m.content == nil:
		return fmt.Errorf("%w: MANIFEST is missing", ErrCorrupt)
	case tables && !logs && len(m.tables) == 0:
		return fmt.Errorf("%w: MANIFEST names none of the tables that are there", ErrCorrupt)
	}
	return nil
}

func readAll(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	content := make([]byte, info.Size())
	_, err = file.ReadAt(content, 0)
	return content, err
}

// overwrite gives a file another content, and leaves the file at its end. It needs no room
// on the disk where the file begins with that content.
func overwrite(file *os.File, content []byte) error {
	if _, err := file.WriteAt(content, 0); err != nil {
		return err
	}
	end := int64(len(content))
	_, err := file.Seek(end, io.SeekStart)
	return errors.Join(err, file.Truncate(end), file.Sync())
}

// without are the tables of one set that the other lacks.
func (s tableSet) without(other tableSet) tableSet {
	found := tableSet{}
	for number, about := range s {
		if _, ok := other[number]; !ok {
			found[number] = about
		}
	}
	return found
}

// common are the tables of both sets.
func (s tableSet) common(other tableSet) tableSet { return s.without(s.without(other)) }
