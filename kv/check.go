package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

// Report is what Check found.
type Report struct {
	Tokens   int // whose records are good
	Findings []Finding
	More     int // findings beyond those, which are only counted

	// Repairable is how many of all findings Repair does something about.
	Repairable int
}

// Finding is something that is wrong.
type Finding struct {
	What   string // in words
	Repair string // what Repair does about it, in words; empty: nothing
}

// maxFindings are told.
const maxFindings = 1000

func (r *Report) add(what, repair string) {
	if repair != "" {
		r.Repairable++
	}
	if len(r.Findings) == maxFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, Finding{what, repair})
}

// Check reads all of a store that no process holds, and changes nothing: the files, each
// table, each record's seal, the index both ways, last uses. Of a store that was not
// closed it makes a copy beside it, since Badger cannot look at what a crash left
// without clearing it up. What is wrong with the store is in the report; it fails with
// ErrLocked, ErrWrongKey or ErrNewerSchema, or where the disk does.
func Check(o Options, progress Progress) (report Report, err error) {
	if err := o.complete(); err != nil {
		return report, err
	}
	release, err := lockFolder(o.Dir)
	if err != nil {
		return report, err
	}
	if err := os.RemoveAll(o.Dir + copySuffix); err != nil { // of one that was broken off
		release()
		return report, err
	}
	closed, err := checkClosed(o.Dir)
	release() // for Badger
	if err != nil && !closed {
		return report, err
	}
	if !closed {
		drop, copyErr := workOnCopy(&o)
		if copyErr != nil {
			return report, copyErr
		}
		defer func() { err = errors.Join(err, drop()) }()
		if err := undoLastChange(o.Dir, o.Log); err != nil { // as Open would
			return report, err
		}
	}
	if err := inspectFiles(o.Dir); err != nil {
		return report, report.addDamage(err)
	}
	db, err := badger.Open(badgerOptions(o).WithReadOnly(closed).
		WithNumCompactors(0).WithNumLevelZeroTablesStall(math.MaxInt)) // nothing is to change
	if err != nil {
		return report, report.addDamage(damageUnlessSystem(err))
	}
	err = inDatabase(db, o.MasterKeys, func(v view) error {
		return (&checker{view: v, report: &report, progress: progress, about: records(db)}).check()
	})
	err = errors.Join(err, db.Close())
	return report, report.addDamage(err)
}

// addDamage takes what is wrong with the store out of an error, which may be several,
// and gives the rest.
func (r *Report) addDamage(err error) error {
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok && !slices.Contains(all.Unwrap(), ErrCorrupt) {
		var rest []error
		for _, err := range all.Unwrap() {
			rest = append(rest, r.addDamage(err))
		}
		return errors.Join(rest...)
	}
	r.add(strings.TrimPrefix(err.Error(), ErrCorrupt.Error()+": "), "")
	return nil
}

// damageUnlessSystem takes what Badger has against files that were looked at before for
// damage, unless the system did not let it open them.
func damageUnlessSystem(err error) error {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// inDatabase works on a database.
func inDatabase(db *badger.DB, keys []MasterKey, work func(view) error) error {
	head, err := readHead(db, keys)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: it has no data key", ErrCorrupt)
	}
	if err == nil {
		txn := db.NewTransaction(false)
		err = guard(func() error { return work(view{txn: txn, vault: newVault(head.dataKey)}) })
		txn.Discard()
	}
	clear(head.dataKey)
	return err
}

// records is about how many there are: each has an entry of the index beside it.
func records(db *badger.DB) (about int) {
	for _, table := range db.Tables() {
		about += int(table.KeyCount)
	}
	return about / 2
}

// checker reads a store and reports what is wrong.
type checker struct {
	view
	report   *Report
	progress Progress
	about    int
	repair   func(write) error // nil: nothing is changed
}

// CheckIntegrity is Check for a snapshot of a store that is open.
func (s *Snapshot) CheckIntegrity() error {
	var report Report
	c := &checker{view: s.view, report: &report, progress: func(int, int) error { return nil }}
	err := s.store.writer.guard(c.check)
	for _, finding := range report.Findings {
		err = errors.Join(err, fmt.Errorf("%w: %s", ErrCorrupt, finding.What))
	}
	return err
}

