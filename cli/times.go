package cli

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// durationValue is a flag like 30d, 1h30m or 2w.
type durationValue struct{ time.Duration }

// Set implements pflag.Value.
func (d *durationValue) Set(text string) error {
	parsed, err := model.ParseDuration(text)
	if err != nil {
		return errors.New("a duration is expected, like 30d, 12h or 1h30m")
	}
	d.Duration = time.Duration(parsed)
	return nil
}

func (d *durationValue) String() string {
	if d.Duration == 0 {
		return ""
	}
	return model.Duration(d.Duration).String()
}

// Type implements pflag.Value: what the help calls it.
func (*durationValue) Type() string { return "duration" }

// momentValue is a flag like 2027-01-01, 2027-01-01 12:00, 2027-01-01T12:00:00Z, or where
// there is a direction a duration from now.
type momentValue struct {
	time.Time
	direction int // of durations: 1 ahead, -1 back, 0 none
}

// Set implements pflag.Value.
func (m *momentValue) Set(text string) error {
	if t, ok := parseMoment(text); ok {
		m.Time = t
		return nil
	}
	if m.direction == 0 {
		return errors.New("a date is expected, like 2027-01-01, 2027-01-01 12:00 or 2027-01-01T12:00:00+02:00")
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		return errors.New("a date or a duration is expected, like 2027-01-01 or 90d")
	}
	m.Time = time.Now().Add(time.Duration(m.direction) * time.Duration(d))
	return nil
}

// parseMoment reads a date, perhaps with a time of day behind a space or a T, as RFC 3339 and
// date(1) write it: with or without seconds and a zone. Without one it is local.
func parseMoment(text string) (time.Time, bool) {
	layouts := []string{time.DateOnly}
	for _, clock := range []string{"15:04", time.TimeOnly} {
		for _, zone := range []string{"", "Z07:00", "Z0700", "Z07", " Z07:00", " Z0700", " UTC"} {
			layouts = append(layouts, "2006-01-02 "+clock+zone, "2006-01-02T"+clock+zone)
		}
	}
	for _, layout := range layouts {
		location := time.Local
		if strings.HasSuffix(layout, "UTC") {
			location = time.UTC
		}
		if t, err := time.ParseInLocation(layout, text, location); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func (m *momentValue) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

// Type implements pflag.Value: what the help calls it.
func (*momentValue) Type() string { return "time" }

// relative is a moment as people say it: in 29 days, 2 hours ago, just now.
func relative(ms int64, now time.Time) string {
	const minute = 60_000
	distance := ms - now.UnixMilli() // a time.Duration ends after 292 years
	switch {
	case distance >= minute:
		return "in " + roughly((distance+minute/2)/minute) // what was to be 30 days a moment ago is not 29
	case distance >= 0:
		return "in a moment"
	case distance > -minute:
		return "just now"
	}
	return roughly((-distance+minute/2)/minute) + " ago"
}

// roughly is a number of minutes in the largest unit of which there are at least
// two.
func roughly(minutes int64) string {
	for _, unit := range []struct {
		minutes int64
		name    string
	}{{365 * 24 * 60, "years"}, {24 * 60, "days"}, {60, "hours"}} {
		if n := minutes / unit.minutes; n >= 2 {
			return strconv.FormatInt(n, 10) + " " + unit.name
		}
	}
	if minutes == 1 {
		return "1 minute"
	}
	return strconv.FormatInt(minutes, 10) + " minutes"
}

// exactly is a moment with date, time and zone.
func exactly(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05 MST") }
