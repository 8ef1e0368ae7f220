package api

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"tokend/kv"
)

// checkPartOfName says what is wrong with what a name is to begin with.
func checkPartOfName(text string) (wrong string) {
	switch {
	case !utf8.ValidString(text):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(text) > kv.MaxNameLength:
		return fmt.Sprintf("has more than the %d characters of the longest name", kv.MaxNameLength)
	}
	return ""
}

func checkStatus(status kv.Status) (wrong string) {
	switch status {
	case kv.StatusActive, kv.StatusInactive, kv.StatusExpired:
		return ""
	}
	return "must be active, inactive or expired"
}

func parseMoment(text string, into *time.Time) (wrong string) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text[0] == '+' {
		ms = -1
	}
	return takeMoment(ms, into)
}

func takeMoment(ms int64, into *time.Time) (wrong string) {
	if ms < 0 || ms > kv.MaxExpiration.UnixMilli() {
		return "must be a whole number of milliseconds since 1970, before the year 10000"
	}
	*into = time.UnixMilli(ms)
	return ""
}

func parseLimit(text string, into *int) (wrong string) {
	limit, err := strconv.ParseUint(text, 10, 16)
	if err != nil || limit < 1 || limit > maxPage {
		return fmt.Sprintf("must be a number from 1 to %d", maxPage)
	}
	*into = int(limit)
	return ""
}
