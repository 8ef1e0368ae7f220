package api_test

import (
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"

	"tokend/api"
)

func longString(n int) string { return strings.Repeat("x", n) }

// utf16 is a body in UTF-16, with a byte order mark.
func utf16(order binary.AppendByteOrder) string {
	var text []byte
	for _, r := range "\ufeff" + `{"name":"x"}` {
		text = order.AppendUint16(text, uint16(r))
	}
	return string(text)
}

func TestBodies(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		name, body  string
		code, field string
	}{
		{"empty", "", "invalid_body", "body"},
		{"not JSON", "name=x", "invalid_body", "body"},
		{"cut short", `{"name":"x"`, "invalid_body", "body"},
		{"an array", `[{"name":"x"}]`, "invalid_body", "body"},
		{"a string", `"x"`, "invalid_body", "body"},
		{"null", `null`, "invalid_body", "body"},
		{"two objects", `{"name":"x"}{"name":"y"}`, "invalid_body", "body"},
		{"something behind the object", `{"name":"x"} x`, "invalid_body", "body"},
		{"a byte order mark", "\ufeff" + `{"name":"x"}`, "invalid_body", "body"},
		{"an unknown field", `{"name":"x","admin":true}`, "invalid_body", "admin"},
		{"a field in another case", `{"Name":"x"}`, "invalid_body", "Name"},
		{"a field twice", `{"name":"x","name":"y"}`, "invalid_body", "name"},
		{"a field twice, once escaped", `{"name":"x","n\u0061me":"y"}`, "invalid_body", "name"},
		{"name: a number", `{"name":5}`, "invalid_body", "name"},
		{"name: an object", `{"name":{"name":"x"}}`, "invalid_body", "name"},
		{"active: a string", `{"name":"x","active":"true"}`, "invalid_body", "active"},
		{"write: a number", `{"name":"x","write":1}`, "invalid_body", "write"},
		{"expiration_date: a string", `{"name":"x","expiration_date":"2030"}`, "invalid_body", "expiration_date"},
		{"expiration_date: a fraction", `{"name":"x","expiration_date":1900000000000.5}`, "invalid_body", "expiration_date"},
		{"expiration_date: a list", `{"name":"x","expiration_date":[1]}`, "invalid_body", "expiration_date"},
		{"invalid UTF-8 in a value", "{\"name\":\"\xff\"}", "invalid_body", "name"},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", "invalid_body", "body"},
		{"a lone surrogate", `{"name":"\ud800"}`, "invalid_body", "name"},
		{"surrogates in the wrong order", `{"name":"\udc00\ud800"}`, "invalid_body", "name"},
		{"a thousand levels", `{"name":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}", "invalid_body", "name"},
		{"comments", `{"name":"x"/**/}`, "invalid_body", "body"},
		{"no name", `{}`, "invalid_name", "name"},
		{"name: null", `{"name":null}`, "invalid_name", "name"},
		{"name: empty", `{"name":""}`, "invalid_name", "name"},
		{"name: a newline", `{"name":"a\nb"}`, "invalid_name", "name"},
		{"name: too long", `{"name":"` + longString(129) + `"}`, "invalid_name", "name"},
		{"expiration_date: now", `{"name":"x","expiration_date":1893553445678}`, "invalid_expiration_date", "expiration_date"},
		{"expiration_date: 0", `{"name":"x","expiration_date":0}`, "invalid_expiration_date", "expiration_date"},
		{"expiration_date: -0", `{"name":"x","expiration_date":-0.0}`, "invalid_expiration_date", "expiration_date"},
		{"expiration_date: the zero time of Go", `{"name":"x","expiration_date":-62135596800000}`, "invalid_expiration_date", "expiration_date"},
		{"expiration_date: after 9999", `{"name":"x","expiration_date":253402300800000}`, "invalid_expiration_date", "expiration_date"},
		{"expiration_date: beyond int64", `{"name":"x","expiration_date":9223372036854775808}`, "invalid_expiration_date", "expiration_date"},
		{"expiration_date: far beyond", `{"name":"x","expiration_date":1e999999999999999999999}`, "invalid_expiration_date", "expiration_date"},
		{"expiration_date: almost nothing", `{"name":"x","expiration_date":1e-999999999999999999999}`, "invalid_body", "expiration_date"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expectProblem(t, s.ask("POST", "/_/token", c.body), 400, c.code, c.field)
			expectProblem(t, s.ask("PUT", "/_/token", c.body), 400, c.code, c.field)
		})
	}
	t.Run("nothing was created", func(t *testing.T) {
		if got := namesIn(t, s.ask("GET", "/_/token", "")); len(got) != 0 {
			t.Error(got)
		}
	})
	t.Run("a value in seconds says so", func(t *testing.T) {
		p := s.ask("POST", "/_/token", `{"name":"x","expiration_date":1900000000}`).problem(t)
		if want := "expiration_date 1900000000 is in 1970; milliseconds are expected"; p.Detail != want {
			t.Errorf("detail %q, want %q", p.Detail, want)
		}
	})
	t.Run("what is wanted is said", func(t *testing.T) {
		for body, want := range map[string]string{
			`{"name":5}`:                          "name must be a string, not a number",
			`{"name":{"a":5}}`:                    "name must be a string, not an object",
			`{"name":"x","active":0}`:             "active must be true or false, not a number",
			`{"name":"x","write":"true"}`:         "write must be true or false, not a string",
			`{"name":"x","expiration_date":"5"}`:  "expiration_date must be a whole number of milliseconds, not a string",
			`{"name":"x","expiration_date":true}`: "expiration_date must be a whole number of milliseconds, not true",
			`{"name":"x","expiration_date":[]}`:   "expiration_date must be a whole number of milliseconds, not an array",
			`{"name":"x","expiration_date":1.5}`:  "expiration_date must be a whole number of milliseconds",

			"":                                 "body is empty; JSON is expected",
			strings.Repeat(" ", 3) + "\r\n":    "body is empty; JSON is expected",
			`[]`:                               "body is not a JSON object",
			"name=x":                           "body is not a JSON object",
			"\ufeff" + `{"name":"x"}`:          "body begins with a byte order mark, which JSON does not have (RFC 8259, section 8.1); remove it",
			utf16(binary.BigEndian):            "body is in UTF-16; send it in UTF-8",
			utf16(binary.LittleEndian):         "body is in UTF-16; send it in UTF-8",
			utf16(binary.LittleEndian)[2:]:     "body is in UTF-16; send it in UTF-8",
			"\x1f\x8b\x08\x00\x00\x00\x00":     "body is compressed with gzip; send it as it is",
			"\x28\xb5\x2f\xfd\x04\x00":         "body is compressed with zstd; send it as it is",
			`{"":1}`:                           `"" is not a field here`,
			`{"na\u0007me":1}`:                 `"na\ame" is not a field here`,
			`{"` + longString(60_000) + `":1}`: longString(128) + "… is not a field here",
		} {
			if p := s.ask("POST", "/_/token", body).problem(t); p.Detail != want {
				t.Errorf("%.40s: %q, want %q", body, p.Detail, want)
			}
		}
	})
	t.Run("a coding that is named is said", func(t *testing.T) {
		for coding, want := range map[string]string{
			"br": "body is compressed, as Content-Encoding says; send it as it is", "x-own": "body is not a JSON object", "identity": "body is not a JSON object",
		} {
			if p := s.ask("POST", "/_/token", "\x0b\x05\x80", "Content-Encoding", coding).problem(t); p.Detail != want || p.Code != "invalid_body" {
				t.Errorf("%q: %+v", coding, p)
			}
		}
	})
	t.Run("the Content-Type does not matter", func(t *testing.T) {
		for i, kind := range []string{"application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""} {
			a := s.ask("POST", "/_/token", `{"name":"type-`+string(rune('a'+i))+`"}`, "Content-Type", kind)
			if a.status != 201 {
				t.Errorf("%q: %s", kind, a.body)
			}
		}
	})
	t.Run("white space around the object does not matter", func(t *testing.T) {
		if a := s.ask("POST", "/_/token", " \r\n\t"+`{ "name" : "spaces" }`+"\n\n"); a.status != 201 {
			t.Error(a.body)
		}
	})
	t.Run("exactly 64 KiB is not too large", func(t *testing.T) {
		body := `{"name":"full"}`
		body += strings.Repeat(" ", 64<<10-len(body))
		if a := s.ask("POST", "/_/token", body); a.status != 201 {
			t.Error(a.body)
		}
		expectProblem(t, s.ask("POST", "/_/token", body+" "), 413, "body_too_large", "")
	})
}

func TestQueries(t *testing.T) {
	s := newServer(t)
	s.create(`{"name":"x"}`)
	for _, c := range []struct {
		name, method, target string
		status               int
		code, field          string
	}{
		{"known", "GET", "/_/token?name=x", 200, "", ""},
		{"an escaped name of a parameter", "GET", "/_/token?n%61me=x", 200, "", ""},
		{"only a question mark", "GET", "/_/token?", 200, "", ""},
		{"unknown", "GET", "/_/token?nam=x", 400, "invalid_query", "nam"},
		{"in another case", "GET", "/_/token?Name=x", 400, "invalid_query", "Name"},
		{"unknown beside a known one", "GET", "/_/token?name=x&y=1", 400, "invalid_query", "y"},
		{"twice", "GET", "/_/token?name=x&name=x", 400, "invalid_query", "name"},
		{"empty", "GET", "/_/token?name=", 400, "invalid_query", "name"},
		{"no value", "GET", "/_/token?name", 400, "invalid_query", "name"},
		{"an empty parameter", "GET", "/_/token?&name=x", 400, "invalid_query", "query"},
		{"an empty parameter at the end", "GET", "/_/token?name=x&", 400, "invalid_query", "query"},
		{"no name of a parameter", "GET", "/_/token?=x", 400, "invalid_query", `""`},
		{"a name of a parameter that is no UTF-8", "GET", "/_/token?%ff=1", 400, "invalid_query", "query"},
		{"half an escape", "GET", "/_/token?name=%4", 400, "invalid_query", "query"},
		{"no escape", "GET", "/_/token?name=%zz", 400, "invalid_query", "query"},
		{"a semicolon", "GET", "/_/token?name=x;y=1", 400, "invalid_query", "query"},
		{"invalid UTF-8", "GET", "/_/token?name=%ff", 400, "invalid_name", "name"},
		{"a control character", "GET", "/_/token?name=a%0Ab", 400, "invalid_name", "name"},
		{"missing where it is needed", "GET", "/_/token/value", 400, "invalid_name", "name"},
		{"where there is none", "POST", "/_/token?name=x", 400, "invalid_query", "name"},
		{"where there is none", "PUT", "/_/token?name=x", 400, "invalid_query", "name"},
		{"a name that does not exist", "GET", "/_/token/value?name=y", 404, "token_not_found", "name"},
		{"outside of /_/ anything goes", "GET", "/healthz?x&&y=%zz", 200, "", ""},
	} {
		t.Run(c.method+" "+c.name, func(t *testing.T) {
			a := s.ask(c.method, c.target, "")
			if c.status == 200 {
				if a.status != 200 {
					t.Error(a.body)
				}
				return
			}
			expectProblem(t, a, c.status, c.code, c.field)
		})
	}
}

func TestParseWholeNumber(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-0": 0, "0.0": 0, "0e5": 0, "5": 5, "5.0": 5, "-5": -5, "1.9e12": 1900000000000, "1E+3": 1000, "1500e-2": 15,
		"0.001e3": 1, "123456789012345678": 123456789012345678, "1e18": 1e18, "9223372036854775807": 1<<63 - 1,
		"9223372036854775808": 1<<63 - 1, "1e400": 1<<63 - 1, "-1e400": -(1<<63 - 1), "1e99999999999999999999": 1<<63 - 1,
	} {
		if got, ok := api.ParseWholeNumber(text); !ok || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"1.5", "1e-1", "0.1", "1e-400", "1e-99999999999999999999", "x", `"5"`, "null", "true", ""} {
		if got, ok := api.ParseWholeNumber(text); ok {
			t.Errorf("%s is %d", text, got)
		}
	}
}

func FuzzParseWholeNumber(f *testing.F) {
	for _, text := range []string{"0", "-1.5e3", "1e-3", "12.30e1", "9223372036854775808"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := api.ParseWholeNumber(text)
		if len(text) > 40 || strings.Contains(text, "_") || strings.ContainsAny(text, "/pPxXoObB") {
			return
		}
		exponent := text[strings.IndexAny(text+"e", "eE"):]
		if len(exponent) > 4 {
			return // too large for the reference, not for us
		}
		exact, isNumber := new(big.Rat).SetString(text)
		if !isNumber || !ok {
			return // the caller hands over JSON numbers only
		}
		if !exact.IsInt() {
			t.Fatalf("%q is no whole number but was read as %d", text, got)
		}
		if exact.Num().IsInt64() && exact.Num().Int64() != got {
			t.Fatalf("%q was read as %d", text, got)
		}
	})
}

// Whatever the body, there is a token or a 400 that names a field.
func FuzzDecodeToken(f *testing.F) {
	for _, body := range []string{
		`{"name":"x","expiration_date":1.9e12,"active":true,"write":null}`, `{}`, `[]`, ``, `{"name":"\ud800"}`, "{\"name\":\"\xff\"}",
		`{"name":"x","name":"y"}`, `{"":0}`, `{"expiration_date":-1e400}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		name, err := api.DecodeToken(body)
		if err == nil {
			if name == "" {
				t.Errorf("%q gives no name", body)
			}
			return
		}
		status, field := api.FieldOf(err)
		if status != 400 {
			t.Errorf("%q: %d, %v", body, status, err)
		}
		if field == "" {
			t.Errorf("%q: no field is named: %v", body, errors.Unwrap(err))
		}
	})
}
