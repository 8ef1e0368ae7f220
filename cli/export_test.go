package cli

import (
	"bytes"
	"context"
	"log/slog"

	"github.com/go-json-experiment/json/jsontext"
)

// Relative is a moment as people say it.
var Relative = relative

// IsAt reports whether a listener is at a configured address.
var IsAt = isAt

// Watch feeds the watchdog of systemd while a check succeeds.
func Watch(ctx context.Context, log *slog.Logger, check func() error) {
	(&manager{log: log, status: func() string { return "" }}).watch(ctx, check)
}

// Address is the best of a server's addresses.
var Address = address

// DecodeList reads a server's list.
func DecodeList(answer []byte) (names []string, copied []byte, err error) {
	var to bytes.Buffer
	err = decodeList(jsontext.NewDecoder(bytes.NewReader(answer)), &to, func(t token) bool {
		names = append(names, t.Name)
		return true
	})
	return names, to.Bytes(), err
}

// IsSenseless tells what is no list from what cannot be read.
var IsSenseless = isSenseless

// CopyLines copies a server's export.
func CopyLines(export []byte) (copied []byte, count int, err error) {
	var to bytes.Buffer
	count, err = new(client).copyLines(&to, bytes.NewReader(export))
	return to.Bytes(), count, err
}

// ImportResults reads what a server says of an import: of how many lines, and whether it
// failed at the last of them.
func ImportResults(answer []byte, lines int) (results int, failed, ok bool) {
	batches, ok := parseBatches(answer, lines)
	if !ok {
		return 0, false, false
	}
	last := batches[len(batches)-1]
	return last.LastLine, last.Error != nil, true
}

// TimeFlags set a flag that is a time and give it as it is shown.
var TimeFlags = map[string]func(text string) (shown string, err error){
	"duration": func(text string) (string, error) {
		var d durationValue
		err := d.Set(text)
		return d.String(), err
	},
	"moment": func(text string) (string, error) {
		var m momentValue
		err := m.Set(text)
		return m.String(), err
	},
	"moment ahead": func(text string) (string, error) {
		m := momentValue{direction: 1}
		err := m.Set(text)
		return m.String(), err
	},
}
