package kv

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// verifyChange makes sure that the tables which a change of the list added are sound, and
// that they hold what those did that it removed.
func verifyChange(dir string, before, after map[uint64]badger.TableManifest) error {
	return recoverRead(func() (err error) {
		added, err := openSound(dir, missing(after, before))
		defer func() { err = errors.Join(err, closeTables(added)) }()
		if err != nil || len(missing(before, after)) == 0 { // one of memory, whose log is still there
			return err
		}
		removed, err := openSound(dir, missing(before, after))
		defer func() { err = errors.Join(err, closeTables(removed)) }()
		if err != nil {
			return err
		}
		deletions, err := verifyMerge(removed, added)
		if err != nil || len(deletions) == 0 {
			return err
		}
		rest, err := openTables(dir, common(before, after))
		defer func() { err = errors.Join(err, closeTables(rest)) }()
		if err != nil {
			return err
		}
		return verifyDeletions(deletions, rest)
	})
}

// missing are the tables of one list that the other lacks.
func missing(one, other map[uint64]badger.TableManifest) map[uint64]badger.TableManifest {
	found := map[uint64]badger.TableManifest{}
	for number, about := range one {
		if _, ok := other[number]; !ok {
			found[number] = about
		}
	}
	return found
}

// common are the tables of both lists.
func common(one, other map[uint64]badger.TableManifest) map[uint64]badger.TableManifest {
	return missing(one, missing(one, other))
}

// openTables gives those that it has opened also where it fails.
func openTables(dir string, listed map[uint64]badger.TableManifest) (tables []*table.Table, err error) {
	for number, about := range listed {
		t, err := openTable(table.NewFilename(number, dir), about.Compression)
		if err != nil {
			return tables, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// openSound is openTables, and reads all of them: an iterator ends at what is damaged, and
// says nothing.
func openSound(dir string, listed map[uint64]badger.TableManifest) (tables []*table.Table, err error) {
	tables, err = openTables(dir, listed)
	for _, t := range tables {
		err = errors.Join(err, t.VerifyChecksum())
	}
	return tables, err
}

func closeTables(tables []*table.Table) (err error) {
	for _, t := range tables {
		err = errors.Join(err, t.Close(-1))
	}
	return err
}

// isDeletion is in the Meta of an entry that removes a key.
const isDeletion = 1

// verifyMerge makes sure that the latest version of each key in some tables is in those
// that were made of them, as it was. It gives the deletions that are not.
func verifyMerge(removed, added []*table.Table) (deletions [][]byte, err error) {
	in, out := iterate(removed), iterate(added)
	defer func() { err = errors.Join(err, in.Close(), out.Close()) }()
	var last []byte
	out.Rewind()
	for in.Rewind(); in.Valid(); in.Next() {
		if y.SameKey(in.Key(), last) { // an older version
			continue
		}
		last = append(last[:0], in.Key()...)
		for out.Valid() && y.CompareKeys(out.Key(), last) < 0 {
			out.Next()
		}
		entry := in.Value()
		switch {
		case out.Valid() && bytes.Equal(out.Key(), last) && bytes.Equal(out.Value().Value, entry.Value):
		case entry.Meta&isDeletion != 0:
			deletions = append(deletions, bytes.Clone(last))
		default:
			return nil, fmt.Errorf("of %d tables Badger made %d that lack something", len(removed), len(added))
		}
	}
	return deletions, nil
}

// verifyDeletions makes sure that what was deleted is in none of the other tables: it would
// be there again.
func verifyDeletions(deletions [][]byte, rest []*table.Table) error {
	for _, t := range rest {
		it := t.NewIterator(table.NOCACHE)
		for _, key := range deletions {
			if t.DoesNotHave(y.Hash(y.ParseKey(key))) {
				continue
			}
			if it.Seek(key); it.Valid() && y.SameKey(it.Key(), key) && it.Value().Meta&isDeletion == 0 { // an older version
				return errors.Join(errors.New("a deletion was lost"), it.Close())
			}
		}
		if err := it.Close(); err != nil {
			return err
		}
	}
	return nil
}

// iterate goes through tables in the order of keys, the latest version of each first.
func iterate(tables []*table.Table) y.Iterator {
	all := make([]y.Iterator, len(tables))
	for i, t := range tables {
		all[i] = t.NewIterator(table.NOCACHE)
	}
	if len(all) == 0 {
		return table.NewConcatIterator(nil, 0)
	}
	return table.NewMergeIterator(all, false)
}
