package kv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/index"
	"tokend/kv/internal/seal"
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
	db, err := badgerdb.Open(o.database(), badgerdb.Inspect)
	if err != nil {
		if err = report.addDamage(err); err != nil {
			err = fmt.Errorf("check %s: %w", o.Dir, err)
		}
		return report, err
	}
	err = inDatabase(db, o.MasterKeys, func(v view) error {
		return (&checker{view: v, report: &report, progress: progress, about: db.About() / 2}).check() // each has an entry of the index beside it
	})
	return report, report.addDamage(errors.Join(err, db.Close(0)))
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

// inDatabase works on a database.
func inDatabase(db *badgerdb.DB, keys []MasterKey, work func(view) error) error {
	head, err := readHead(db, keys)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: it has no data key", ErrCorrupt)
	}
	if err == nil {
		err = db.Read(func(v badgerdb.View) error { return work(view{View: v, vault: vault{seal.NewVault(head.dataKey)}}) })
	}
	clear(head.dataKey)
	return err
}

// checker reads a store and reports what is wrong.
type checker struct {
	view
	report   *Report
	progress Progress
	about    int                        // how many tokens there are
	repair   func(badgerdb.Write) error // nil: nothing is changed
}

// CheckIntegrity is Check for a snapshot of a store that is open.
func (s *Snapshot) CheckIntegrity() error {
	var report Report
	c := &checker{view: s.view, report: &report, progress: func(int, int) error { return nil }}
	err := s.view.Guard(c.check)
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
	for entry, err := range c.Entries(prefix, nil) {
		if err == nil {
			err = check(entry.Key, entry.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) find(repair string, fix badgerdb.Write, format string, args ...any) error {
	c.report.add(fmt.Sprintf(format, args...), repair)
	if c.repair == nil || repair == "" {
		return nil
	}
	return c.repair(fix)
}

// checkIndex looks where an entry leads.
func (c *checker) checkIndex(key, value []byte) error {
	if len(key) != len(indexPrefix)+len(seal.Hash{}) {
		return nil // checkKey has it
	}
	hash := seal.Hash(key[len(indexPrefix):])
	drop := badgerdb.Write{Key: bytes.Clone(key)}
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
		return c.find("", badgerdb.Write{}, "%v", err)
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

func (c *checker) checkFound(name string, hash seal.Hash) error {
	const repair = "the entry was made"
	entry := badgerdb.Write{Key: indexKey(hash), Value: []byte(name)}
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
		return c.find("", badgerdb.Write{}, "the tokens %q and %q have the same value", name, leads)
	}
	return c.find(repair, entry, "the token %q is not found by its value: the index leads to %q", name, leads)
}

func (c *checker) checkUses(key, value []byte) error {
	uses, err := decodeUses(value)
	if shard := shardOf(key); err == nil && shard < index.Shards && uses.BelongTo(shard) {
		return nil
	}
	return c.find("they were removed: when these tokens were last used is lost", badgerdb.Write{Key: bytes.Clone(key)}, "the last uses of some tokens (%x) are not readable", key)
}

// checkKey looks for keys of no known kind.
func (c *checker) checkKey(key, _ []byte) error {
	switch text := string(key); {
	case text == metaSchema, text == metaDataKey, text == metaBackup, text == metaUpgrading,
		len(text) > len(recordPrefix) && bytes.HasPrefix(key, []byte(recordPrefix)),
		len(text) == len(indexPrefix)+len(seal.Hash{}) && bytes.HasPrefix(key, []byte(indexPrefix)),
		len(text) == len(usesKey(0)) && bytes.HasPrefix(key, []byte(usesPrefix)):
		return nil
	}
	return c.find("", badgerdb.Write{}, "there is a key of no known kind: %q", key)
}
