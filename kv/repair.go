package kv

import (
	"errors"
	"fmt"

	"tokend/kv/internal/badgerdb"
)

// Repair is Check, and rebuilds the index from the records. It
// keeps every record, also one that does not match its seal. Afterwards it checks again:
// what it reports last is still wrong.
func Repair(o Options, progress Progress) (before, after Report, err error) {
	before, err = Check(o, progress)
	if err != nil || before.Repairable == 0 {
		return before, before, err
	}
	if err := o.complete(); err != nil {
		return before, before, err
	}
	db, err := badgerdb.Open(o.database(), badgerdb.Serve)
	if err != nil {
		return before, before, fmt.Errorf("repair: %w", err)
	}
	bulk := db.NewBulk()
	err = inDatabase(db, o.MasterKeys, func(v view) error {
		c := &checker{view: v, report: &Report{}, progress: progress, about: before.Tokens,
			repair: func(w badgerdb.Write) error { return bulk.Add(w) }}
		return c.check()
	})
	if err == nil {
		err = bulk.Flush()
	}
	bulk.Discard()
	if err != nil {
		return before, before, errors.Join(fmt.Errorf("repair: %w", err), db.CloseAfter(err))
	}
	if err := db.Close(0); err != nil {
		return before, before, fmt.Errorf("repair: %w", err)
	}
	after, err = Check(o, progress)
	return before, after, err
}
