package badgerdb

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// checkChange makes sure that the tables which a change of MANIFEST added are sound, and that
// they hold what those did that it removed.
func checkChange(dir string, before, after tableSet) error {
	return recoverRead(func() (err error) {
		added, err := openSound(dir, after.without(before))
		defer func() { err = errors.Join(err, closeTables(added)) }()
		if err != nil || len(before.without(after)) == 0 { // a memtable became a table, and its WAL is still there
			return err
		}
		removed, err := openSound(dir, before.without(after))
		defer func() { err = errors.Join(err, closeTables(removed)) }()
		if err != nil {
			return err
		}
		deletions, err := checkMerge(removed, added)
		if err != nil || len(deletions) == 0 {
			return err
		}
		rest, err := openTables(dir, before.common(after))
		defer func() { err = errors.Join(err, closeTables(rest)) }()
		if err != nil {
			return err
		}
		return checkDeletions(deletions, rest)
	})
}

// isDeletion is in the Meta of an entry that removes a key.
const isDeletion = 1

// checkMerge makes sure that the latest version of each key in some tables is in those
// that were made of them, as it was. It gives the deletions that are not.
func checkMerge(removed, added []*table.Table) (deletions [][]byte, err error) {
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
			return nil, fmt.Errorf("a merge of %d tables into %d lost something", len(removed), len(added))
		}
	}
	return deletions, nil
}

// checkDeletions makes sure that what was deleted is in none of the other tables: it would
// be there again.
func checkDeletions(deletions [][]byte, rest []*table.Table) error {
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
