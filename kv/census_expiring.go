package kv

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Due is when something ends about a token.
type Due struct {
	Name string
	At   time.Time
}

// What is named: as many as somebody can see to, in the time in which they should.
const (
	maxDue    = 100
	dueWithin = 30 * 24 * time.Hour
)

// ExpiringNext are the up to 100 active tokens that expire next, within 30 days, as
// they were at most a minute ago. Only tokens that the index holds are seen.
func (s *Store) ExpiringNext() []Due {
	due, _ := s.expiring.get(func() ([]Due, bool) {
		now := s.now().UnixMilli()
		var next soonest
		for e := range s.index.All() {
			if e.Expires() && !e.Rotated() && e.Valid(now) && e.ExpirationDate() <= now+dueWithin.Milliseconds() {
				next.add(e.Name(), e.ExpirationDate())
			}
		}
		return next.first(), true
	})
	return due
}

// soonest gathers what ends first.
type soonest []Due

func (s *soonest) add(name string, at int64) {
	*s = append(*s, Due{name, fromMilli(at)})
	if len(*s) >= 8*maxDue {
		s.trim()
	}
}

// trim leaves no name twice: a token that is changed meanwhile may be met in two
// places.
func (s *soonest) trim() {
	slices.SortFunc(*s, func(a, b Due) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Name, b.Name)) })
	seen := make(map[string]bool, len(*s))
	*s = slices.DeleteFunc(*s, func(d Due) bool {
		twice := seen[d.Name]
		seen[d.Name] = true
		return twice
	})
	*s = (*s)[:min(maxDue, len(*s))]
}

// first is a copy, which keeps no block of the index.
func (s *soonest) first() (first []Due) {
	s.trim()
	for _, d := range *s {
		first = append(first, Due{strings.Clone(d.Name), d.At})
	}
	return first
}
