package api_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"tokend/api"
	"tokend/kv/kvtest"
)

func TestList_query(t *testing.T) {
	s := newServer(t)
	s.create(`{"name":"a b"}`)
	s.create(`{"name":"a c","expiration_date":1893553450000}`)
	s.create(`{"name":"b","active":false}`)
	s.create(`{"name":"c"}`)
	for query, want := range map[string][]string{
		"prefix=a+":                            {"a b", "a c"},
		"prefix=a%20c":                         {"a c"},
		"status=inactive":                      {"b"},
		"status=active&prefix=a":               {"a b", "a c"},
		"expires_before=1893553450001":         {"a c"},
		"expires_before=1893553450000":         nil,
		"expires_before=0":                     nil,
		"unused_since=1":                       {"a b", "a c", "b", "c"},
		"after=a+c":                            {"b", "c"},
		"after=aa&limit=1000":                  {"b", "c"},
		"limit=4":                              {"a b", "a c", "b", "c"},
		"unused_since=253402300799999&after=c": nil,
	} {
		a := s.ask("GET", "/_/token?"+query, "")
		if diff := cmp.Diff(want, namesIn(t, a)); diff != "" || a.status != 200 {
			t.Errorf("%s: %d %s", query, a.status, diff)
		}
		if strings.Contains(a.body, `"next"`) {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	for query, field := range map[string]string{
		"status=Active": "status", "status=bogus": "status", "status=": "status",
		"expires_before=x": "expires_before", "expires_before=-1": "expires_before", "expires_before=%2B1": "expires_before",
		"expires_before=1.5": "expires_before", "expires_before=1e12": "expires_before", "expires_before=253402300800000": "expires_before",
		"unused_since=2030-01-01": "unused_since", "unused_since=99999999999999999999": "unused_since",
		"limit=0": "limit", "limit=1001": "limit", "limit=-1": "limit", "limit=x": "limit", "limit=+1": "limit", "limit=1&limit=1": "limit",
		"prefix=": "prefix", "prefix=%ff": "prefix", "prefix=" + longString(129): "prefix",
		"after=": "after", "after=%ff": "after", "offset=1": "offset", "name=b&status=inactive": "name",
	} {
		expectProblem(t, s.ask("GET", "/_/token?"+query, ""), 400, "invalid_query", field)
	}
}

// Pages that follow each other are the whole list, whatever their size, and next
// is there exactly when there is more.
func TestList_pages(t *testing.T) {
	s := newServer(t)
	var all, inactive []string
	for i := range 25 {
		name := fmt.Sprintf("p%02d \"é\"", i)
		s.create(fmt.Sprintf(`{"name":%q,"active":%v}`, name, i%3 > 0))
		all = append(all, name)
		if i%3 == 0 {
			inactive = append(inactive, name)
		}
	}
	for _, c := range []struct {
		query string
		want  []string
	}{{"", all}, {"&status=inactive", inactive}, {"&prefix=p1", all[10:20]}} {
		for _, limit := range []int{1, 2, 3, 5, 9, 10, 24, 25, 26} {
			var got []string
			after, requests := "", 0
			for more := true; more; requests++ {
				target := fmt.Sprintf("/_/token?limit=%d%s%s", limit, c.query, after)
				var page struct {
					Data []struct{ Name string }
					Next *string
				}
				do(t, json.Unmarshal([]byte(s.ask("GET", target, "").body), &page))
				for _, token := range page.Data {
					got = append(got, token.Name)
				}
				if more = page.Next != nil; more {
					after = "&after=" + queryEscape(*page.Next)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("limit=%d%s: %s", limit, c.query, diff)
			}
			if want := max(1, (len(c.want)+limit-1)/limit); requests != want {
				t.Errorf("limit=%d%s: %d requests, want %d", limit, c.query, requests, want)
			}
		}
	}
	t.Run("to HTTP/1.0, with its length", func(t *testing.T) {
		got := s.raw("GET /_/token?limit=3 HTTP/1.0\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n")
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		if !strings.Contains(head, fmt.Sprintf("Content-Length: %d\r\n", len(body))) || !strings.HasSuffix(body, `],"next":"p02 \"é\""}`+"\n") {
			t.Error(got)
		}
	})
}

func queryEscape(s string) string {
	return strings.NewReplacer(" ", "+", `"`, "%22", "é", "%C3%A9").Replace(s)
}

func TestBulk(t *testing.T) {
	s := newServer(t)
	leaked := s.create(`{"name":"ci-1"}`)
	s.create(`{"name":"ci-2","active":false}`)
	s.create(`{"name":"other"}`)
	bulk := func(body string) string {
		t.Helper()
		a := s.ask("POST", "/_/token/bulk", body)
		if a.status != 200 {
			t.Error(a.body)
		}
		return a.body
	}
	for _, c := range []struct{ name, body, want string }{
		{"a dry run", `{"action":"deactivate","filter":{"prefix":"ci-"},"dry_run":true}`, `{"data":[{"matched":2,"changed":0,"names":["ci-1","ci-2"]}]}`},
		{"a filter", `{"action":"deactivate","filter":{"prefix":"ci-","status":null}}`, `{"data":[{"matched":2,"changed":1,"names":["ci-1","ci-2"]}]}`},
		{"names", `{"action":"activate","names":["other","ci-2","other"],"filter":null,"dry_run":null}`, `{"data":[{"matched":2,"changed":1,"names":["ci-2","other"]}]}`},
		{"none", `{"action":"delete","filter":{"prefix":"x","status":"expired","expires_before":1,"unused_since":1.5e3}}`, `{"data":[{"matched":0,"changed":0,"names":[]}]}`},
		{"delete", `{"action":"delete","names":["ci-2"]}`, `{"data":[{"matched":1,"changed":1,"names":["ci-2"]}]}`},
	} {
		if got := bulk(c.body); got != c.want+"\n" {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	expectProblem(t, s.askAs("Bearer "+leaked, "GET", "/_/token/verify", ""), 401, "invalid_token", "")
	for _, c := range []struct {
		body        string
		status      int
		code, field string
	}{
		{`{}`, 400, "invalid_body", "action"},
		{`{"action":"destroy","names":["other"]}`, 400, "invalid_body", "action"},
		{`{"action":"delete"}`, 400, "invalid_body", "names"},
		{`{"action":"delete","names":null,"filter":null}`, 400, "invalid_body", "names"},
		{`{"action":"delete","names":[]}`, 400, "invalid_body", "names"},
		{`{"action":"delete","names":["other",""]}`, 400, "invalid_name", "names"},
		{`{"action":"delete","names":["other",null]}`, 400, "invalid_name", "names"},
		{`{"action":"delete","names":["other",5]}`, 400, "invalid_body", "names"},
		{`{"action":"delete","names":"other"}`, 400, "invalid_body", "names"},
		{`{"action":"delete","names":["other","none","gone"]}`, 404, "token_not_found", "names"},
		{`{"action":"delete","names":["other"],"filter":{"prefix":"o"}}`, 400, "invalid_body", "filter"},
		{`{"action":"delete","filter":{}}`, 400, "invalid_body", "filter"},
		{`{"action":"delete","filter":{"status":null}}`, 400, "invalid_body", "filter"},
		{`{"action":"delete","filter":[]}`, 400, "invalid_body", "filter"},
		{`{"action":"delete","filter":{"prefix":""}}`, 400, "invalid_body", "filter.prefix"},
		{`{"action":"delete","filter":{"name":"other"}}`, 400, "invalid_body", "filter.name"},
		{`{"action":"delete","filter":{"prefix":"o","prefix":"other"}}`, 400, "invalid_body", "filter.prefix"},
		{`{"action":"delete","filter":{"status":"old"}}`, 400, "invalid_body", "filter.status"},
		{`{"action":"delete","filter":{"expires_before":-1}}`, 400, "invalid_body", "filter.expires_before"},
		{`{"action":"delete","filter":{"unused_since":1e99}}`, 400, "invalid_body", "filter.unused_since"},
		{`{"action":"delete","names":["other"],"dry_run":"no"}`, 400, "invalid_body", "dry_run"},
	} {
		expectProblem(t, s.ask("POST", "/_/token/bulk", c.body), c.status, c.code, c.field)
	}
	if p := s.ask("POST", "/_/token/bulk", `{"action":"delete","names":["gone","other","none"]}`).problem(t); p.Detail != `no token has the name "gone", "none"; nothing was changed` {
		t.Error(p.Detail)
	}
	if diff := cmp.Diff([]string{"ci-1", "other"}, namesIn(t, s.ask("GET", "/_/token", ""))); diff != "" {
		t.Error(diff)
	}
	t.Run("more than 1,000 are refused with their number", func(t *testing.T) {
		var lines strings.Builder
		for i := range 1001 {
			fmt.Fprintf(&lines, "{\"name\":\"many-%04d\"}\n", i)
		}
		s.ask("POST", "/_/token/import", lines.String())
		a := s.ask("POST", "/_/token/bulk", `{"action":"delete","filter":{"prefix":"many-"}}`)
		expectProblem(t, a, 400, "too_many", "")
		if want := "1001 tokens are meant; at most 1000 are allowed; nothing was changed"; a.problem(t).Detail != want {
			t.Error(a.body)
		}
		if got := bulk(`{"action":"delete","filter":{"prefix":"many-0"}}`); !strings.HasPrefix(got, `{"data":[{"matched":1000,"changed":1000,`) {
			t.Errorf("%.200s", got)
		}
	})
	t.Run("2 MiB are taken and no more", func(t *testing.T) {
		body := `{"action":"delete","names":["none"]}`
		body += strings.Repeat(" ", 2<<20-len(body))
		expectProblem(t, s.ask("POST", "/_/token/bulk", body), 404, "token_not_found", "names")
		expectProblem(t, s.ask("POST", "/_/token/bulk", body+" "), 413, "body_too_large", "")
	})
	expectProblem(t, s.askAs("Bearer "+readerToken, "POST", "/_/token/bulk", ""), 403, "insufficient_scope", "")
}

func TestExport(t *testing.T) {
	s := newServer(t)
	if a := s.ask("GET", "/_/token/export", ""); a.status != 200 || a.body != "" {
		t.Errorf("%d %q", a.status, a.body)
	}
	first := s.create(`{"name":"a","expiration_date":1900000000000}`)
	second := s.create(`{"name":"b"}`)
	a := s.ask("GET", "/_/token/export", "")
	if got := tokensOnLines(t, a); !cmp.Equal(got, s.ask("GET", "/_/token", "").data(t)) || strings.Contains(a.body, "tkd_") {
		t.Error(a.body)
	}
	if kind := a.header.Get("Content-Type"); kind != "application/x-ndjson" {
		t.Error(kind)
	}
	got := tokensOnLines(t, s.ask("GET", "/_/token/export?values=true", ""))
	if len(got) != 2 || got[0]["token"] != first || got[1]["token"] != second || got[0]["expiration_date"] != 1.9e12 {
		t.Error(got)
	}
	expectProblem(t, s.ask("GET", "/_/token/export?values=1", ""), 400, "invalid_query", "values")
	expectProblem(t, s.askAs("Bearer "+readerToken, "GET", "/_/token/export", ""), 403, "insufficient_scope", "")
}

func tokensOnLines(t *testing.T, a answer) (tokens []map[string]any) {
	t.Helper()
	for line := range strings.Lines(a.body) {
		var token map[string]any
		do(t, json.Unmarshal([]byte(line), &token))
		tokens = append(tokens, token)
	}
	return tokens
}

// What one server exports another one imports, and exports the same again.
func TestImport_ofAnExport(t *testing.T) {
	from := newServer(t)
	from.create(`{"name":"plain"}`)
	from.create(`{"name":"off","active":false,"write":false,"expiration_date":1900000000000}`)
	from.create(fmt.Sprintf(`{"name":"expired","expiration_date":%d}`, int64(start)+1000))
	from.store.Clock.Advance(time.Minute)
	used := from.create(`{"name":"used"}`)
	from.askAs("Bearer "+used, "GET", "/_/token/verify", "")
	from.ask("POST", "/_/token/rotate", `{"name":"plain"}`)
	from.store.Clock.Advance(time.Minute)
	exported := from.ask("GET", "/_/token/export?values=true", "").body

	to := newServer(t)
	to.store.Clock.Set(from.store.Clock.Now())
	if got := to.ask("POST", "/_/token/import", exported).body; got != `{"first_line":1,"last_line":4,"created":4}`+"\n" {
		t.Fatal(got)
	}
	if diff := cmp.Diff(exported, to.ask("GET", "/_/token/export?values=true", "").body); diff != "" {
		t.Error(diff)
	}
	if a := to.askAs("Bearer "+used, "GET", "/_/token/verify", ""); a.status != 200 {
		t.Error(a.body)
	}
	t.Run("again, all of it is there already", func(t *testing.T) {
		for i, refused := range batches(t, to.ask("POST", "/_/token/import", exported))[0].Refused {
			if refused.Line != i+1 || refused.Code != "already_there" {
				t.Error(refused)
			}
		}
	})
}

type batch struct {
	First   int `json:"first_line"`
	Last    int `json:"last_line"`
	Created int
	Refused []struct {
		Line                      int
		Name, Code, Field, Detail string
	}
	Error *struct{ Code, Detail string }
}

// batches holds each line of an import's answer against its schema.
func batches(t *testing.T, a answer) (all []batch) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatal(a.body)
	}
	document, err := openapi3.NewLoader().LoadFromData([]byte(api.Document))
	do(t, err)
	for line := range strings.Lines(a.body) {
		var (
			b   batch
			raw any
		)
		do(t, json.Unmarshal([]byte(line), &raw))
		if err := document.Components.Schemas["ImportedBatch"].Value.VisitJSON(raw); err != nil {
			t.Errorf("%v in %s", err, line)
		}
		do(t, json.Unmarshal([]byte(line), &b))
		all = append(all, b)
	}
	return all
}

// What is no JSON lines as a whole is refused as a whole.
func TestImport_forms(t *testing.T) {
	s := newServer(t)
	for name, body := range map[string]string{
		"nothing": "", "blank lines": "\n \n", "UTF-16": utf16(binary.LittleEndian), "gzip": "\x1f\x8b\x08\x00\n{}\n",
	} {
		expectProblem(t, s.ask("POST", "/_/token/import", body), 400, "invalid_body", "body")
		if names := namesIn(t, s.ask("GET", "/_/token", "")); len(names) > 0 {
			t.Errorf("%s: %v", name, names)
		}
	}
	if got := batches(t, s.ask("POST", "/_/token/import", "\ufeff"+`{"name":"x"}`)); len(got) != 1 || got[0].Created != 1 {
		t.Errorf("%+v", got)
	}
}

func TestImport_lines(t *testing.T) {
	s := newServer(t)
	taken := s.create(`{"name":"taken"}`)
	for _, c := range []struct {
		name, line          string
		code, field, detail string // none: it is taken
	}{
		{"a name alone", `{"name":"x"}`, "", "", ""},
		{"a value from elsewhere", `{"name":"x","token":"legacy-secret-0123","write":false}`, "", "", ""},
		{"no expiry, as an export shows it", `{"name":"x","expires":false,"expiration_date":1760000000000}`, "", "", ""},
		{"expired elsewhere", `{"name":"x","expiration_date":1760000000001,"created_at":1760000000000}`, "", "", ""},
		{"what is not to be imported", `{"name":"x","status":"expired","previous_valid_until":1,"previous_last_used_at":null}`, "", "", ""},
		{"CRLF", "{\"name\":\"x\"}\r", "", "", ""},
		{"no JSON", `name=x`, "invalid_body", "body", "body is not a JSON object"},
		{"cut short", `{"name":"x"`, "invalid_body", "body", "body is not valid JSON in UTF-8"},
		{"an unknown field", `{"name":"x","scope":"a"}`, "invalid_body", "scope", "scope is not a field here"},
		{"a field twice", `{"name":"x","name":"y"}`, "invalid_body", "name", "name is given more than once"},
		{"no name", `{"token":"legacy-secret-0123"}`, "invalid_name", "name", "name is required"},
		{"a bad name", `{"name":" x"}`, "invalid_name", "name", "name begins or ends with white space"},
		{"a past expiry", `{"name":"x","expiration_date":1760000000000}`, "invalid_expiration_date", "expiration_date",
			fmt.Sprintf("expiration_date 1760000000000 is not in the future (now is %d); with a created_at before it, the line makes an expired token", int64(start))},
		{"an expiry before the token was made", `{"name":"x","expiration_date":1760000000000,"created_at":1760000000000}`, "invalid_expiration_date", "expiration_date",
			fmt.Sprintf("expiration_date 1760000000000 is not in the future (now is %d)", int64(start))},
		{"an expiry in seconds", `{"name":"x","expiration_date":1900000000}`, "invalid_expiration_date", "expiration_date", "expiration_date 1900000000 is in 1970; milliseconds are expected"},
		{"an expiry without its date", `{"name":"x","expires":true}`, "invalid_expiration_date", "expiration_date", "expiration_date is required where expires is true"},
		{"a value that is too short", `{"name":"x","token":"legacy-secret-0"}`, "invalid_value", "token", "token has 15 characters; 16 to 512 are allowed"},
		{"a value with a space", `{"name":"x","token":"legacy secret 0123"}`, "invalid_value", "token", "token contains a character that is not visible ASCII"},
		{"the value of an administrator", `{"name":"x","token":"` + adminToken + `"}`, "invalid_value", "token", "token is that of an administrator"},
		{"created before 1970", `{"name":"x","created_at":-1}`, "invalid_body", "created_at", ""},
		{"a name that is taken", `{"name":"taken","write":false}`, "name_taken", "name", `a token named "taken" exists`},
		{"a name and value that are there already", `{"name":"taken","token":"` + taken + `"}`, "already_there", "name", ""},
		{"a value that is taken", `{"name":"x","token":"` + taken + `"}`, "value_taken", "token", `the token "taken" has this value, or had it before its rotation`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := batches(t, s.ask("POST", "/_/token/import", "\n{\"name\":\"before\"}\n"+c.line+"\n \n{\"name\":\"behind\"}"))
			if c.code == "" {
				if len(got) != 1 || got[0].Created != 3 || got[0].First != 2 || got[0].Last != 5 {
					t.Fatalf("%+v", got)
				}
				s.ask("POST", "/_/token/bulk", `{"action":"delete","names":["before","x","behind"]}`)
				return
			}
			if len(got) != 1 || got[0].Created != 0 || len(got[0].Refused) != 1 {
				t.Fatalf("%+v", got)
			}
			refused := got[0].Refused[0]
			if refused.Line != 3 || refused.Code != c.code || refused.Field != c.field || c.detail != "" && refused.Detail != c.detail {
				t.Errorf("%+v", refused)
			}
			if strings.Contains(fmt.Sprint(got), taken) || strings.Contains(fmt.Sprint(got), "legacy") {
				t.Error("a value is repeated")
			}
			if diff := cmp.Diff([]string{"taken"}, namesIn(t, s.ask("GET", "/_/token", ""))); diff != "" {
				t.Error("something was made: ", diff)
			}
		})
	}
	expectProblem(t, s.askAs("Bearer "+readerToken, "POST", "/_/token/import", `{"name":"x"}`), 403, "insufficient_scope", "")
	expectProblem(t, s.ask("POST", "/_/token/import?x=1", ""), 400, "invalid_query", "x")
	if a := s.ask("POST", "/_/token/import", strings.Repeat(" ", 8<<20-2)+"{}"); a.status != 200 || !strings.Contains(a.body, "name is required") {
		t.Error(a.body)
	}
	expectProblem(t, s.ask("POST", "/_/token/import", strings.Repeat("\n", 50_001)), 400, "too_many", "")
	got := s.raw(fmt.Sprintf("POST /_/token/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n\n", adminToken, 8<<20+1))
	if !strings.HasPrefix(got, "HTTP/1.1 413 ") || !strings.Contains(got, "the body is larger than 8192 KiB") {
		t.Error(got)
	}
}

// Each batch is taken whole or not at all, and says so on a line of its own.
func TestImport_batches(t *testing.T) {
	s := newServer(t)
	var lines []string
	for i := range 1200 {
		lines = append(lines, fmt.Sprintf(`{"name":"t-%04d"}`, i))
	}
	lines[600] = lines[3]
	lines[700] = "{"
	got := batches(t, s.ask("POST", "/_/token/import", strings.Join(lines, "\n")))
	if len(got) != 3 || got[0].Created != 500 || got[1].Created != 0 || got[2].Created != 200 ||
		got[1].First != 501 || got[1].Last != 1000 || len(got[1].Refused) != 2 || got[1].Refused[0].Line != 601 || got[1].Refused[1].Line != 701 {
		t.Errorf("%+v", got)
	}
	if n := len(namesIn(t, s.ask("GET", "/_/token", ""))); n != 700 {
		t.Errorf("%d tokens", n)
	}
	t.Run("a failure of the store is an error at first, and an end later", func(t *testing.T) {
		s.free.Store(0)
		expectProblem(t, s.ask("POST", "/_/token/import", `{"name":"x"}`), 507, "storage_full", "")
		s.free.Store(1 << 40)

		var room atomic.Int64 // how often the disk has some
		room.Store(1 << 40)
		s := newServer(t, func(store *kvtest.Store) {
			do(t, store.Close())
			store.Options.FreeBytes = func(string) (uint64, error) {
				if room.Add(-1) < 0 {
					return 0, nil
				}
				return 1 << 40, nil
			}
			store.Reopen()
		})
		room.Store(1)
		whole := strings.Join(lines[:500], "\n")
		got := batches(t, s.ask("POST", "/_/token/import", whole+"\n"+strings.ReplaceAll(whole, "t-", "u-")+"\n"+`{"name":"behind"}`))
		room.Store(1 << 40)
		if len(got) != 2 || got[0].Created != 500 || got[1].Created != 0 || got[1].Error == nil || got[1].Error.Code != "storage_full" {
			t.Errorf("%+v", got)
		}
	})
}
