package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/kv"
)

const (
	invalidToken  = realm + `, error="invalid_token"`
	needsWrite    = realm + `, error="insufficient_scope", scope="write"`
	invalidCaller = realm + `, error="invalid_request"`
)

// issued is tokens in every state, by what the tests call them.
func issued(t *testing.T, s *server) map[string]string {
	t.Helper()
	values := map[string]string{
		"good":     s.create(`{"name":"good"}`),
		"reader":   s.create(`{"name":"reader","write":false}`),
		"expiring": s.create(fmt.Sprintf(`{"name":"expiring","expiration_date":%d}`, s.store.Clock.Now().Add(time.Hour).UnixMilli())),
		"unicode":  s.create(`{"name":"Büro: 50% \"x\"\\y/日本"}`),
		"inactive": s.create(`{"name":"inactive","active":false}`),
		"expired":  s.create(fmt.Sprintf(`{"name":"expired","expiration_date":%d}`, s.store.Clock.Now().Add(time.Second).UnixMilli())),
		"deleted":  s.create(`{"name":"deleted"}`),
		"unknown":  kv.NewValue("tkd").Reveal(),
		"short":    "x",
		"long":     strings.Repeat("x", 3000),
		"admin":    adminToken,
	}
	if a := s.ask("DELETE", "/_/token?name=deleted", ""); a.status != 200 {
		t.Fatal(a.body)
	}
	s.store.Clock.Advance(time.Minute)
	return values
}

var invalid = []string{"inactive", "expired", "deleted", "unknown", "short", "long", "admin"}

func TestVerify(t *testing.T) {
	s := newServer(t)
	values := issued(t, s)

	t.Run("a valid token", func(t *testing.T) {
		for _, c := range []struct{ token, name, write, header string }{
			{"good", "good", "true", "good"},
			{"reader", "reader", "false", "reader"},
			{"expiring", "expiring", "true", "expiring"},
			{"unicode", `Büro: 50% "x"\y/日本`, "true", "B%C3%BCro%3A%2050%25%20%22x%22%5Cy%2F%E6%97%A5%E6%9C%AC"},
		} {
			for _, method := range []string{"GET", "POST", "HEAD"} {
				for _, headers := range [][]string{
					{"Authorization", "Bearer " + values[c.token]},
					{"Authorization", "bEARER   " + values[c.token]},
					{"X-API-Key", values[c.token]},
					{"X-API-Key", values[c.token], "Authorization", "Basic dXNlcjpwYXNzd29yZA=="},
				} {
					a := s.askAs("", method, "/_/token/verify", "", headers...)
					if a.status != 200 {
						t.Fatalf("%s %s: %d %s", method, c.token, a.status, a.body)
					}
					expectIdentity(t, a, c.header, c.write)
					if method == "HEAD" {
						continue
					}
					token := s.ask("GET", "/_/token?name="+url.QueryEscape(c.name), "").data(t)[0]
					want := map[string]any{"name": c.name, "write": c.write == "true", "expires": token["expires"], "expiration_date": token["expiration_date"]}
					if diff := cmp.Diff([]map[string]any{want}, a.data(t)); diff != "" {
						t.Error(diff)
					}
				}
			}
		}
	})
	t.Run("need", func(t *testing.T) {
		for _, c := range []struct {
			token, query string
			status       int
			challenge    string
		}{
			{"good", "?need=write", 200, ""},
			{"good", "?need=read", 200, ""},
			{"reader", "?need=read", 200, ""},
			{"reader", "?need=write", 403, needsWrite},
			{"unknown", "?need=write", 401, invalidToken},
			{"unknown", "?need=nonsense", 401, invalidToken}, // authorization comes before the query
		} {
			a := s.askAs("Bearer "+values[c.token], "GET", "/_/token/verify"+c.query, "")
			expectRefusal(t, a, c.status, c.challenge)
		}
		for _, query := range []string{"need=admin", "need=Write", "need=", "need=write&need=write", "name=good", "need=write&x=1", "&", "need=%zz"} {
			a := s.askAs("Bearer "+values["good"], "GET", "/_/token/verify?"+query, "")
			if p := a.problem(t); a.status != 400 || p.Code != "invalid_query" {
				t.Errorf("%s: %d %s", query, a.status, a.body)
			}
		}
	})
	t.Run("no token", func(t *testing.T) {
		for _, headers := range append(blank(),
			[]string{"Authorization", "Basic dXNlcjpwYXNzd29yZA=="}, []string{"Authorization", "Digest x"}, []string{"Authorization", values["good"]},
			[]string{"Authorization", "Bearer\t" + values["good"]}, []string{"Authorization", "Bearerx " + values["good"]},
			[]string{"Authorization", "Bearer", "Authorization", "Basic eDp5"}) {
			a := s.askAs("", "GET", "/_/token/verify", "", headers...)
			expectRefusal(t, a, 401, realm)
			if a.problem(t).Code != "unauthorized" {
				t.Error(a.body)
			}
		}
	})
	t.Run("an empty one beside a good one is none", func(t *testing.T) {
		for _, headers := range blank() {
			for _, good := range [][]string{{"Authorization", "Bearer " + values["good"]}, {"X-API-Key", values["good"]}} {
				expectRefusal(t, s.askAs("", "GET", "/_/token/verify", "", append(headers, good...)...), 200, "")
				expectRefusal(t, s.askAs("", "GET", "/_/token/verify", "", append(good, headers...)...), 200, "")
			}
		}
	})
	t.Run("what is not good is told apart by nothing", func(t *testing.T) {
		expectAlike(t, s, "/_/token/verify", notGood(values))
	})
	t.Run("more than one is ambiguous", func(t *testing.T) {
		for _, headers := range doubled(values["good"]) {
			a := s.askAs("", "GET", "/_/token/verify", "", headers...)
			expectRefusal(t, a, 400, invalidCaller)
			if a.problem(t).Code != "invalid_request" {
				t.Error(a.body)
			}
		}
	})
	t.Run("a body is read over", func(t *testing.T) {
		if a := s.askAs("Bearer "+values["good"], "POST", "/_/token/verify", "token="+values["unknown"]); a.status != 200 {
			t.Error(a.status, a.body)
		}
		if a := s.askAs("Bearer "+values["good"], "POST", "/_/token/verify", strings.Repeat("x", 64<<10+1)); a.status != 413 {
			t.Error(a.status, a.body)
		}
	})
}

