package kv

import "errors"

// Create makes a token with a value of its own. It fails with an
// InvalidError or ErrExists.
func (s *Store) Create(spec Spec) (Token, Value, error) {
	all, err := s.CreateAll([]Spec{spec})
	if err != nil {
		return Token{}, Value{}, err
	}
	return all[0].Token, all[0].Value, nil
}

// Created is a new token with its value.
type Created struct {
	Token
	Value Value
}

// CreateAll makes many tokens in one commit, or none of them. It fails as Create
// does, naming the first token at fault, and with ErrTooLarge for more than fit
// a transaction: 900 always do, and with short names some 3,000.
func (s *Store) CreateAll(specs []Spec) ([]Created, error) {
	changes := make([]change, len(specs))
	for i, spec := range specs {
		token, err := newToken(spec, s.now())
		if err != nil {
			return nil, err
		}
		// Sealed here and not in the writer, which every client waits for.
		made := s.vault.seal(token, NewValue(s.prefix), token.CreatedAt)
		changes[i].after = &made
	}
	err := s.change(func(view view) ([]change, error) {
		return changes, view.expectNew(changes)
	})
	if err != nil {
		return nil, err
	}
	all := make([]Created, len(specs))
	for i, c := range changes {
		all[i] = Created{c.after.Token, c.after.value}
	}
	return all, nil
}

// Replace decides everything in spec anew; the value stays. An expiry that
// equals the token's ExpirationDate keeps the token's expiry as it is. It fails
// with an InvalidError or ErrNotFound.
func (s *Store) Replace(spec Spec) (Token, error) {
	var after Token
	err := s.change(func(view view) ([]change, error) {
		now := s.now()
		before, err := view.used(spec.Name)
		if errors.Is(err, ErrNotFound) {
			// What is wrong in any case is said first.
			if _, invalid := newToken(spec, now); invalid != nil {
				return nil, invalid
			}
		}
		if err != nil {
			return nil, err
		}
		after, err = before.replaced(spec, now)
		if err != nil {
			return nil, err
		}
		sealed := s.vault.seal(after, before.value, before.valueMade)
		return []change{{before: &before, after: &sealed}}, nil
	})
	if err != nil {
		return Token{}, err
	}
	return after, nil
}

// Delete removes a token and gives it as it was. Its value stops working and
// its name is free. It fails with ErrNotFound.
func (s *Store) Delete(name string) (Token, error) {
	var before record
	err := s.change(func(view view) (_ []change, err error) {
		before, err = view.used(name)
		return []change{{before: &before}}, err
	})
	if err != nil {
		return Token{}, err
	}
	return before.Token, nil
}

// change has the writer apply what decide decides, and waits until it is on
// disk.
func (s *Store) change(decide decision) error {
	return s.operate(func() error { return s.writer.apply(decide) })
}
