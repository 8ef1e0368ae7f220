package badgerdb

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// checkTables reads tables once, and gives an error for each that is damaged. Badger's
// reads take a block with a wrong checksum for the end of what is there, so damage must be
// found before anything is read: a list would come back short, and an older state of a
// record would show again. Some damage ends Badger's process.
func checkTables(dir string, tables tableSet) error {
	var wrong []error
	for _, number := range slices.Sorted(maps.Keys(tables)) {
		path := table.NewFilename(number, dir)
		if err := checkTable(path, tables[number].Compression); err != nil {
			wrong = append(wrong, fmt.Errorf("%w: the table %s: %w", ErrCorrupt, filepath.Base(path), err))
		}
	}
	return errors.Join(wrong...)
}

func checkTable(path string, compression options.CompressionType) error {
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
		Compression: compression, BlockSize: badgerOptions("", nil).BlockSize, ChkMode: options.NoVerification,
	})
	if err != nil {
		return nil, errors.Join(err, file.Close(-1))
	}
	return t, nil
}

// openTables gives those that it has opened also where it fails.
func openTables(dir string, tables tableSet) (opened []*table.Table, err error) {
	for number, about := range tables {
		t, err := openTable(table.NewFilename(number, dir), about.Compression)
		if err != nil {
			return opened, err
		}
		opened = append(opened, t)
	}
	return opened, nil
}

// openSound is openTables, and reads all of them: an iterator ends at damage, and says
// nothing.
func openSound(dir string, tables tableSet) (opened []*table.Table, err error) {
	opened, err = openTables(dir, tables)
	for _, t := range opened {
		err = errors.Join(err, t.VerifyChecksum())
	}
	return opened, err
}

func closeTables(tables []*table.Table) (err error) {
	for _, t := range tables {
		err = errors.Join(err, t.Close(-1))
	}
	return err
}
