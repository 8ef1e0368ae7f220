package kv

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Grant is what a value that is good stands for.
type Grant struct {
	Name      string
	Write     bool
	Expires   bool
	ValueMade time.Time

	// ExpirationDate is as in Token: without an expiry it is the time of the
	// token's last change.
	ExpirationDate time.Time

	// GraceEnds is when this value ceases to be good, where it is the one before
	// the last rotation. Else it is zero.
	GraceEnds time.Time
}

// Verify says what somebody who presents a value may do, and notes that it was
// used. It fails with an InvalidTokenError where the value is not good. It does
// not keep the bytes. It reads memory only, unless the index does not hold all
// tokens.
func (s *Store) Verify(presented []byte) (Grant, error) {
	e, now, err := s.check(presented)
	if err != nil {
		return Grant{}, err
	}
	s.index.use(e, now)
	return e.grant(), nil
}

// Peek is Verify without a trace: the token does not count as used.
func (s *Store) Peek(presented []byte) (Grant, error) {
	e, _, err := s.check(presented)
	if err != nil {
		return Grant{}, err
	}
	return e.grant(), nil
}

func (e found) grant() Grant {
	g := Grant{
		Name:           e.name(),
		Write:          e.is(mayWrite),
		Expires:        e.is(doesExpire),
		ValueMade:      fromMilli(e.valueMade),
		ExpirationDate: fromMilli(e.expirationDate),
	}
	if e.is(isRotated) {
		g.GraceEnds = fromMilli(e.graceEnds())
	}
	return g
}

// check is the entry of a value that is good at this moment.
func (s *Store) check(presented []byte) (e found, now int64, err error) {
	if s.closed.Load() {
		return found{}, 0, ErrClosed
	}
	if checkValue(presented) != nil {
		return found{}, 0, errMalformed
	}
	now = s.now().UnixMilli()
	hash := s.vault.hash(presented)
	filled := s.index.filled.Load() // first: what was not found may be offered a moment later
	e, ok := s.index.find(hash.fingerprint())
	if !ok && (!filled || s.index.overflowed.Load()) { // last: what was thrown out may just have been
		e, ok, err = s.load(hash)
		now = s.now().UnixMilli() // it may have waited while the token expired
	}
	switch {
	case err != nil:
		return found{}, 0, err
	case !ok:
		return found{}, 0, errUnknown
	case e.valid(now):
		return e, now, nil
	case e.is(isActive):
		return found{}, 0, errExpired
	}
	return found{}, 0, errInactive
}

// IndexMisses is how many presented values were looked up in the database, since
// the index could not tell.
func (s *Store) IndexMisses() uint64 { return s.misses.Load() }

// load reads what the index does not hold and offers it to the index. It is not
// ok where no token has the value.
func (s *Store) load(hash lookupHash) (e found, ok bool, err error) {
	s.misses.Add(1)
	err = s.operate(func() error {
		for !ok {
			since := s.index.changes.Load()
			r, err := s.lookup(hash)
			if err != nil {
				return err
			}
			e, ok = s.index.offer(&r, hash, since, true)
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return e, ok, err
}

func (s *Store) lookup(hash lookupHash) (r record, err error) {
	err = s.read(func(view view) error {
		r, err = view.lookup(hash)
		return err
	})
	return r, err
}

// fill offers all records to the index, in pieces so that it holds no snapshot
// for long.
func (s *Store) fill() {
	defer s.users.Done()
	defer close(s.filled)
	begin := time.Now()
	err := s.fillEntries()
	if err == nil && !s.index.overflowed.Load() { // those beyond the bound come and go, with uses of their own
		err = s.fillUses()
	}
	if s.closed.Load() {
		return
	}
	if err != nil {
		s.log.Error("the index could not be filled; verification asks the database", "err", err)
		return
	}
	s.index.filled.Store(true)
	count := s.index.count.Load()
	if s.index.overflowed.Load() && s.index.max > 0 {
		s.log.Warn("there are more tokens than the index may hold; verification of the others asks the database", "max_indexed_tokens", s.index.max)
	}
	s.log.Debug("the index is filled", "tokens", count, "took", time.Since(begin))
}

const fillPiece = 512 // records

func (s *Store) fillEntries() error {
	after, more := "", true
	for more && !s.closed.Load() && !s.index.overflowed.Load() {
		since := s.index.changes.Load()
		err := s.read(func(view view) error {
			it := view.iterate(recordPrefix)
			defer it.Close()
			it.Seek(append(recordKey(after), 0))
			more = false
			left := fillPiece
			for r, err := range view.records(it) {
				if err != nil {
					return err
				}
				if left == 0 {
					more = true
					break
				}
				if !s.index.offerAll(&r, since) {
					more = true // from this one on, in its newest state
					break
				}
				after = r.Name
				left--
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fillUses tells the entries their last uses.
func (s *Store) fillUses() error {
	return s.read(func(view view) error {
		it := view.iterate(usesPrefix)
		defer it.Close()
		it.Rewind()
		for shard := range shardCount {
			var stored uses
			if it.Valid() && bytes.Equal(it.Item().Key(), usesKey(shard)) {
				raw, err := it.Item().ValueCopy(nil)
				if err != nil {
					return fmt.Errorf("cannot be read: %w", err)
				}
				if stored, err = decodeUses(raw); err != nil {
					return err
				}
				it.Next()
			}
			s.index.learn(shard, stored)
		}
		return nil
	})
}
