package kv

import (
	"errors"
	"fmt"
)

// Repair is Check, and makes the index anew where it does not agree with the records. It
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
	db, list, err := openDatabase(o, reserve{dir: o.Dir, min: o.MinFreeBytes, free: o.FreeBytes})
	if err != nil {
		return before, before, fmt.Errorf("repair: %w", err)
	}
	err = inDatabase(db, o.MasterKeys, func(v view) error {
		batch := db.NewWriteBatch()
		defer batch.Cancel()
		c := &checker{view: v, report: &Report{}, progress: progress, about: before.Tokens, repair: func(w write) error {
			if w.value == nil {
				return batch.Delete(w.key)
			}
			return batch.Set(w.key, w.value)
		}}
		return errors.Join(c.check(), batch.Flush())
	})
	if err = errors.Join(err, list.close(db)); err == nil {
		err = markClosed(o.Dir)
	}
	if err != nil {
		return before, before, fmt.Errorf("repair: %w", err)
	}
	after, err = Check(o, progress)
	return before, after, err
}
