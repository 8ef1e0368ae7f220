package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"

	"tokend/api/wire"
	"tokend/kv"
)

// token is a token as it is shown to people.
type token struct{ wire.Token }

func rights(write bool) string {
	if write {
		return "read and write"
	}
	return "read"
}

func (t token) expiry(now time.Time) string {
	if !t.Expires {
		return "never"
	}
	return relative(t.ExpirationDate, now)
}

func lastUse(ms *int64, now time.Time) string {
	if ms == nil {
		return "never"
	}
	return relative(*ms, now)
}

// oldValue is whether anybody still uses the value before the last rotation.
func (t token) oldValue(now time.Time) string {
	switch {
	case t.Grace == nil:
		return "-"
	case t.PreviousLastUsedAt == nil:
		return "unused"
	}
	return relative(*t.PreviousLastUsedAt, now)
}

// summary is a token in a few words, after its name.
func (t token) summary(now time.Time) string {
	text := "may " + rights(t.Write)
	switch {
	case t.Status == "expired":
		text += fmt.Sprintf(", expired %s (%s)", relative(t.ExpirationDate, now), exactly(t.ExpirationDate))
	case t.Expires:
		text += fmt.Sprintf(", expires %s (%s)", relative(t.ExpirationDate, now), exactly(t.ExpirationDate))
	default:
		text += ", never expires"
	}
	if t.Status == "inactive" {
		text += ", inactive"
	}
	return text
}

// Names come last, since nobody knows how wide they are.
const row = "%s  %-5s  %-12s  %-14s  %-14s  %s\n"

func writeHeader(w io.Writer) error {
	_, err := fmt.Fprintf(w, row, fmt.Sprintf("%-8s", "STATUS"), "MAY", "EXPIRES", "LAST USED", "OLD VALUE", "NAME")
	return err
}

func (t token) writeRow(w io.Writer, now time.Time, colours bool) error {
	may := "read"
	if t.Write {
		may = "write"
	}
	_, err := fmt.Fprintf(w, row, status(t.Status, 8, colours), may, t.expiry(now), lastUse(t.LastUsedAt, now), t.oldValue(now), shown(t.Name))
	return err
}

// shown is a name as it is, or quoted where some of it cannot be seen, as in names that earlier
// versions took.
func shown(name string) string {
	if kv.CheckNewName(name) != nil {
		return strconv.QuoteToASCII(name)
	}
	return name
}

// write shows everything about a token.
func (t token) write(w io.Writer, now time.Time, colours bool) error {
	moment := func(ms int64) string { return fmt.Sprintf("%s (%s)", relative(ms, now), exactly(ms)) }
	lines := [][2]string{
		{"name", shown(t.Name)},
		{"status", status(t.Status, 0, colours)},
		{"may", rights(t.Write)},
		{"expires", "never"},
		{"last used", "never"},
		{"created", moment(t.CreatedAt)},
		{"changed", moment(t.UpdatedAt)},
	}
	if t.Expires {
		lines[3][1] = moment(t.ExpirationDate)
	}
	if t.LastUsedAt != nil {
		lines[4][1] = moment(*t.LastUsedAt)
	}
	if t.Grace != nil {
		used := "never"
		if t.PreviousLastUsedAt != nil {
			used = moment(*t.PreviousLastUsedAt)
		}
		lines = append(lines, [2]string{"old value", "ends " + moment(t.PreviousValidUntil)}, [2]string{"  last used", used})
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(w, "%-13s%s\n", line[0]+":", line[1]); err != nil {
			return err
		}
	}
	return nil
}

// status is a status of a width, green, yellow or red.
func status(text string, width int, colours bool) string {
	padded := fmt.Sprintf("%-*s", width, text)
	colour, known := map[string]string{"active": "32", "inactive": "33", "expired": "31"}[text]
	if !colours || !known {
		return padded
	}
	return "\x1b[" + colour + "m" + padded + "\x1b[0m"
}

// isTerminal reports whether a stream is one, where people look.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// showsColours reports whether a stream should have them (no-color.org).
func showsColours(stream any) bool {
	return isTerminal(stream) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func were(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// tokens is a number of tokens, with the thousands apart.
func tokens(n int) string {
	if n == 1 {
		return "1 token"
	}
	return humanize.Comma(int64(n)) + " tokens"
}
