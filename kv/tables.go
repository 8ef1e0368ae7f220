package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
	"golang.org/x/sys/unix"
)

// verifyTables reads all tables of the store's list once, and gives an error for each
// that is damaged. Badger's reads take a block with a wrong checksum for the end of
// what is there, so that damage must be found before anything is read: a list would
// come back short, and an older state of a record would show again. To some damage
// Badger's answer is the end of the process.
func verifyTables(dir string) error {
	tables, err := listedTables(dir)
	if err != nil {
		return err
	}
	return verifyListed(dir, tables)
}

func verifyListed(dir string, tables map[uint64]badger.TableManifest) error {
	var wrong []error
	for _, number := range slices.Sorted(maps.Keys(tables)) {
		path := table.NewFilename(number, dir)
		if err := verifyTable(path, tables[number].Compression); err != nil {
			wrong = append(wrong, fmt.Errorf("%w: the table %s: %w", ErrCorrupt, filepath.Base(path), err))
		}
	}
	return errors.Join(wrong...)
}

// listedTables are the tables that the store's list names, by their numbers. A store
// that is about to be made has none.
func listedTables(dir string) (map[uint64]badger.TableManifest, error) {
	file, err := os.Open(filepath.Join(dir, "MANIFEST"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	tables, _, err := replayFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: the list of tables (MANIFEST): %w", ErrCorrupt, err)
	}
	return tables, nil
}

// replayFile gives the tables of a list, and where its last entry ends that is whole.
func replayFile(file *os.File) (tables map[uint64]badger.TableManifest, end int64, err error) {
	list, end, err := badger.ReplayManifestFile(file, 0, badger.DefaultOptions("").WithLogger(nil))
	if err == nil {
		err = checkTail(file, end)
	}
	return list.Tables, end, err
}

// replay is replayFile for what is in memory.
func replay(content []byte) (map[uint64]badger.TableManifest, error) {
	descriptor, err := unix.MemfdCreate("MANIFEST", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(descriptor), "MANIFEST")
	defer func() { _ = file.Close() }()
	if err := overwrite(file, content); err != nil {
		return nil, err
	}
	return replayOpened(file)
}

// replayOpened is replayFile for a file that goes on at its end.
func replayOpened(file *os.File) (map[uint64]badger.TableManifest, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	tables, _, err := replayFile(file)
	_, seekErr := file.Seek(0, io.SeekEnd)
	return tables, errors.Join(err, seekErr)
}

// checkTail looks at what is behind the last entry of the list that is whole. A crash may
// have torn one there. If its checksum is that of the bytes that are there, all of it is
// there and its length is wrong; Badger would cut it off and delete the tables that it
// names. An entry is its length and its checksum, 32 bits each, and the bytes.
func checkTail(file *os.File, end int64) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	tail := make([]byte, info.Size()-end)
	if _, err := file.ReadAt(tail, end); err != nil || len(tail) < 8 {
		return err
	}
	want, sum := binary.BigEndian.Uint32(tail[4:]), uint32(0)
	for i := 8; sum != want; i++ {
		if i == len(tail) {
			return nil
		}
		sum = crc32.Update(sum, castagnoli, tail[i:i+1])
	}
	return errors.New("the length of an entry is damaged")
}

func verifyTable(path string, compression options.CompressionType) error {
	return recoverRead(func() error {
		t, err := openTable(path, compression)
		if err != nil {
			return err
		}
		return errors.Join(t.VerifyChecksum(), t.Close(-1))
	})
}

func openTable(path string, compression options.CompressionType) (*table.Table, error) {
	file, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	t, err := table.OpenTable(file, table.Options{
		Compression: compression, BlockSize: badgerOptions(Options{}).BlockSize, ChkMode: options.NoVerification,
	})
	if err != nil {
		return nil, errors.Join(err, file.Close(-1))
	}
	return t, nil
}

// recoverRead recovers, since the library panics at some damage, as where a length at the
// end of a table reaches beyond the beginning, and a page that the disk does not give is a
// fault.
func recoverRead(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("it is cut off, or has a block that cannot be read")
		}
	}()
	return read()
}
