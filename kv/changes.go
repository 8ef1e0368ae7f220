package kv

import (
	"cmp"
	"context"
	"errors"
	"time"

	"tokend/kv/internal/index"
)

// Replace sets everything in spec; the value stays. An expiry that
// equals the token's ExpirationDate keeps the token's expiry as it is. It fails
// with an InvalidError or ErrNotFound.
func (s *Store) Replace(ctx context.Context, spec Spec) (Token, error) {
	return s.edit(ctx, spec.Name, func(Spec) Spec { return spec })
}

// Patch is what is to change about a token; nil stays.
type Patch struct {
	Active    *bool
	Write     *bool
	ExpiresAt *time.Time // zero removes the expiry
}

// Update changes what patch holds; the rest stays, and so does the value. It
// takes an expiry as Replace does, and fails with an InvalidError or
// ErrNotFound.
func (s *Store) Update(ctx context.Context, name string, patch Patch) (Token, error) {
	return s.edit(ctx, name, func(spec Spec) Spec {
		if patch.Active != nil {
			spec.Active = *patch.Active
		}
		if patch.Write != nil {
			spec.Write = *patch.Write
		}
		if patch.ExpiresAt != nil {
			spec.ExpiresAt = *patch.ExpiresAt
		}
		return spec
	})
}

// edit changes what a client decides about a token. What is wrong with a change whatever the
// token is comes before its not being there. Nothing moves where all is so already.
func (s *Store) edit(ctx context.Context, name string, edited func(Spec) Spec) (Token, error) {
	var after Token
	err := s.change(ctx, func(view view) ([]change, error) {
		before, err := view.used(name)
		if errors.Is(err, ErrNotFound) {
			err = cmp.Or(CheckName(name), checkExpiration(milliseconds(edited(Spec{}).ExpiresAt), milliseconds(s.now())), err)
		}
		if err != nil {
			return nil, err
		}
		after, err = before.withSpec(edited(before.Spec), s.now())
		if err != nil {
			return nil, err
		}
		if after.equalSpec(before.Spec) {
			after = before.Token
			return nil, nil
		}
		return []change{s.replacement(before, after)}, nil
	})
	if err != nil {
		return Token{}, err
	}
	return after, nil
}

// replacement is the change of a record to what is now decided about its token.
func (s *Store) replacement(before record, token Token) change {
	after := before
	after.Token = token
	return change{before: &before, after: s.vault.seal(after)}
}

// MaxGrace is the longest time for which a rotation leaves the old value good.
const MaxGrace = 30 * 24 * time.Hour

// Rotate gives a token another value. The old one stays good for a grace of 0 to
// MaxGrace, though no longer than the token, and not at all where that is
// inactive or expired; the one before the old one ends at once. It fails with
// an InvalidError or ErrNotFound.
func (s *Store) Rotate(ctx context.Context, name string, grace time.Duration) (Token, Value, error) {
	if grace < 0 || grace > MaxGrace {
		return Token{}, Value{}, &InvalidError{Field: "grace_ms", Reason: "must be 0 to 2592000000 milliseconds, which are 30 days"}
	}
	var after Token
	value := NewValue(s.prefix)
	err := s.change(ctx, func(view view) ([]change, error) {
		before, err := view.used(name)
		if err != nil {
			return nil, err
		}
		next := before
		if next.PreviousLastUsedAt, err = lastUsed(view.index, index.KeyOf(before.hash), view.uses); err != nil {
			return nil, err
		}
		now := s.now()
		next.Token = next.withRotation(grace, now)
		next.previous = previous{before.hash, before.valueMade}
		next.value, next.valueMade = value, milliseconds(now)
		after = next.Token
		return []change{{before: &before, after: s.vault.seal(next)}}, nil
	})
	if err != nil {
		return Token{}, Value{}, err
	}
	return after, value, nil
}

// Delete removes a token and gives it as it was. Its value stops working and
// its name is free. It fails with ErrNotFound.
func (s *Store) Delete(ctx context.Context, name string) (Token, error) {
	var before record
	err := s.change(ctx, func(view view) (_ []change, err error) {
		before, err = view.used(name)
		return []change{{before: &before}}, err
	})
	if err != nil {
		return Token{}, err
	}
	return before.Token, nil
}

// change has a decision carried out, and waits until it is on disk or the context ends. After
// an error the decision may still run, or be running.
func (s *Store) change(ctx context.Context, decide decision) error {
	return s.operate(func() error { return s.committer.commit(ctx, decide) })
}

// noChange is the decision of a commit that is not about tokens.
func noChange(view) ([]change, error) { return nil, nil }