// check looks at the index before it looks at the records: of what is repaired, the
// entries that the records ask for come last.
func (c *checker) check() error {
	for _, part := range []struct {
		prefix string
		check  func(key, value []byte) error
	}{{indexPrefix, c.checkIndex}, {recordPrefix, c.checkRecord}, {usesPrefix, c.checkUses}, {"", c.checkKey}} {
		if err := c.each(part.prefix, part.check); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) each(prefix string, check func(key, value []byte) error) error {
	it := c.iterate(prefix)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		if err := item.Value(func(value []byte) error { return check(item.Key(), value) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) find(repair string, fix write, format string, args ...any) error {
	c.report.add(fmt.Sprintf(format, args...), repair)
	if c.repair == nil || repair == "" {
		return nil
	}
	return c.repair(fix)
}

// checkIndex looks where an entry leads.
func (c *checker) checkIndex(key, value []byte) error {
	if len(key) != len(indexPrefix)+len(lookupHash{}) {
		return nil // checkKey has it
	}
	hash := lookupHash(key[len(indexPrefix):])
	drop := write{key: bytes.Clone(key)}
	switch r, err := c.record(string(value)); {
	case errors.Is(err, ErrNotFound):
		return c.find("the entry was removed", drop, "an entry of the index leads to the token %q, which does not exist", value)
	case errors.Is(err, ErrCorrupt):
		return nil // checkRecord has it
	case err != nil:
		return err
	case !r.isFoundBy(hash):
		return c.find("the entry was removed", drop, "an entry of the index leads to the token %q, which has another value", value)
	}
	return nil
}

// checkRecord looks at a record and whether it is found by its values.
func (c *checker) checkRecord(key, value []byte) error {
	name := nameOf(key)
	r, err := c.vault.open(name, value)
	if err != nil { // so it is of another version, or does not match its seal
		return c.find("", write{}, "%v", err)
	}
	c.report.Tokens++
	if err := c.progress(c.report.Tokens, c.about); err != nil {
		return err
	}
	for _, hash := range r.hashes() {
		if err := c.checkFound(name, hash); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkFound(name string, hash lookupHash) error {
	const repair = "the entry was made"
	entry := write{indexKey(hash), []byte(name)}
	leads, err := c.get(indexKey(hash))
	switch {
	case errors.Is(err, ErrNotFound):
		return c.find(repair, entry, "the token %q is not found by its value: the index has no entry for it", name)
	case err != nil:
		return err
	case string(leads) == name:
		return nil
	}
	if other, err := c.record(string(leads)); err == nil && other.isFoundBy(hash) {
		return c.find("", write{}, "the tokens %q and %q have the same value", name, leads)
	}
	return c.find(repair, entry, "the token %q is not found by its value: the index leads to %q", name, leads)
}

func (c *checker) checkUses(key, value []byte) error {
	uses, err := decodeUses(value)
	misplaced := err == nil && slices.ContainsFunc(tags(uses), func(tag uint64) bool { return !bytes.Equal(key, usesKey(shardOf(tag))) })
	if err == nil && !misplaced {
		return nil
	}
	return c.find("they were removed: when these tokens were last used is lost", write{key: bytes.Clone(key)}, "the last uses of some tokens (%x) are not readable", key)
}

func tags(u uses) (tags []uint64) {
	for i := range u.len() {
		tag, _ := u.at(i)
		tags = append(tags, tag)
	}
	return tags
}

// checkKey looks for keys of no known kind.
func (c *checker) checkKey(key, _ []byte) error {
	switch text := string(key); {
	case text == metaSchema, text == metaDataKey, text == metaBackup, text == metaUpgrading,
		len(text) > len(recordPrefix) && bytes.HasPrefix(key, []byte(recordPrefix)),
		len(text) == len(indexPrefix)+len(lookupHash{}) && bytes.HasPrefix(key, []byte(indexPrefix)),
		len(text) == len(usesKey(0)) && bytes.HasPrefix(key, []byte(usesPrefix)):
		return nil
	}
	return c.find("", write{}, "there is a key of no known kind: %q", key)
}
