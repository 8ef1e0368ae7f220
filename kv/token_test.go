package kv_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tokend/kv"
	"tokend/kv/kvtest"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, token string
		wantErr     string // empty: allowed
	}{
		{"plain", "example", ""},
		{"one character", "x", ""},
		{"inner space", "backup job", ""},
		{"beyond ASCII", "резерв-копия 備份", ""},
		{"128 four-byte characters", strings.Repeat("𝕏", 128), ""},
		{"slash and percent", "a/b%2F?c=d&e", ""},
		{"empty", "", "name is empty; a name has 1 to 128 characters"},
		{"129 characters", strings.Repeat("é", 129), "name has 129 characters; at most 128 are allowed"},
		{"invalid UTF-8", "a\xff", "name is not valid UTF-8"},
		{"leading space", " a", "name begins or ends with white space"},
		{"trailing no-break space", "a\u00a0", "name begins or ends with white space"},
		{"newline inside (Cc)", "a\nb", "name contains the invisible character U+000A"},
		{"NUL (Cc)", "a\x00b", "name contains the invisible character U+0000"},
		{"delete (Cc)", "a\x7fb", "name contains the invisible character U+007F"},
		{"C1 control (Cc)", "a\u0085b", "name contains the invisible character U+0085"},
		{"right-to-left override (Cf)", "a\u202eb", "name contains the invisible character U+202E"},
		{"zero width joiner (Cf)", "a\u200db", "name contains the invisible character U+200D"},
		{"byte order mark (Cf)", "\ufeffa", "name contains the invisible character U+FEFF"},
		{"line separator (Zl)", "a\u2028b", "name contains the invisible character U+2028"},
		{"paragraph separator (Zp)", "a\u2029b", "name contains the invisible character U+2029"},
		{"hangul filler", "\u3164", "name contains the invisible character U+3164"},
		{"hangul choseong filler", "a\u115f", "name contains the invisible character U+115F"},
		{"combining grapheme joiner", "a\u034fb", "name contains the invisible character U+034F"},
		{"variation selector", "deploy\ufe0f", "name contains the invisible character U+FE0F"},
		{"variation selector 256", "deploy\U000e01ef", "name contains the invisible character U+E01EF"},
		{"unassigned, to be ignored", "a\U000e0fffb", "name contains the invisible character U+E0FFF"},
		{"blank braille pattern", "a\u2800b", "name contains the invisible character U+2800"},
		{"noncharacter", "a\ufffeb", "name contains U+FFFE, which is no character"},
		{"noncharacter in the Arabic block", "a\ufdd0b", "name contains U+FDD0, which is no character"},
		{"last noncharacter", "a\U0010ffffb", "name contains U+10FFFF, which is no character"},
		{"combining accent", "cafe\u0301", ""},
		{"private use", "a\ue000b", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := kvtest.New(t)
			_, _, err := store.Create(ctx, kv.Spec{Name: c.token, Active: true})
			if got := message(err); got != c.wantErr {
				t.Errorf("error %q, want %q", got, c.wantErr)
			}
			var invalid *kv.InvalidError
			if c.wantErr != "" && (!errors.As(err, &invalid) || invalid.Field != "name") {
				t.Errorf("the error does not name the field: %#v", err)
			}
		})
	}
}

// A name that an earlier version took stays usable.
func TestNames_madeBefore(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"deploy\ufe0f", "\u3164", "a\ufffeb"} {
		if err := kv.CheckName(name); err != nil {
			t.Errorf("%+q: %v", name, err)
		}
	}
}

func TestExpirations(t *testing.T) {
	t.Parallel()
	now := kvtest.Start.Truncate(time.Millisecond)
	for _, c := range []struct {
		name    string
		at      time.Time
		wantErr string
	}{
		{"none", time.Time{}, ""},
		{"the next millisecond", now.Add(time.Millisecond), ""},
		{"the last possible", kv.MaxExpiration, ""},
		{"now", now, "is not in the future"},
		{"a part of a millisecond ahead", now.Add(time.Microsecond), "is not in the future"},
		{"after the last possible", kv.MaxExpiration.Add(time.Millisecond), "is after the year 9999"},
		{"1970", time.UnixMilli(0), "is not in the future"},
		{"seconds", time.UnixMilli(1903456000), "1903456000 is in 1970; milliseconds are expected"},
		{"seconds that are past", time.UnixMilli(1760000000), "is not in the future"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := kvtest.New(t)
			token, _, err := store.Create(ctx, kv.Spec{Name: "x", Active: true, ExpiresAt: c.at})
			if c.wantErr == "" {
				if err != nil || !token.ExpiresAt.Equal(c.at) {
					t.Errorf("%v, %v", token.ExpiresAt, err)
				}
				return
			}
			var invalid *kv.InvalidError
			if !errors.As(err, &invalid) || invalid.Field != "expiration_date" || !strings.Contains(invalid.Reason, c.wantErr) {
				t.Errorf("error %v, want %q", err, c.wantErr)
			}
		})
	}
}

func TestToken_Status(t *testing.T) {
	t.Parallel()
	at := kvtest.Start
	for _, c := range []struct {
		name   string
		active bool
		expiry time.Time
		want   kv.Status
	}{
		{"no expiry", true, time.Time{}, kv.StatusActive},
		{"the last millisecond", true, at.Add(time.Millisecond), kv.StatusActive},
		{"expired from that very millisecond on", true, at, kv.StatusExpired},
		{"inactive", false, time.Time{}, kv.StatusInactive},
		{"inactive wins over expired", false, at.Add(-time.Hour), kv.StatusInactive},
	} {
		token := kv.Token{Spec: kv.Spec{Active: c.active, ExpiresAt: c.expiry}}
		if got := token.Status(at); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := token.Valid(at); got != (c.want == kv.StatusActive) {
			t.Errorf("%s: valid is %v", c.name, got)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
