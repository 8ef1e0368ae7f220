package kv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tokend/kv/internal/seal"
)

// Create makes a token with a value of its own. It fails with an InvalidError or ErrExists:
// with the latter also where the expiry has meanwhile passed, so that a create may be repeated.
func (s *Store) Create(ctx context.Context, spec Spec) (Token, Value, error) {
	r, err := s.newRecord(NewToken{Spec: spec})
	if r == nil {
		return Token{}, Value{}, err
	}
	decide := func(view view) ([]change, error) {
		conflict, _, err := view.conflict(r, false)
		return []change{{after: r}}, cmp.Or(err, conflict)
	}
	if err == nil {
		err = s.change(ctx, decide)
	} else { // the expiry is wrong
		err = cmp.Or(s.operate(func() error {
			return s.read(func(view view) error {
				_, conflict := decide(view)
				return conflict
			})
		}), err)
	}
	if err != nil {
		return Token{}, Value{}, err
	}
	return r.Token, r.value, nil
}

// NewToken is a token to be made.
type NewToken struct {
	Spec
	Value Value // zero: one is made

	// What is known of a token that was made elsewhere. Zero is now, and never for
	// LastUsedAt. What lies in the future becomes now.
	CreatedAt, UpdatedAt, LastUsedAt time.Time
}

// Created is a new token with its value.
type Created struct {
	Token
	Value Value
}

// token is the token that is asked for. Its expiry may have passed, if it was made
// before: what has expired elsewhere is expired here.
func (n NewToken) token(now time.Time) (Token, error) {
	if err := CheckNewName(n.Name); err != nil {
		return Token{}, err
	}
	known := func(t, otherwise time.Time) time.Time {
		if t.IsZero() {
			t = otherwise
		}
		if t.After(now) {
			t = now
		}
		return milliseconds(t)
	}
	t := Token{
		Spec:       n.Spec,
		CreatedAt:  known(n.CreatedAt, now),
		UpdatedAt:  known(n.UpdatedAt, now),
		LastUsedAt: known(n.LastUsedAt, time.Time{}),
	}
	t.ExpiresAt = milliseconds(n.ExpiresAt)
	isPast := t.Expires() && !t.ExpiresAt.After(now)
	if isPast && t.ExpiresAt.After(t.CreatedAt) && !looksLikeSeconds(t.ExpiresAt, now) {
		return t, nil
	}
	return t, checkExpiration(t.ExpiresAt, milliseconds(now))
}

// BatchError tells all the tokens for which CreateAll made none.
type BatchError struct{ Refusals []Refusal }

// Refusal is a token that cannot be made.
type Refusal struct {
	Index int
	Err   error // an InvalidError, ErrExists or ErrValueTaken

	// Same says that the token exists just so: with the same rights and expiry,
	// and with the same value if one was given.
	Same bool
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("%d tokens cannot be made, the first of them: %v", len(e.Refusals), e.Refusals[0].Err)
}

// Unwrap gives the errors of all refusals.
func (e *BatchError) Unwrap() []error {
	all := make([]error, len(e.Refusals))
	for i, refusal := range e.Refusals {
		all[i] = refusal.Err
	}
	return all
}

// CreateAll makes many tokens in one commit, or none of them. It fails with a
// BatchError, and with ErrTooLarge for more than fit a transaction: 500 always
// do, 900 with values that tokend makes, and with short names some 3,000.
func (s *Store) CreateAll(ctx context.Context, tokens []NewToken) ([]Created, error) {
	changes := make([]change, len(tokens))
	late := map[int]*record{}
	var refusals []Refusal
	for i, n := range tokens {
		r, err := s.newRecord(n)
		switch {
		case err == nil:
			changes[i].after = r
		case r != nil:
			late[i] = r
			fallthrough
		default:
			refusals = append(refusals, Refusal{Index: i, Err: err})
		}
	}
	if len(refusals) > 0 {
		return nil, s.refuse(tokens, changes, late, refusals)
	}
	err := s.change(ctx, func(view view) ([]change, error) {
		refusals, err := view.conflicts(tokens, changes)
		if err == nil && len(refusals) > 0 {
			err = &BatchError{refusals}
		}
		return changes, err
	})
	if err != nil {
		return nil, err
	}
	all := make([]Created, len(tokens))
	for i, c := range changes {
		all[i] = Created{c.after.Token, c.after.value}
	}
	return all, nil
}

