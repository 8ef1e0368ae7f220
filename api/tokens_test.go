package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
	"tokend/kv/kvtest"
)

var start = float64(kvtest.Start.UnixMilli())

func TestCreate(t *testing.T) {
	s := newServer(t)
	t.Run("what is left out has its default", func(t *testing.T) {
		a := s.ask("POST", "/_/token", `{"name":"example"}`)
		if a.status != http.StatusCreated {
			t.Fatal(a.body)
		}
		token := a.data(t)[0]
		value := token["token"].(string)
		if !regexp.MustCompile(`^tkd_[0-9A-Za-z]{49}$`).MatchString(value) {
			t.Errorf("value %s", value)
		}
		delete(token, "token")
		want := map[string]any{
			"name": "example", "active": true, "write": true, "status": "active", "expires": false,
			"expiration_date": start, "created_at": start, "updated_at": start, "last_used_at": nil,
		}
		if diff := cmp.Diff(want, token); diff != "" {
			t.Error(diff)
		}
		t.Run("and is seen by the next request", func(t *testing.T) {
			if diff := cmp.Diff([]map[string]any{want}, s.ask("GET", "/_/token?name=example", "").data(t)); diff != "" {
				t.Error(diff)
			}
			wantValue := []map[string]any{{"name": "example", "token": value}}
			if diff := cmp.Diff(wantValue, s.ask("GET", "/_/token/value?name=example", "").data(t)); diff != "" {
				t.Error(diff)
			}
		})
	})
	t.Run("everything can be given", func(t *testing.T) {
		a := s.ask("POST", "/_/token", `{"name":"all","expiration_date":1.9e12,"active":false,"write":false}`)
		got := a.data(t)[0]
		want := map[string]any{"active": false, "write": false, "status": "inactive", "expires": true, "expiration_date": 1.9e12}
		for field, value := range want {
			if got[field] != value {
				t.Errorf("%s is %v, want %v", field, got[field], value)
			}
		}
	})
	t.Run("null is the default", func(t *testing.T) {
		got := s.ask("POST", "/_/token", `{"name":"null","expiration_date":null,"active":null,"write":null}`).data(t)[0]
		if got["active"] != true || got["write"] != true || got["expires"] != false {
			t.Error(got)
		}
	})
	t.Run("a name is taken once", func(t *testing.T) {
		p := s.ask("POST", "/_/token", `{"name":"example","write":false}`).problem(t)
		want := problem{Type: "about:blank", Title: "Conflict", Status: 409, Code: "name_taken",
			Detail: `a token named "example" exists`, Field: "name", RequestID: p.RequestID}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a create may be repeated for ever, and is a conflict each time", func(t *testing.T) {
		body := fmt.Sprintf(`{"name":"repeated","expiration_date":%d}`, int64(start)+5000)
		s.create(body)
		s.store.Clock.Advance(time.Minute)
		for _, body := range []string{body, `{"name":"repeated","expiration_date":5}`, `{"name":"repeated","expiration_date":-1}`} {
			expectProblem(t, s.ask("POST", "/_/token", body), 409, "name_taken", "name")
		}
		expectProblem(t, s.ask("POST", "/_/token", `{"name":"repeated","expiration_date":"5"}`), 400, "invalid_body", "expiration_date")
		expectProblem(t, s.ask("POST", "/_/token", `{"name":"another","expiration_date":5}`), 400, "invalid_expiration_date", "expiration_date")
	})
}