// notGood is headers with one credential that is not good, each in its way.
func notGood(values map[string]string) (all [][]string) {
	for _, name := range invalid {
		all = append(all, []string{"Authorization", "Bearer " + values[name]}, []string{"X-API-Key", values[name]})
	}
	return append(all,
		[]string{"Authorization", "Bearer " + values["good"] + " " + values["good"]},
		[]string{"Authorization", "Bearer " + values["good"] + ", Bearer " + values["good"]},
		[]string{"Authorization", "Bearer é" + values["good"]},
		[]string{"Authorization", "Bearer " + strings.ToUpper(values["good"])},
		[]string{"X-API-Key", "Bearer " + values["good"]},
		[]string{"X-API-Key", values["good"] + "\x80"})
}

// doubled is headers with two credentials.
func doubled(value string) [][]string {
	return [][]string{
		{"Authorization", "Bearer " + value, "Authorization", "Bearer " + value},
		{"Authorization", "Basic eDp5", "Authorization", "Bearer " + value},
		{"X-API-Key", value, "X-API-Key", value},
		{"Authorization", "Bearer " + value, "X-API-Key", value},
		{"Authorization", "Bearer " + value, "Authorization", "", "X-API-Key", value},
	}
}

// blank is headers with no credential: an empty one is none.
func blank() [][]string {
	return [][]string{
		nil, {"Authorization", ""}, {"Authorization", " \t"}, {"Authorization", "Bearer"}, {"Authorization", "bearer \t "}, {"X-API-Key", ""}, {"X-API-Key", "  "},
		{"Authorization", "Bearer", "X-API-Key", ""}, {"Authorization", "Bearer", "Authorization", "Bearer"}, {"X-API-Key", "", "X-API-Key", " "},
	}
}

func TestVerify_expiry(t *testing.T) {
	s := newServer(t)
	expiry := s.store.Clock.Now().Add(time.Minute).Truncate(time.Millisecond)
	value := s.create(fmt.Sprintf(`{"name":"x","expiration_date":%d}`, expiry.UnixMilli()))
	for at, status := range map[time.Time]int{expiry.Add(-time.Millisecond): 200, expiry.Add(-1): 200, expiry: 401, expiry.Add(time.Millisecond): 401} {
		s.store.Clock.Set(at)
		for _, path := range []string{"/_/token/verify", "/_/auth/read", "/_/auth/nginx"} {
			if a := s.askAs("Bearer "+value, "GET", path, "", "X-Original-Method", "GET"); a.status != status {
				t.Errorf("%v from the expiry, %s: %d", at.Sub(expiry), path, a.status)
			}
		}
	}
}

