package kv

import (
	"strings"
	"time"
)

// Filter says which tokens are meant. What is zero does not matter.
type Filter struct {
	Prefix string // of the name, compared byte by byte
	Status Status

	// ExpiresBefore means tokens that expire before it. Those without an expiry
	// never match.
	ExpiresBefore time.Time

	// UnusedSince means tokens that were last used before it, or never.
	UnusedSince time.Time
}

// Matches reports whether a token is meant at a moment.
func (f Filter) Matches(t Token, now time.Time) bool {
	switch {
	case !strings.HasPrefix(t.Name, f.Prefix),
		f.Status != "" && t.Status(now) != f.Status,
		!f.ExpiresBefore.IsZero() && (!t.Expires() || !t.ExpiresAt.Before(f.ExpiresBefore)),
		!f.UnusedSince.IsZero() && !t.LastUsedAt.IsZero() && !t.LastUsedAt.Before(f.UnusedSince):
		return false
	}
	return true
}