// newRecord is the record of a token that is asked for. It is sealed here and not in the
// writer, which every client waits for. Where only the expiry is wrong, there is a record too.
func (s *Store) newRecord(n NewToken) (*record, error) {
	token, err := n.token(s.now())
	if token.Name == "" {
		return nil, err
	}
	value := n.Value
	if value == (Value{}) {
		value = NewValue(s.prefix)
	}
	return s.vault.seal(record{Token: token, value: value, valueMade: token.CreatedAt}), err
}

// refuse tells what is wrong with the others too, where some are refused already. Of those that
// only came late, it tells first that they exist.
func (s *Store) refuse(tokens []NewToken, changes []change, late map[int]*record, refusals []Refusal) error {
	err := s.operate(func() error {
		return s.read(func(view view) error {
			for i, refusal := range refusals {
				r := late[refusal.Index]
				if r == nil {
					continue
				}
				conflict, same, err := view.conflict(r, tokens[refusal.Index].Value != Value{})
				if err != nil {
					return err
				}
				if errors.Is(conflict, ErrExists) {
					refusals[i].Err, refusals[i].Same = conflict, same
				}
			}
			conflicts, err := view.conflicts(tokens, changes)
			refusals = append(refusals, conflicts...)
			return err
		})
	})
	if err != nil {
		return err
	}
	slices.SortFunc(refusals, func(a, b Refusal) int { return cmp.Compare(a.Index, b.Index) })
	return &BatchError{refusals}
}

// conflicts are the new tokens whose names or values are taken, be it by one
// before.
func (v view) conflicts(tokens []NewToken, changes []change) (refusals []Refusal, err error) {
	names := map[string]*record{} // that are made; without a size, which would cost a single one
	values := map[seal.Hash]string{}
	for i, c := range changes {
		if c.after == nil {
			continue
		}
		refusal := Refusal{Index: i}
		isGiven := tokens[i].Value != Value{}
		refusal.Err, refusal.Same, err = v.conflict(c.after, isGiven)
		if err != nil {
			return nil, err
		}
		earlier, owner := names[c.after.Name], values[c.after.hash]
		switch {
		case refusal.Err != nil:
		case earlier != nil:
			refusal.Err = &twiceError{fmt.Sprintf("the name %q comes twice", c.after.Name), ErrExists}
			refusal.Same = earlier.isAskedFor(c.after, isGiven)
		case owner != "":
			refusal.Err = &twiceError{fmt.Sprintf("the value comes twice, first for %q", owner), ErrValueTaken}
		default:
			names[c.after.Name] = c.after
			if isGiven {
				values[c.after.hash] = c.after.Name
			}
			continue
		}
		refusals = append(refusals, refusal)
	}
	return refusals, nil
}

// isAskedFor reports whether a token is just as another record asks for it.
func (r *record) isAskedFor(other *record, valueMatters bool) bool {
	return r.equalSpec(other.Spec) && (!valueMatters || r.hash.Equal(other.hash))
}

// twiceError is a conflict within a batch.
type twiceError struct {
	text string
	is   error
}

func (e *twiceError) Error() string { return e.text }

func (e *twiceError) Unwrap() error { return e.is }

// conflict is what a new record collides with. A value that we made collides
// with nothing.
func (v view) conflict(r *record, isGiven bool) (conflict error, same bool, err error) {
	exists, err := v.Has(recordKey(r.Name))
	if err != nil {
		return nil, false, err
	}
	if exists {
		there, err := v.record(r.Name)
		if err != nil {
			return nil, false, err
		}
		return fmt.Errorf("a token named %q %w", r.Name, ErrExists), there.isAskedFor(r, isGiven), nil
	}
	if !isGiven {
		return nil, false, nil
	}
	owner, err := v.get(indexKey(r.hash))
	if errors.Is(err, ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return fmt.Errorf("the token %q %w", owner, ErrValueTaken), false, nil
}
