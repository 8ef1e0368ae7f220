package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is what Bulk does to a token.
type Action string

// The actions of Bulk.
const (
	Activate   Action = "activate"
	Deactivate Action = "deactivate"
	Remove     Action = "delete"
)

// MaxBulk is the largest number of tokens that Bulk takes.
const MaxBulk = 1000

// Bulk does one thing to many tokens: those with Names, or where there are none
// those that Filter means.
type Bulk struct {
	Action Action
	Names  []string
	Filter Filter
	DryRun bool // change nothing, tell what would be
}

// BulkResult is what Bulk did.
type BulkResult struct {
	Names   []string // of the tokens that were meant, sorted
	Changed int      // the others were so already
}

// MissingError names those of Bulk.Names that do not exist. Nothing was changed.
type MissingError struct{ Names []string }

func (e *MissingError) Error() string {
	const most = 10
	var quoted []string
	for _, name := range e.Names[:min(len(e.Names), most)] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	if more := len(e.Names) - most; more > 0 {
		quoted = append(quoted, fmt.Sprintf("%d more", more))
	}
	return "no token has the name " + strings.Join(quoted, ", ")
}

// Is lets a MissingError be an ErrNotFound.
func (e *MissingError) Is(target error) bool { return target == ErrNotFound }

// TooManyError is returned by Bulk for more than MaxBulk tokens. Nothing was
// changed.
type TooManyError struct{ Matched int }

func (e *TooManyError) Error() string {
	return fmt.Sprintf("%d tokens are meant; at most %d are allowed", e.Matched, MaxBulk)
}

// Bulk changes all the tokens that are meant in one commit, or none. It fails
// with a MissingError or a TooManyError. A token that begins to match the filter
// after the call began may be left out; one that no longer matches is left out.
func (s *Store) Bulk(ctx context.Context, b Bulk) (BulkResult, error) {
	names := slices.Compact(slices.Sorted(slices.Values(b.Names)))
	if len(names) == 0 {
		var err error
		if names, err = s.matching(b.Filter); err != nil {
			return BulkResult{}, err
		}
	}
	if len(names) > MaxBulk {
		return BulkResult{}, &TooManyError{len(names)}
	}
	var done BulkResult
	if b.DryRun { // it needs no room on the disk
		err := s.operate(func() (err error) {
			done, _, err = s.decideBulk(s.used, b, names)
			done.Changed = 0
			return err
		})
		return done, err
	}
	err := s.change(ctx, func(view view) (changes []change, err error) {
		done, changes, err = s.decideBulk(view.used, b, names)
		return changes, err
	})
	if err != nil {
		return BulkResult{}, err
	}
	return done, nil
}

// decideBulk decides about the tokens with some names: those of b, or else those
// that matched before.
func (s *Store) decideBulk(get func(name string) (record, error), b Bulk, names []string) (done BulkResult, changes []change, err error) {
	byName := len(b.Names) > 0
	var missing []string
	now := s.now()
	for _, name := range names {
		before, err := get(name)
		switch {
		case errors.Is(err, ErrNotFound):
			missing = append(missing, name)
			continue
		case err != nil:
			return BulkResult{}, nil, err
		case !byName && !b.Filter.Matches(before.Token, now):
			continue
		}
		done.Names = append(done.Names, name)
		if c, differs := s.bulkChange(b.Action, before, now); differs {
			changes = append(changes, c)
		}
	}
	if byName && len(missing) > 0 {
		return BulkResult{}, nil, &MissingError{missing}
	}
	done.Changed = len(changes)
	return done, changes, nil
}

// bulkChange is what an action makes of a token. It does not differ where the
// token is so already.
func (s *Store) bulkChange(action Action, before record, now time.Time) (_ change, differs bool) {
	if action == Remove {
		return change{before: &before}, true
	}
	if active := action == Activate; before.Active != active {
		after := before.Token
		after.Active = active
		return s.replacement(before, after.afterChange(milliseconds(now))), true
	}
	return change{}, false
}

// matching are the names of the tokens that a filter means. Those beyond
// MaxBulk are only counted, as a TooManyError.
func (s *Store) matching(f Filter) ([]string, error) {
	snapshot, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	var names []string
	count := 0
	for token, err := range snapshot.Tokens(f, "", s.now()) {
		if err != nil {
			return nil, err
		}
		count++
		if count <= MaxBulk {
			names = append(names, token.Name)
		}
	}
	if count > MaxBulk {
		return nil, &TooManyError{count}
	}
	return names, nil
}
