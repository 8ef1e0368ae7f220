package api

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decode reads the request's body; see decode.
func (r *request) decode(into any) error {
	err := decode(r.body, into)
	coding := string(r.ctx.Request.Header.ContentEncoding())
	if err != nil && slices.Contains([]string{"gzip", "deflate", "br", "zstd", "compress"}, strings.ToLower(coding)) {
		return invalidBody("body", "is compressed, as Content-Encoding says; send it as it is")
	}
	return err
}

// decode reads a body into a struct of pointers: one JSON object in UTF-8, its
// fields known and each given at most once. A null leaves its pointer nil.
func decode(body []byte, into any) error {
	var err error
	if jsontext.Value(body).Kind() != jsontext.KindBeginObject {
		err = invalidBody("body", "is not a JSON object")
	} else if err = json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		err = bodyProblem(err)
	}
	if form := formOf(body); err != nil && form != "" {
		return invalidBody("body", form)
	}
	return err
}

// formOf says how to send a body whose first bytes show that it is no JSON in UTF-8.
func formOf(body []byte) string {
	for _, form := range []struct{ begin, text string }{
		{byteOrderMark, "begins with a byte order mark, which JSON does not have (RFC 8259, section 8.1); remove it"},
		{"\xfe\xff", "is in UTF-16; send it in UTF-8"},
		{"\xff\xfe", "is in UTF-16; send it in UTF-8"},
		{"\x00{", "is in UTF-16; send it in UTF-8"},
		{"{\x00", "is in UTF-16; send it in UTF-8"},
		{"\x1f\x8b", "is compressed with gzip; send it as it is"},
		{"\x28\xb5\x2f\xfd", "is compressed with zstd; send it as it is"},
	} {
		if bytes.HasPrefix(body, []byte(form.begin)) {
			return form.text
		}
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return "is empty; JSON is expected"
	}
	return ""
}

const byteOrderMark = "\ufeff"

// bodyProblem names the field and what is wrong with it. The words are ours,
// since the library's may quote the body.
func bodyProblem(err error) error {
	var (
		meaning *json.SemanticError
		syntax  *jsontext.SyntacticError
	)
	switch {
	case errors.As(err, &meaning) && errors.Is(err, json.ErrUnknownName):
		return invalidBody(fieldOf(meaning.JSONPointer), "is not a field here")
	case errors.As(err, &meaning):
		return invalidBody(fieldOf(meaning.JSONPointer), "must be "+wanted(meaning.GoType)+notA(meaning))
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return invalidBody(fieldOf(syntax.JSONPointer), "is given more than once")
	case errors.As(err, &syntax):
		return invalidBody(fieldOf(syntax.JSONPointer), "is not valid JSON in UTF-8")
	}
	return invalidBody("body", "is not valid JSON")
}

// fieldOf is the field that a pointer leads into, with that of an object within
// it, or "body" for the whole.
func fieldOf(pointer jsontext.Pointer) string {
	path := slices.Collect(pointer.Tokens())
	switch {
	case len(path) == 0:
		return "body"
	case len(path) == 1 || strings.Trim(path[1], "0123456789") == "": // of an array
		return path[0]
	}
	return path[0] + "." + path[1]
}

// notA says what came in the place of what is wanted, where that is of another kind.
func notA(e *json.SemanticError) string {
	kinds := map[jsontext.Kind]string{
		jsontext.KindString: "a string", jsontext.KindNumber: "a number", jsontext.KindTrue: "true", jsontext.KindFalse: "false",
		jsontext.KindBeginObject: "an object", jsontext.KindBeginArray: "an array", jsontext.KindNull: "null",
	}
	kind, known := kinds[e.JSONKind]
	if !known || kind == "a number" && isNumber(e.GoType) { // with a fraction
		return ""
	}
	return ", not " + kind
}

func wanted(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[string]():
		return "a string"
	case t == reflect.TypeFor[bool]():
		return "true or false"
	case isNumber(t):
		return "a whole number of milliseconds"
	case t.Kind() == reflect.Slice:
		return "an array of strings"
	case t.Kind() == reflect.Struct:
		return "an object"
	}
	return "of another type"
}

func isNumber(t reflect.Type) bool {
	return t == reflect.TypeFor[wholeNumber]() || t == reflect.TypeFor[*wholeNumber]()
}

// member is a field of which it matters whether it is there at all: null is there.
type member[T any] struct {
	given bool
	value *T
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (m *member[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	m.given = true
	return json.UnmarshalDecode(d, &m.value)
}

// wholeNumber is a JSON number without a fraction, however it is written (1e3,
// 5.0). What int64 does not hold becomes its nearest end, which no rule allows.
type wholeNumber int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *wholeNumber) UnmarshalJSON(text []byte) error {
	parsed, ok := parseWholeNumber(string(text))
	if !ok {
		return errors.New("not a whole number") // bodyProblem words it
	}
	*n = wholeNumber(parsed)
	return nil
}

// parseWholeNumber reads a JSON number exactly, in time that does not depend on
// its exponent.
func parseWholeNumber(text string) (n int64, ok bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	if strings.Trim(mantissa, "0123456789.") != "" || whole == "" {
		return 0, false
	}
	if significant == "" {
		return 0, true
	}
	power := 0
	if exponent != "" {
		var err error
		power, err = strconv.Atoi(exponent)
		if err != nil { // far beyond either end
			power = math.MaxInt32
			if strings.HasPrefix(exponent, "-") {
				power = math.MinInt32
			}
		}
		power = min(max(power, math.MinInt32), math.MaxInt32)
	}
	zeros := power - len(fraction) + len(digits) - len(significant)
	switch {
	case zeros < 0:
		return 0, false
	case len(significant)+zeros > 19:
		n = math.MaxInt64
	default:
		n, _ = strconv.ParseInt(significant+strings.Repeat("0", zeros), 10, 64) // at its end where it overflows
	}
	if negative {
		n = -n
	}
	return n, true
}