func TestReplace(t *testing.T) {
	s := newServer(t)
	s.create(`{"name":"x","expiration_date":1900000000000,"active":false,"write":false}`)
	value := s.ask("GET", "/_/token/value?name=x", "").body
	s.store.Clock.Advance(time.Second)
	t.Run("what is left out gets its default again", func(t *testing.T) {
		got := s.ask("PUT", "/_/token", `{"name":"x"}`).data(t)
		want := []map[string]any{{
			"name": "x", "active": true, "write": true, "status": "active", "expires": false,
			"expiration_date": start + 1000, "created_at": start, "updated_at": start + 1000, "last_used_at": nil,
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the same again moves nothing", func(t *testing.T) {
		before := s.ask("GET", "/_/token?name=x", "").body
		s.store.Clock.Advance(time.Second)
		for range 2 {
			if after := s.ask("PUT", "/_/token", `{"name":"x"}`); after.status != 200 || after.body != before {
				t.Error(after.body)
			}
		}
	})
	t.Run("the value stays", func(t *testing.T) {
		if got := s.ask("GET", "/_/token/value?name=x", "").body; got != value {
			t.Error("it changed")
		}
	})
	t.Run("what was read can be written back with one field flipped", func(t *testing.T) {
		s.ask("PUT", "/_/token", fmt.Sprintf(`{"name":"x","expiration_date":%d}`, int64(start)+5000))
		s.store.Clock.Advance(time.Minute)
		shown := s.ask("GET", "/_/token?name=x", "").data(t)[0]
		if shown["status"] != "expired" {
			t.Fatal(shown)
		}
		a := s.ask("PUT", "/_/token", fmt.Sprintf(`{"name":"x","expiration_date":%d,"write":false}`, int64(shown["expiration_date"].(float64))))
		if got := a.data(t)[0]; got["status"] != "expired" || got["write"] != false {
			t.Error(got)
		}
	})
	t.Run("a missing token is not found", func(t *testing.T) {
		a := s.ask("PUT", "/_/token", `{"name":"y"}`)
		expectProblem(t, a, 404, "token_not_found", "name")
	})
}

func TestUpdate(t *testing.T) {
	s := newServer(t)
	value := s.create(`{"name":"x","expiration_date":1900000000000,"active":false,"write":false}`)
	want := map[string]any{
		"name": "x", "active": false, "write": false, "status": "inactive", "expires": true,
		"expiration_date": 1.9e12, "created_at": start, "updated_at": start, "last_used_at": nil,
	}
	for _, c := range []struct {
		name, body string
		changed    map[string]any
	}{
		{"one field", `{"name":"x","active":true}`, map[string]any{"active": true, "status": "active"}},
		{"several", `{"write":true,"name":"x","expiration_date":1950000000000}`, map[string]any{"write": true, "expiration_date": 1.95e12}},
		{"the same again", `{"name":"x","write":true}`, nil},
		{"all the same again", `{"name":"x","write":true,"active":true,"expiration_date":1950000000000}`, nil},
		{"null removes the expiry", `{"name":"x","expiration_date":null}`, map[string]any{"expires": false}},
		{"an expiry again", `{"name":"x","expiration_date":1950000000000,"active":false,"write":false}`, map[string]any{
			"expires": true, "expiration_date": 1.95e12, "active": false, "write": false, "status": "inactive"}},
		{"null is the default", `{"name":"x","active":null,"write":null}`, map[string]any{"active": true, "write": true, "status": "active"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.store.Clock.Advance(time.Second)
			maps.Copy(want, c.changed)
			if c.changed != nil {
				want["updated_at"] = float64(s.store.Clock.Now().UnixMilli())
			}
			if want["expires"] == false {
				want["expiration_date"] = want["updated_at"]
			}
			if diff := cmp.Diff([]map[string]any{want}, s.ask("PATCH", "/_/token", c.body).data(t)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]map[string]any{want}, s.ask("GET", "/_/token?name=x", "").data(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("the value stays", func(t *testing.T) {
		if a := s.askAs("Bearer "+value, "GET", "/_/token/verify", ""); a.status != 200 {
			t.Error(a.body)
		}
	})
	t.Run("the expiry that is shown is taken as it is", func(t *testing.T) {
		s.ask("PATCH", "/_/token", fmt.Sprintf(`{"name":"x","expiration_date":%d}`, s.store.Clock.Now().UnixMilli()+5000))
		s.store.Clock.Advance(time.Minute)
		shown := s.ask("GET", "/_/token?name=x", "").data(t)[0]
		got := s.ask("PATCH", "/_/token", fmt.Sprintf(`{"name":"x","write":false,"expiration_date":%d}`, int64(shown["expiration_date"].(float64)))).data(t)[0]
		if shown["status"] != "expired" || got["status"] != "expired" || got["write"] != false {
			t.Error(got)
		}
	})
	for _, c := range []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"nothing", `{"name":"x"}`, 400, "nothing_to_change", ""},
		{"nothing, of a missing token", `{"name":"y"}`, 400, "nothing_to_change", ""},
		{"no name", `{"write":true}`, 400, "invalid_name", "name"},
		{"a missing token", `{"name":"y","write":true}`, 404, "token_not_found", "name"},
		{"a field twice", `{"name":"x","write":true,"write":true}`, 400, "invalid_body", "write"},
		{"a wrong type", `{"name":"x","write":"true"}`, 400, "invalid_body", "write"},
		{"another wrong type", `{"name":"x","expiration_date":"1"}`, 400, "invalid_body", "expiration_date"},
		{"an unknown field", `{"name":"x","token":"tkd_x"}`, 400, "invalid_body", "token"},
		{"a past expiry", `{"name":"x","write":true,"expiration_date":5}`, 400, "invalid_expiration_date", "expiration_date"},
		{"an expiry before 1970", `{"name":"x","expiration_date":-62135596800000}`, 400, "invalid_expiration_date", "expiration_date"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.ask("GET", "/_/token", "").body
			expectProblem(t, s.ask("PATCH", "/_/token", c.body), c.status, c.code, c.field)
			if after := s.ask("GET", "/_/token", "").body; after != before {
				t.Error("it changed something")
			}
		})
	}
	s.ask("PATCH", "/_/token", `{"name":"x","expiration_date":null}`)
	stale := int64(s.ask("GET", "/_/token?name=x", "").data(t)[0]["expiration_date"].(float64)) // shows the last change
	s.store.Clock.Advance(time.Second)
	s.ask("PATCH", "/_/token", `{"name":"x","write":false}`)
	s.ask("PATCH", "/_/token", `{"name":"x","write":true}`)
	detail := fmt.Sprintf("expiration_date %d is not in the future; the token has no expiry: leave the field out or send null", stale)
	for _, method := range []string{"PATCH", "PUT"} {
		if p := s.ask(method, "/_/token", fmt.Sprintf(`{"name":"x","active":false,"expiration_date":%d}`, stale)).problem(t); p.Detail != detail {
			t.Errorf("%s: %s", method, p.Detail)
		}
	}
	if p := s.ask("PATCH", "/_/token", `{"name":"x","write":"true"}`).problem(t); p.Detail != "write must be true or false, not a string" {
		t.Error(p.Detail)
	}
}

func TestRotate(t *testing.T) {
	s := newServer(t)
	first := s.create(`{"name":"x","expiration_date":1900000000000}`)
	s.store.Clock.Advance(time.Second)
	a := s.ask("POST", "/_/token/rotate", `{"name":"x","grace_ms":3600000}`)
	got := a.data(t)[0]
	second, _ := got["token"].(string)
	until := start + 1000 + 3600000
	want := map[string]any{
		"name": "x", "active": true, "write": true, "status": "active", "expires": true, "token": second,
		"expiration_date": 1.9e12, "created_at": start, "updated_at": start + 1000, "last_used_at": nil,
		"previous_valid_until": until, "previous_last_used_at": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" || second == first {
		t.Error(diff)
	}
	t.Run("the new value is the one that is read", func(t *testing.T) {
		if got := s.ask("GET", "/_/token/value?name=x", "").data(t)[0]["token"]; got != second {
			t.Error("it is another one")
		}
	})
	t.Run("both are good, and told apart", func(t *testing.T) {
		for value, rotated := range map[string]string{first: "true", second: "false"} {
			for _, target := range []string{"/_/token/verify", "/_/auth/write", "/_/auth/nginx"} {
				a := s.askAs("Bearer "+value, "GET", target, "", "X-Original-Method", "GET")
				if a.status != 200 || a.header.Get("X-Token-Rotated") != rotated || a.header.Get("X-Token-Name") != "x" {
					t.Errorf("%s: %d %v", target, a.status, a.header)
				}
			}
		}
	})
	t.Run("introspection knows when each was made and ends", func(t *testing.T) {
		for value, want := range map[string][2]float64{
			first:  {start / 1000, until / 1000},
			second: {(start + 1000) / 1000, 1.9e9},
		} {
			var got map[string]any
			do(t, json.Unmarshal([]byte(s.ask("POST", "/_/token/introspect", "token="+value).body), &got))
			if got["iat"] != math.Floor(want[0]) || got["exp"] != math.Floor(want[1]) || got["sub"] != "x" {
				t.Error(got)
			}
		}
	})
	t.Run("while the grace runs, the token shows who uses the old value", func(t *testing.T) {
		shown := s.ask("GET", "/_/token?name=x", "").data(t)[0]
		if shown["previous_valid_until"] != until || shown["previous_last_used_at"] != start+1000 || shown["last_used_at"] != start+1000 {
			t.Error(shown)
		}
		s.store.Clock.Set(kvtest.Start.Add(time.Second + time.Hour))
		shown = s.ask("GET", "/_/token?name=x", "").data(t)[0]
		if _, there := shown["previous_valid_until"]; there {
			t.Error(shown)
		}
		if _, there := shown["previous_last_used_at"]; there {
			t.Error(shown)
		}
		expectProblem(t, s.askAs("Bearer "+first, "GET", "/_/token/verify", ""), 401, "invalid_token", "")
	})
	t.Run("by default there is no grace", func(t *testing.T) {
		for _, body := range []string{`{"name":"x"}`, `{"name":"x","grace_ms":null}`, `{"name":"x","grace_ms":0}`} {
			old := s.ask("GET", "/_/token/value?name=x", "").data(t)[0]["token"].(string)
			got := s.ask("POST", "/_/token/rotate", body).data(t)[0]
			if until, there := got["previous_valid_until"]; !there || until != nil {
				t.Error(got)
			}
			expectProblem(t, s.askAs("Bearer "+old, "GET", "/_/token/verify", ""), 401, "invalid_token", "")
		}
	})
	for _, c := range []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"a missing token", `{"name":"y"}`, 404, "token_not_found", "name"},
		{"no name", `{"grace_ms":1}`, 400, "invalid_name", "name"},
		{"a grace below zero", `{"name":"x","grace_ms":-1}`, 400, "invalid_body", "grace_ms"},
		{"a grace of more than 30 days", `{"name":"x","grace_ms":2592000001}`, 400, "invalid_body", "grace_ms"},
		{"a grace beyond int64", `{"name":"x","grace_ms":1e99}`, 400, "invalid_body", "grace_ms"},
		{"a grace of a missing token", `{"name":"y","grace_ms":-1}`, 400, "invalid_body", "grace_ms"},
		{"a grace that is no number", `{"name":"x","grace_ms":"1h"}`, 400, "invalid_body", "grace_ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expectProblem(t, s.ask("POST", "/_/token/rotate", c.body), c.status, c.code, c.field)
		})
	}
	if a := s.ask("POST", "/_/token/rotate", `{"name":"x","grace_ms":2592000000}`); a.status != 200 {
		t.Error(a.body)
	}
}

