package seal

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is embedded in a secret and keeps it out of everything that prints.
type Redacted struct{}

const placeholder = "[secret]"

// Format implements fmt.Formatter for every verb.
func (Redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, placeholder) }

// LogValue implements slog.LogValuer.
func (Redacted) LogValue() slog.Value { return slog.StringValue(placeholder) }

// MarshalText keeps the secret out of JSON, TOML and whatever else encodes text.
func (Redacted) MarshalText() ([]byte, error) { return []byte(placeholder), nil }
