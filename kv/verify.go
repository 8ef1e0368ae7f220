package kv

import (
	"errors"
	"time"

	"tokend/kv/internal/index"
	"tokend/kv/internal/seal"
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
	e, now, err := s.verify(presented)
	if err != nil {
		return Grant{}, err
	}
	s.index.Use(e, now)
	return grantOf(e), nil
}

// Peek is Verify without a trace: the token does not count as used.
func (s *Store) Peek(presented []byte) (Grant, error) {
	e, _, err := s.verify(presented)
	if err != nil {
		return Grant{}, err
	}
	return grantOf(e), nil
}

func grantOf(e index.Found) Grant {
	g := Grant{
		Name:           e.Name(),
		Write:          e.Write(),
		Expires:        e.Expires(),
		ValueMade:      fromMilli(e.ValueMade()),
		ExpirationDate: fromMilli(e.ExpirationDate()),
	}
	if e.Rotated() {
		g.GraceEnds = fromMilli(e.GraceEnds())
	}
	return g
}

// verify is the entry of a value that is good at this moment.
func (s *Store) verify(presented []byte) (e index.Found, now int64, err error) {
	if s.closed.Load() {
		return index.Found{}, 0, ErrClosed
	}
	if checkValue(presented) != nil {
		return index.Found{}, 0, errMalformed
	}
	now = s.now().UnixMilli()
	hash := s.vault.Hash(presented)
	filled := s.index.IsFilled() // first: what was not found may be offered a moment later
	e, ok := s.index.Find(index.KeyOf(hash))
	if !ok && (!filled || s.index.HasOverflowed()) { // last: what was thrown out may just have been
		e, ok, err = s.load(hash)
		now = s.now().UnixMilli() // it may have waited while the token expired
	}
	switch {
	case err != nil:
		return index.Found{}, 0, err
	case !ok:
		return index.Found{}, 0, errUnknown
	case e.Valid(now):
		return e, now, nil
	case e.Active():
		return index.Found{}, 0, errExpired
	}
	return index.Found{}, 0, errInactive
}

// IndexMisses is how many presented values were looked up in the database, since
// the index could not tell.
func (s *Store) IndexMisses() uint64 { return s.misses.Load() }

// load reads what the index does not hold and offers it to the index. It is not
// ok where no token has the value.
func (s *Store) load(hash seal.Hash) (e index.Found, ok bool, err error) {
	s.misses.Add(1)
	err = s.operate(func() error {
		for !ok {
			since := s.index.Published()
			r, err := s.lookup(hash)
			if err != nil {
				return err
			}
			e, ok = s.index.Offer(r.entry(hash), since, true)
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return e, ok, err
}

func (s *Store) lookup(hash seal.Hash) (r record, err error) {
	err = s.read(func(view view) error {
		r, err = view.lookup(hash)
		return err
	})
	return r, err
}
