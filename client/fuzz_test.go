package client_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"tokend/client"
)

const tokenText = `{"name":"a","active":true,"write":true,"status":"active","expires":false,"expiration_date":1,"created_at":1,"updated_at":1,"last_used_at":null}`

// Whatever a server answers, it is a list, copied as JSON that a terminal may see and
// that is the same list again, or it is said to be none.
func FuzzList(f *testing.F) {
	for _, answer := range []string{
		`{"data":[` + tokenText + `]}`, `{"data":[` + tokenText + `,` + strings.Replace(tokenText, `"a"`, `"b"`, 1) + `],"next":"b"}`,
		`{"data":[]}`, `{"data":[`, `{"data":[]}{}`, `{"data":[` + strings.Replace(tokenText, "{", "{\n\"x\":\"\u009b\",", 1) + `]}`, `[]`, "",
	} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		names, copied, err := client.DecodeList(answer)
		if err != nil {
			if !client.IsNotList(err) {
				t.Errorf("%q: %v", answer, err)
			}
			return
		}
		again, same, err := client.DecodeList(copied)
		if !json.Valid(copied) || err != nil || !bytes.Equal(same, copied) || strings.Join(again, "\n") != strings.Join(names, "\n") {
			t.Errorf("%q: copied as %q, which is %q, %v", answer, copied, again, err)
		}
		if line, ends := bytes.CutSuffix(copied, []byte("\n")); !ends || bytes.IndexFunc(line, unicode.IsControl) >= 0 {
			t.Errorf("%q: copied as %q", answer, copied)
		}
	})
}

// Whatever a server sends as an export, what is copied of it are whole lines, all of them
// if there is no error.
func FuzzExport(f *testing.F) {
	f.Add([]byte(tokenText + "\n" + tokenText + "\n"))
	f.Add([]byte(tokenText + "\n" + tokenText))
	f.Add([]byte("\n{}\n"))
	f.Fuzz(func(t *testing.T, export []byte) {
		copied, count, err := client.CopyLines(export)
		if !bytes.HasPrefix(export, copied) || bytes.Count(copied, []byte("\n")) != count ||
			len(copied) > 0 && copied[len(copied)-1] != '\n' || err == nil && len(copied) != len(export) {
			t.Errorf("%q: %d lines are copied, %q, %v", export, count, copied, err)
		}
	})
}

// Whatever a server answers to an import, each line has one result, up to the batch that
// the server could not take.
func FuzzImportAnswer(f *testing.F) {
	f.Add([]byte(`{"first_line":1,"last_line":2,"created":2}`+"\n"+`{"first_line":3,"last_line":3,"created":0,"refused":[{"line":3,"code":"name_taken","detail":"x"}]}`), 3)
	f.Add([]byte(`{"first_line":1,"last_line":1,"error":{"code":"storage_full","detail":"x"}}`), 9)
	f.Add([]byte(`{"first_line":1,"last_line":9223372036854775807,"created":9223372036854775807}`), 2)
	f.Add([]byte("{}\n\n"), 0)
	f.Fuzz(func(t *testing.T, answer []byte, lines int) {
		results, failed, ok := client.ImportResults(answer, lines)
		if ok && (results < 1 || results > lines || results < lines && !failed) {
			t.Errorf("%q: results of %d of %d lines", answer, results, lines)
		}
	})
}
