package kv

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"

	"tokend/kv/internal/seal"
)

// Value is a token's secret, or what somebody presents as one. It does not show
// itself: fmt, slog and JSON print a placeholder or, where the value is in a
// field that they cannot see into, an address. Reveal gives the text.
type Value struct {
	seal.Redacted

	text *string // a pointer, since fmt ignores methods in unexported fields
}

func newValue(text string) Value { return Value{text: &text} }

// Reveal is the secret itself, for the one place that must send it.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// Equal compares two values in constant time.
func (v Value) Equal(other Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(other.Reveal())) == 1
}

const (
	randomLength   = 43 // base62 digits that hold 256 bits
	checksumLength = 6  // base62 digits that hold a CRC-32

	minValueLength = 16
	maxValueLength = 512
)

// NewValue makes a value that nobody can guess: prefix, "_", 43 base62 digits
// of 256 random bits, 6 base62 digits of their CRC-32.
func NewValue(prefix string) Value {
	var random [32]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	return formatValue(prefix, random)
}

func formatValue(prefix string, random [32]byte) Value {
	digits := base62(new(big.Int).SetBytes(random[:]), randomLength)
	return newValue(prefix + "_" + digits + checksum(digits))
}

// ParseValue takes what somebody presents as a value: 16 to 512 visible ASCII
// characters. Nothing else can ever have been issued or imported. The error
// does not repeat the text.
func ParseValue(text string) (Value, error) {
	if err := checkValue([]byte(text)); err != nil {
		return Value{}, err
	}
	return newValue(text), nil
}

func checkValue(text []byte) error {
	if len(text) < minValueLength || len(text) > maxValueLength {
		return &InvalidError{Field: "token", Reason: fmt.Sprintf("has %d characters; %d to %d are allowed", len(text), minValueLength, maxValueLength)}
	}
	for _, c := range text {
		if c <= ' ' || c > '~' {
			return &InvalidError{Field: "token", Reason: "contains a character that is not visible ASCII"}
		}
	}
	return nil
}

// HasTypo reports whether the value has the shape that NewValue gives but the
// wrong checksum. It proves nothing to a server, which looks every value up: an
// imported one may have any shape.
func (v Value) HasTypo() bool {
	prefix, rest, found := strings.Cut(v.Reveal(), "_")
	if !found || CheckPrefix(prefix) != nil || len(rest) != randomLength+checksumLength || strings.Trim(rest, alphabet) != "" {
		return false
	}
	return checksum(rest[:randomLength]) != rest[randomLength:]
}

// CheckPrefix says whether values may begin with a prefix: 1 to 16 of a-z and
// 0-9.
func CheckPrefix(prefix string) error {
	if prefix == "" || len(prefix) > 16 || strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return &InvalidError{Field: "prefix", Reason: "must be 1 to 16 of a-z and 0-9"}
	}
	return nil
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// checksum is the CRC-32 (IEEE) of the random digits alone, in base62, as in
// the tokens of GitHub and npm.
func checksum(digits string) string {
	sum := crc32.ChecksumIEEE([]byte(digits))
	return base62(big.NewInt(int64(sum)), checksumLength)
}

// base62 writes n in the digits 0-9A-Za-z, padded on the left. (big.Int has the
// lower-case letters first.)
func base62(n *big.Int, length int) string {
	digits := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a':
			return r - 'a' + 'A'
		case r >= 'A':
			return r - 'A' + 'a'
		}
		return r
	}, n.Text(62))
	return strings.Repeat("0", length-len(digits)) + digits
}