func TestDelete(t *testing.T) {
	for _, c := range []struct {
		name, target, body string
		status             int
		code, field        string
	}{
		{"in the body", "/_/token", `{"name":"a b"}`, 200, "", ""},
		{"in the query", "/_/token?name=a+b", "", 200, "", ""},
		{"in the query, %20", "/_/token?name=a%20b", "", 200, "", ""},
		{"in both, equal", "/_/token?name=a+b", `{"name":"a b"}`, 200, "", ""},
		{"in both, different", "/_/token?name=a+b", `{"name":"x"}`, 400, "invalid_name", "name"},
		{"in both, the body without a name", "/_/token?name=a+b", `{}`, 400, "invalid_name", "name"},
		{"nowhere", "/_/token", "", 400, "invalid_name", "name"},
		{"an unknown one", "/_/token", `{"name":"x"}`, 404, "token_not_found", "name"},
		{"another field", "/_/token", `{"name":"a b","write":true}`, 400, "invalid_body", "write"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.create(`{"name":"a b"}`)
			a := s.ask("DELETE", c.target, c.body)
			if c.status != 200 {
				expectProblem(t, a, c.status, c.code, c.field)
				if got := s.ask("GET", "/_/token?name=a+b", "").status; got != 200 {
					t.Errorf("the token is gone: %d", got)
				}
				return
			}
			if got := a.data(t); len(got) != 1 || got[0]["name"] != "a b" || got[0]["token"] != nil {
				t.Errorf("%d %s", a.status, a.body)
			}
			expectProblem(t, s.ask("GET", "/_/token?name=a+b", ""), 404, "token_not_found", "name")
		})
	}
}