// Each change is seen by the next verification on any connection.
func TestVerify_followsChanges(t *testing.T) {
	s := newServer(t)
	value := s.create(`{"name":"x"}`)
	for range 3 {
		for _, c := range []struct {
			method, body string
			status       int
		}{
			{"PUT", `{"name":"x","write":false}`, 403},
			{"PUT", `{"name":"x","active":false}`, 401},
			{"PUT", `{"name":"x"}`, 200},
		} {
			s.ask(c.method, "/_/token", c.body)
			if a := s.askAs("Bearer "+value, "GET", "/_/token/verify?need=write", ""); a.status != c.status {
				t.Errorf("after %s %s: %d", c.method, c.body, a.status)
			}
		}
	}
	s.ask("DELETE", "/_/token?name=x", "")
	expectRefusal(t, s.askAs("Bearer "+value, "GET", "/_/token/verify", ""), 401, invalidToken)
}

func TestLastUsed(t *testing.T) {
	s := newServer(t)
	values := issued(t, s)
	used := func(name string) any {
		t.Helper()
		shown := s.ask("GET", "/_/token?name="+name, "").data(t)[0]
		for _, listed := range s.ask("GET", "/_/token", "").data(t) {
			if listed["name"] == name && listed["last_used_at"] != shown["last_used_at"] {
				t.Errorf("shown %v, listed %v", shown, listed)
			}
		}
		return shown["last_used_at"]
	}
	for _, c := range []struct {
		what, token, method, target, body string
		headers                           []string
		counts                            bool
	}{
		{"a verification", "good", "GET", "/_/token/verify", "", nil, true},
		{"one that need refuses", "reader", "GET", "/_/token/verify?need=write", "", nil, true},
		{"one with a bad query", "good", "GET", "/_/token/verify?need=x", "", nil, true},
		{"a proxy's check", "good", "GET", "/_/auth/write", "", nil, true},
		{"a proxy's check that is refused", "reader", "GET", "/_/auth/write", "", nil, true},
		{"an introspection", "good", "POST", "/_/token/introspect", "token=" + values["good"], []string{"Authorization", "Bearer " + adminToken}, true},
		{"an introspection by it", "reader", "POST", "/_/token/introspect", "token=" + values["unknown"], nil, true},
		{"an attempt to manage tokens", "good", "GET", "/_/token", "", nil, false},
		{"a verification of an inactive one", "inactive", "GET", "/_/token/verify", "", nil, false},
		{"a verification of an expired one", "expired", "GET", "/_/token/verify", "", nil, false},
		{"an introspection of an expired one", "expired", "POST", "/_/token/introspect", "token=" + values["expired"], []string{"Authorization", "Bearer " + adminToken}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			before := used(c.token)
			updated := s.ask("GET", "/_/token?name="+c.token, "").data(t)[0]["updated_at"]
			s.store.Clock.Advance(1500 * time.Millisecond)
			if c.headers == nil {
				c.headers = []string{"Authorization", "Bearer " + values[c.token]}
			}
			s.askAs("", c.method, c.target, c.body, append(c.headers, "Content-Type", "application/x-www-form-urlencoded")...)
			want := before
			if c.counts {
				want = float64(s.store.Clock.Now().UnixMilli())
			}
			if got := used(c.token); got != want {
				t.Errorf("last used at %v, want %v", got, want)
			}
			if got := s.ask("GET", "/_/token?name="+c.token, "").data(t)[0]["updated_at"]; got != updated {
				t.Errorf("updated_at moved from %v to %v", updated, got)
			}
		})
	}
}

func expectIdentity(t *testing.T, a answer, name, write string) {
	t.Helper()
	for header, want := range map[string]string{"X-Token-Name": name, "X-Token-Write": write, "X-Token-Rotated": "false"} {
		if got := a.header.Values(header); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	if _, there := a.header["Www-Authenticate"]; there {
		t.Error("a success with a challenge")
	}
}

// expectAlike holds that headers which are not good are refused with the same
// bytes.
func expectAlike(t *testing.T, s *server, path string, all [][]string) {
	t.Helper()
	var first answer
	for i, headers := range all {
		a := s.askAs("", "GET", path, "", append(headers, "X-Request-Id", "same")...)
		expectRefusal(t, a, 401, invalidToken)
		a.header.Del("Date")
		if i == 0 {
			first = a
		} else if diff := cmp.Diff(first.body, a.body) + cmp.Diff(first.header, a.header); diff != "" {
			t.Errorf("%s: %.60q: %s", path, headers, diff)
		}
	}
}

// expectRefusal looks at status and challenge. A refusal identifies nobody.
func expectRefusal(t *testing.T, a answer, status int, challenge string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
	if got := a.header.Get("WWW-Authenticate"); got != challenge {
		t.Errorf("challenge %q, want %q", got, challenge)
	}
	if status == http.StatusOK {
		return
	}
	for header := range a.header {
		if strings.HasPrefix(header, "X-Token-") {
			t.Errorf("a refusal has %s", header)
		}
	}
}
