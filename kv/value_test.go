package kv_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"tokend/kv"
)

// Vectors for the checksum, as GitHub published them.
func TestChecksum(t *testing.T) {
	t.Parallel()
	for digits, want := range map[string]string{
		"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ": "0mLq17",
		"qkJaB6MffYVzZXWqmcoF49yrUxP3wf": "0LsakP",
	} {
		if got := kv.Checksum(digits); got != want {
			t.Errorf("Checksum(%s) = %s, want %s", digits, got, want)
		}
	}
}

func TestNewValue(t *testing.T) {
	t.Parallel()
	t.Run("has the shape that scanners look for", func(t *testing.T) {
		shape := regexp.MustCompile(`^tkd_[0-9A-Za-z]{49}$`)
		for range 1000 {
			if v := kv.NewValue("tkd").Reveal(); !shape.MatchString(v) {
				t.Fatalf("%q", v)
			}
		}
	})
	t.Run("pads small numbers on the left", func(t *testing.T) {
		got := kv.FormatValue("a1", [32]byte{31: 61}).Reveal()
		if want := "a1_" + strings.Repeat("0", 42) + "z"; got[:len(want)] != want {
			t.Errorf("got %s, want %s and a checksum", got, want)
		}
	})
	t.Run("holds all 256 bits", func(t *testing.T) {
		ones := [32]byte{}
		for i := range ones {
			ones[i] = 0xff
		}
		if got := kv.FormatValue("t", ones).Reveal(); len(got) != len("t_")+49 || strings.HasPrefix(got, "t_0") {
			t.Error(got)
		}
	})
}

func TestValue_HasTypo(t *testing.T) {
	t.Parallel()
	good := kv.FormatValue("tkd", [32]byte{5}).Reveal()
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"as made", good, false},
		{"two digits swapped", "tkd_" + good[5:6] + good[4:5] + good[6:], good[4] != good[5]},
		{"one digit changed", good[:10] + flip(good[10]) + good[11:], true},
		{"checksum changed", good[:len(good)-1] + flip(good[len(good)-1]), true},
		{"made elsewhere", "ghp_0123456789abcdefghij", false},
		{"no prefix at all", strings.Repeat("x", 53), false},
	} {
		v, err := kv.ParseValue(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.HasTypo(); got != c.want {
			t.Errorf("%s: HasTypo = %v, want %v", c.name, got, c.want)
		}
	}
}

func flip(digit byte) string {
	if digit == 'x' {
		return "y"
	}
	return "x"
}

func TestParseValue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"shortest", strings.Repeat("a", 16), true},
		{"longest", strings.Repeat("~", 512), true},
		{"too short", strings.Repeat("a", 15), false},
		{"too long", strings.Repeat("a", 513), false},
		{"empty", "", false},
		{"a space", "0123456789 0123456789", false},
		{"a tab", "0123456789\t0123456789", false},
		{"beyond ASCII", "0123456789é0123456789", false},
		{"delete", "0123456789\x7f0123456789", false},
	} {
		_, err := kv.ParseValue(c.text)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && c.text != "" && strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: the error repeats the text: %v", c.name, err)
		}
	}
}

// A secret must come out of nothing that prints, whatever verb or encoder.
func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	value := kv.NewValue("tkd")
	key := kv.NewMasterKey()
	raw, err := base64.StdEncoding.DecodeString(key.Encode())
	do(t, err)
	secrets := []string{value.Reveal(), key.Encode(), string(raw), strings.Trim(fmt.Sprintf("%d", raw), "[]")}

	var printed strings.Builder
	// (%p alone does not ask a Formatter; go vet refuses it on a struct.)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&printed, verb+verb+verb+"\n", value, key, struct{ V kv.Value }{value})
	}
	log := slog.New(slog.NewJSONHandler(&printed, nil))
	log.Info("m", "value", value, "key", key)
	log.Info("m", "nested", struct{ V kv.Value }{value})
	type hidden struct {
		v    kv.Value
		keys []kv.MasterKey
	}
	fmt.Fprintf(&printed, "%v %+v %#v %x\n", hidden{value, []kv.MasterKey{key}}, hidden{v: value}, &hidden{v: value}, hidden{keys: []kv.MasterKey{key}})
	slog.New(slog.NewTextHandler(&printed, nil)).Info("m", "hidden", hidden{value, []kv.MasterKey{key}})
	encoded, err := json.Marshal(map[string]any{"value": value, "key": key})
	if err != nil {
		t.Fatal(err)
	}
	printed.Write(encoded)

	for _, secret := range secrets {
		if strings.Contains(printed.String(), secret) || strings.Contains(printed.String(), fmt.Sprintf("%x", secret)) {
			t.Errorf("a secret shows in:\n%s", printed.String())
		}
	}
	if !strings.Contains(printed.String(), "[secret]") {
		t.Error("no placeholder was printed")
	}
}

func TestParseMasterKeys(t *testing.T) {
	t.Parallel()
	a, b := kv.NewMasterKey(), kv.NewMasterKey()
	for _, c := range []struct {
		name, file string
		want       []kv.MasterKey
		wantErr    string
	}{
		{"one", a.Encode() + "\n", []kv.MasterKey{a}, ""},
		{"no newline at the end", a.Encode(), []kv.MasterKey{a}, ""},
		{"an older one", a.Encode() + "\n" + b.Encode() + "\n", []kv.MasterKey{a, b}, ""},
		{"blank lines and CRLF", "\r\n" + a.Encode() + "\r\n\r\n", []kv.MasterKey{a}, ""},
		{"empty", "", nil, "it holds no key"},
		{"not base64", a.Encode() + "\nhunter2!\n", nil, "line 2 is not a key: base64 of 32 bytes is expected"},
		{"too short", "c2hvcnQ=\n", nil, "line 1 is not a key: base64 of 32 bytes is expected"},
	} {
		got, err := kv.ParseMasterKeys([]byte(c.file))
		if c.wantErr != "" {
			if err == nil || err.Error() != c.wantErr {
				t.Errorf("%s: error %v, want %q", c.name, err, c.wantErr)
			}
			continue
		}
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %d keys, %v", c.name, len(got), err)
			continue
		}
		for i := range got {
			if got[i].Encode() != c.want[i].Encode() {
				t.Errorf("%s: key %d differs", c.name, i)
			}
		}
	}
}

func FuzzParseValue(f *testing.F) {
	f.Add(kv.FormatValue("tkd", [32]byte{7}).Reveal())
	f.Add("tkd_")
	f.Add(strings.Repeat("_", 60))
	f.Add("\x00\xff")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := kv.ParseValue(text)
		if err != nil {
			return
		}
		if v.Reveal() != text {
			t.Errorf("%q became %q", text, v.Reveal())
		}
		prefix, rest, _ := strings.Cut(text, "_")
		wellFormed := kv.CheckPrefix(prefix) == nil && regexp.MustCompile(`^[0-9A-Za-z]{49}$`).MatchString(rest)
		if want := wellFormed && kv.Checksum(rest[:43]) != rest[43:]; v.HasTypo() != want {
			t.Errorf("HasTypo(%q) = %v", text, v.HasTypo())
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(kv.SampleRecord())
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add([]byte{2, 0x82, 0x40, 0x40})
	f.Fuzz(func(t *testing.T, raw []byte) {
		again, err := kv.Recode(raw)
		if err != nil || again == nil {
			return
		}
		third, err := kv.Recode(again)
		if err != nil || string(third) != string(again) {
			t.Errorf("%x is read as %x and that as %x, %v", raw, again, third, err)
		}
	})
}