func TestList(t *testing.T) {
	s := newServer(t)
	t.Run("empty", func(t *testing.T) {
		if got := s.ask("GET", "/_/token", "").body; got != `{"data":[]}`+"\n" {
			t.Error(got)
		}
	})
	names := map[string]bool{}
	for i := range 300 { // several pieces of the stream
		name := fmt.Sprintf("é %03d", i)
		s.create(fmt.Sprintf(`{"name":%q}`, name))
		names[name] = true
	}
	want := slices.Sorted(maps.Keys(names))
	t.Run("sorted, without values", func(t *testing.T) {
		a := s.ask("GET", "/_/token", "")
		if diff := cmp.Diff(want, namesIn(t, a)); diff != "" {
			t.Error(diff)
		}
		if strings.Contains(a.body, "tkd_") {
			t.Error("a value is in the list")
		}
	})
	t.Run("to HTTP/1.0, which has no chunks, with its length", func(t *testing.T) {
		got := s.raw("GET /_/token HTTP/1.0\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n")
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		if !strings.Contains(head, fmt.Sprintf("Content-Length: %d\r\n", len(body))) || strings.Contains(head, "Transfer-Encoding") {
			t.Errorf("%s\nfor %d bytes", head, len(body))
		}
		if diff := cmp.Diff(want, namesIn(t, answer{body: body})); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("one moment, while it changes", func(t *testing.T) {
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// Each pair comes and goes in this order, so a moment never
				// shows the second without the first.
				first, second := kv.Spec{Name: "a-first"}, kv.Spec{Name: "z-second"}
				for _, spec := range []kv.Spec{first, second} {
					if _, _, err := s.store.Create(context.Background(), spec); err != nil {
						t.Error(err)
					}
				}
				for _, spec := range []kv.Spec{second, first} {
					if _, err := s.store.Delete(context.Background(), spec.Name); err != nil {
						t.Error(err)
					}
				}
			}
		}()
		for range 50 {
			got := namesIn(t, s.ask("GET", "/_/token", ""))
			if slices.Contains(got, "z-second") && !slices.Contains(got, "a-first") {
				t.Error("two moments in one list")
			}
			if len(got) < len(want) {
				t.Errorf("%d names", len(got))
			}
		}
		close(stop)
		<-done
	})
}

