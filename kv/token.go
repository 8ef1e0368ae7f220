package kv

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxNameLength is the length of the longest name, in characters.
const MaxNameLength = 128

// MaxExpiration is the last moment at which a token may expire.
var MaxExpiration = time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)

// Spec is what a client decides about a token.
type Spec struct {
	Name   string
	Active bool
	Write  bool

	// ExpiresAt is the first millisecond at which the token is no longer good.
	// Zero means never.
	ExpiresAt time.Time
}

func (s Spec) equalSpec(other Spec) bool {
	return s.Name == other.Name && s.Active == other.Active && s.Write == other.Write && s.ExpiresAt.Equal(other.ExpiresAt)
}

// Token is what is known about a token, without its value.
type Token struct {
	Spec
	CreatedAt  time.Time
	UpdatedAt  time.Time
	LastUsedAt time.Time // by any of its values; zero: never

	// PreviousValidUntil is the end of the grace in which the value before the
	// last rotation is good too. Zero is none; it may have passed.
	PreviousValidUntil time.Time
	PreviousLastUsedAt time.Time // by that value; zero: never
}

// InGrace reports whether the value before the last rotation is still good.
func (t Token) InGrace(now time.Time) bool { return now.Before(t.PreviousValidUntil) }

// Status says what keeps a token from being valid, if anything does.
type Status string

// The statuses of a token. An inactive token that is also expired is inactive.
const (
	StatusActive   Status = "active"
	StatusInactive Status = "inactive"
	StatusExpired  Status = "expired"
)

// Status is the token's status at a moment.
func (t Token) Status(now time.Time) Status {
	switch {
	case !t.Active:
		return StatusInactive
	case t.Expires() && !now.Before(t.ExpiresAt):
		return StatusExpired
	}
	return StatusActive
}

// Valid reports whether the token is good at a moment: active and not expired.
func (t Token) Valid(now time.Time) bool { return t.Status(now) == StatusActive }

// Expires reports whether the token has an expiry at all.
func (t Token) Expires() bool { return !t.ExpiresAt.IsZero() }

// ExpirationDate is the expiry as it is shown to clients: a token without one
// shows the time of its last change.
func (t Token) ExpirationDate() time.Time {
	if t.Expires() {
		return t.ExpiresAt
	}
	return t.UpdatedAt
}

// withSpec is the token after everything a client decides was decided again.
// The expiry that the token shows now is accepted as it is, so that what was
// read can be written back: none stays none, and one that has passed stays.
func (t Token) withSpec(spec Spec, now time.Time) (Token, error) {
	spec.ExpiresAt = milliseconds(spec.ExpiresAt)
	now = milliseconds(now)
	if spec.ExpiresAt.Equal(t.ExpirationDate()) {
		spec.ExpiresAt = t.ExpiresAt
	} else if err := checkExpiration(spec.ExpiresAt, now); err != nil {
		if errors.Is(err, ErrPast) && !t.Expires() {
			err = &InvalidError{Field: "expiration_date", isPast: true,
				Reason: fmt.Sprintf("%d %v; the token has no expiry: leave the field out or send null", spec.ExpiresAt.UnixMilli(), ErrPast)}
		}
		return Token{}, err
	}
	t.Spec = spec
	return t.afterChange(now), nil
}

// withRotation is the token after it got another value. The old one stays good for a
// grace, unless the token itself is not.
func (t Token) withRotation(grace time.Duration, now time.Time) Token {
	now = milliseconds(now)
	t.PreviousValidUntil = now.Add(grace)
	return t.afterChange(now)
}

// afterChange is the token after a change. A grace never outlives the token, and
// what ended it is not undone by a later change.
func (t Token) afterChange(now time.Time) Token {
	if now.After(t.UpdatedAt) { // a clock that was set back moves nothing back
		t.UpdatedAt = now
	}
	if t.Expires() && t.ExpiresAt.Before(t.PreviousValidUntil) {
		t.PreviousValidUntil = t.ExpiresAt
	}
	if !t.Active || !t.InGrace(now) {
		t.PreviousValidUntil, t.PreviousLastUsedAt = time.Time{}, time.Time{}
	}
	return t
}

// CheckName says what is wrong with the name of any token, as an InvalidError: it must have 1
// to 128 characters of UTF-8, none of the Unicode categories Cc, Cf, Zl and Zp,
// which forge log lines and tables, and no white space at its ends.
func CheckName(name string) error {
	switch {
	case name == "":
		return invalidName("is empty; a name has 1 to 128 characters")
	case !utf8.ValidString(name):
		return invalidName("is not valid UTF-8")
	case utf8.RuneCountInString(name) > MaxNameLength:
		return invalidName(fmt.Sprintf("has %d characters; at most %d are allowed", utf8.RuneCountInString(name), MaxNameLength))
	case strings.TrimSpace(name) != name:
		return invalidName("begins or ends with white space")
	}
	return checkCharacters(name, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// CheckNewName is CheckName for a token that is to be made. Its name must also show: it has no
// noncharacters, nothing that is Default_Ignorable_Code_Point (Unicode, section 5.21), and not
// U+2800. Versions before took such names, so that there may be tokens that have them.
func CheckNewName(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	for _, r := range name {
		if unicode.Is(unicode.Noncharacter_Code_Point, r) {
			return invalidName(fmt.Sprintf("contains %U, which is no character", r))
		}
	}
	return checkCharacters(name, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, blankBraille)
}

var blankBraille = &unicode.RangeTable{R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}}

func checkCharacters(name string, invisible ...*unicode.RangeTable) error {
	for _, r := range name {
		if unicode.In(r, invisible...) {
			return invalidName(fmt.Sprintf("contains the invisible character %U", r))
		}
	}
	return nil
}

func invalidName(reason string) error { return &InvalidError{Field: "name", Reason: reason} }

func checkExpiration(at, now time.Time) error {
	invalid := func(reason string) error { return &InvalidError{Field: "expiration_date", Reason: reason} }
	switch {
	case at.IsZero() || (at.After(now) && !at.After(MaxExpiration)):
		return nil
	case at.After(MaxExpiration):
		return invalid("is after the year 9999")
	case at.Before(time.UnixMilli(0)):
		return invalid("is before 1970")
	case looksLikeSeconds(at, now):
		return invalid(fmt.Sprintf("%d is in %d; milliseconds are expected", at.UnixMilli(), at.Year()))
	}
	return &InvalidError{Field: "expiration_date", isPast: true, Reason: fmt.Sprintf("%d %v (now is %d)", at.UnixMilli(), ErrPast, now.UnixMilli())}
}

// looksLikeSeconds reports whether a moment that is past would be a good expiry
// if its number were seconds.
func looksLikeSeconds(at, now time.Time) bool {
	seconds := at.UnixMilli()
	return seconds > now.Unix() && seconds <= MaxExpiration.Unix()
}

// milliseconds cuts a moment to what is stored and shown. Zero stays zero.
func milliseconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return fromMilli(t.UnixMilli())
}

func fromMilli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
