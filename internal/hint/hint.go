// Package hint is the way out of an error: what a person should do next.
package hint

import "strings"

// Error is an error with a way out.
type Error struct {
	error
	hint string
}

// New gives an error a way out: what to do, in lower case and without a full stop.
func New(err error, hint string) error { return &Error{err, hint} }

func (e *Error) Unwrap() error { return e.error }

// Hint is the way out.
func (e *Error) Hint() string { return e.hint }

// Quote writes a word of a command so that a shell reads it as it is.
func Quote(word string) string {
	unsafe := func(r rune) bool {
		return !strings.ContainsRune("/._-+@%:,=", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	if word != "" && strings.IndexFunc(word, unsafe) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