// Names that mean something to JSON, URLs, HTML, shells or logs are only names.
func TestNamesAreOnlyNames(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{
		`"`, `\`, `a"b\c`, "</script><b>", "%00", "%2e%2e", "../../etc/passwd", "a/b", "a?b=c&d", "a+b", "a b", "#", "'; DROP TABLE",
		"$(id)", "{{.}}", "日本語", "𝕏", "e\u0301", "é", strings.Repeat("字", 128),
	} {
		encoded, err := json.Marshal(name)
		do(t, err)
		s.create(`{"name":` + string(encoded) + `}`)
		query := url.Values{"name": {name}}.Encode()
		if got := s.ask("GET", "/_/token?"+query, ""); got.status != 200 || got.data(t)[0]["name"] != name {
			t.Errorf("%q: %s", name, got.body)
		}
		if got := s.ask("DELETE", "/_/token?"+query, ""); got.status != 200 {
			t.Errorf("%q: %s", name, got.body)
		}
	}
}

func TestExpiry(t *testing.T) {
	s := newServer(t)
	at := kvtest.Start.Add(time.Minute)
	s.create(fmt.Sprintf(`{"name":"x","expiration_date":%d}`, at.UnixMilli()))
	for _, c := range []struct {
		now  time.Time
		want string
	}{
		{at.Add(-time.Millisecond), "active"},
		{at, "expired"},
	} {
		s.store.Clock.Set(c.now)
		if got := s.ask("GET", "/_/token", "").data(t)[0]["status"]; got != c.want {
			t.Errorf("at %v: %v, want %s", c.now, got, c.want)
		}
	}
}

func namesIn(t *testing.T, a answer) []string {
	t.Helper()
	var names []string
	for _, token := range a.data(t) {
		names = append(names, token["name"].(string))
	}
	return names
}

func expectProblem(t *testing.T, a answer, status int, code, field string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
		return
	}
	if p := a.problem(t); p.Code != code || p.Field != field {
		t.Errorf("%s at %q, want %s at %q: %s", p.Code, p.Field, code, field, a.body)
	}
}
