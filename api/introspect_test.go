package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/api"
)

const formType = "application/x-www-form-urlencoded"

func TestIntrospect(t *testing.T) {
	s := newServer(t)
	made := s.store.Clock.Now()
	values := issued(t, s)
	introspect := func(t *testing.T, body string) (decoded map[string]any) {
		t.Helper()
		a := s.ask("POST", "/_/token/introspect", body, "Content-Type", formType)
		if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		for header := range a.header {
			if strings.HasPrefix(header, "X-Token-") {
				t.Errorf("%s is sent", header)
			}
		}
		do(t, json.Unmarshal([]byte(a.body), &decoded))
		return decoded
	}
	active := func(name, scope string) map[string]any {
		return map[string]any{"active": true, "scope": scope, "client_id": name, "sub": name, "username": name, "token_type": "Bearer", "iat": float64(made.Unix())}
	}
	expiring := active("expiring", "read write")
	expiring["exp"] = float64(made.Add(time.Hour).Unix())
	for token, want := range map[string]map[string]any{
		"good":     active("good", "read write"),
		"reader":   active("reader", "read"),
		"unicode":  active(`Büro: 50% "x"\y/日本`, "read write"),
		"expiring": expiring,
	} {
		t.Run(token, func(t *testing.T) {
			for _, body := range []string{
				"token=" + values[token],
				"token_type_hint=refresh_token&token=" + values[token] + "&client_id=x",
				"token_type_hint=&token_type_hint=&token=" + strings.ReplaceAll(values[token], "_", "%5F"),
			} {
				if diff := cmp.Diff(want, introspect(t, body)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	t.Run("not active, and nothing else", func(t *testing.T) {
		for _, token := range append(invalid, "%00", "é") {
			if v := values[token]; v != "" {
				token = v
			}
			a := s.ask("POST", "/_/token/introspect", "token="+url.QueryEscape(token), "Content-Type", formType)
			if a.status != 200 || a.body != `{"active":false}`+"\n" {
				t.Errorf("%.20s: %d %s", token, a.status, a.body)
			}
		}
	})
	t.Run("bad requests", func(t *testing.T) {
		for _, body := range []string{
			"", "token=", "token", "tok=x", "token=a&token=b", "token=" + values["good"] + "&token=" + values["good"], "token=%zz", "token=a;b=c",
			`{"token":"` + values["good"] + `"}`, "&&", "Token=x",
		} {
			a := s.ask("POST", "/_/token/introspect", body, "Content-Type", formType)
			if p := a.problem(t); a.status != 400 || p.Code != "invalid_request" || p.Field != "token" {
				t.Errorf("%q: %d %s", body, a.status, a.body)
			}
		}
		if a := s.ask("POST", "/_/token/introspect?token="+values["good"], "token="+values["good"]); a.status != 400 || a.problem(t).Code != "invalid_query" {
			t.Errorf("a token in the query: %d %s", a.status, a.body)
		}
		if a := s.ask("GET", "/_/token/introspect", ""); a.status != 405 || a.header.Get("Allow") != "OPTIONS, POST" {
			t.Errorf("GET: %d %s", a.status, a.body)
		}
		if a := s.ask("POST", "/_/token/introspect", "token="+strings.Repeat("x", 64<<10)); a.status != 413 {
			t.Errorf("a huge body: %d %s", a.status, a.body)
		}
	})
}

func TestIntrospect_callers(t *testing.T) {
	const odd = "odd admin: +%2B/=é&token; 0123456789abcdef"
	s := newServer(t, func(c *api.Settings) {
		c.Admins = append(c.Admins, api.Admin{Name: "odd", SHA256: sha256.Sum256([]byte(odd))})
	})
	values := issued(t, s)
	basic := func(userinfo string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo)) }
	for _, c := range []struct {
		name          string
		authorization []string
		status        int
		challenge     string
	}{
		{"an admin", []string{"Bearer " + adminToken}, 200, ""},
		{"a read-only admin", []string{"bearer " + readerToken}, 200, ""},
		{"an issued token", []string{"Bearer " + values["good"]}, 200, ""},
		{"a read-only issued token", []string{"Bearer " + values["reader"]}, 200, ""},
		{"an admin by Basic", []string{basic("anything:" + adminToken)}, 200, ""},
		{"an issued token by Basic", []string{basic("good:" + values["good"])}, 200, ""},
		{"without a user", []string{basic(":" + values["good"])}, 200, ""},
		{"the scheme in lower case", []string{"basic" + strings.TrimPrefix(basic("x:"+values["good"]), "Basic")}, 200, ""},
		{"a password as it is", []string{basic("x:" + odd)}, 200, ""},
		{"a password encoded as RFC 6749 asks", []string{basic("x:" + url.QueryEscape(odd))}, 200, ""},

		{"nobody", nil, 401, realm},
		{"another scheme", []string{"Digest x"}, 401, realm},
		{"an empty header", []string{""}, 401, realm},
		{"an empty bearer, which is none", []string{"Bearer "}, 401, realm},
		{"an empty bearer beside a good one", []string{"Bearer", "Bearer " + adminToken}, 200, ""},
		{"an unknown token", []string{"Bearer " + values["unknown"]}, 401, invalidToken},
		{"an expired token", []string{"Bearer " + values["expired"]}, 401, invalidToken},
		{"an inactive token", []string{"Bearer " + values["inactive"]}, 401, invalidToken},
		{"two headers", []string{"Bearer " + adminToken, "Bearer " + adminToken}, 401, invalidToken},
		{"two schemes", []string{"Basic eDp5", "Bearer " + adminToken}, 401, invalidToken},
		{"Basic with an unknown password", []string{basic("x:" + values["unknown"])}, 401, `Basic realm="tokend"`},
		{"Basic with the token as user", []string{basic(values["good"] + ":")}, 401, `Basic realm="tokend"`},
		{"Basic without a colon", []string{basic(values["good"])}, 401, `Basic realm="tokend"`},
		{"Basic with rubbish", []string{"Basic !!!"}, 401, `Basic realm="tokend"`},
		{"Basic with half of it", []string{basic("x:" + values["good"])[:30]}, 401, `Basic realm="tokend"`},
		{"Basic with rubbish behind", []string{basic("x:"+values["good"]) + " x"}, 401, `Basic realm="tokend"`},
		{"empty Basic", []string{"Basic"}, 401, `Basic realm="tokend"`},
		{"Basic with zeroes", []string{basic("\x00:\x00\xff")}, 401, `Basic realm="tokend"`},
		{"Basic with a bad percent", []string{basic("x:%zz%")}, 401, `Basic realm="tokend"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := []string{"Content-Type", formType}
			for _, authorization := range c.authorization {
				headers = append(headers, "Authorization", authorization)
			}
			a := s.askAs("", "POST", "/_/token/introspect", "token="+values["good"], headers...)
			expectRefusal(t, a, c.status, c.challenge)
			if hasError := strings.Contains(a.body, `"error":"invalid_client"`); hasError != (c.status == 401) {
				t.Error(a.body)
			}
			if c.status == 200 && !strings.Contains(a.body, `"active":true`) {
				t.Error(a.body)
			}
		})
	}
	t.Run("as client_secret in the form", func(t *testing.T) {
		for _, c := range []struct {
			name, form    string
			authorization string
			status        int
			code          string
		}{
			{"an admin", "client_secret=" + adminToken, "", 200, ""},
			{"an issued token", "client_id=x&client_secret=" + values["reader"], "", 200, ""},
			{"encoded", "client_secret=" + strings.ReplaceAll(values["good"], "_", "%5F"), "", 200, ""},
			{"odd", "client_secret=" + url.QueryEscape(odd), "", 200, ""},
			{"an empty one beside a good one", "client_secret=&client_secret=" + adminToken, "", 200, ""},
			{"an empty one beside Authorization", "client_secret=", "Bearer " + adminToken, 200, ""},
			{"beside an empty Authorization", "client_secret=" + adminToken, "Bearer", 200, ""},
			{"unknown", "client_secret=" + values["unknown"], "", 401, "invalid_token"},
			{"expired", "client_secret=" + values["expired"], "", 401, "invalid_token"},
			{"empty", "client_secret=", "", 401, "unauthorized"},
			{"in another case", "Client_Secret=" + adminToken, "", 401, "unauthorized"},
			{"a form that is none", "client_secret=" + adminToken + "&%zz", "", 401, "unauthorized"},
			{"twice", "client_secret=" + adminToken + "&client_secret=" + adminToken, "", 400, "invalid_request"},
			{"beside Authorization", "client_secret=" + adminToken, "Bearer " + adminToken, 400, "invalid_request"},
			{"beside an Authorization that is not good", "client_secret=" + adminToken, "Bearer " + values["unknown"], 401, "invalid_token"},
			{"beside another scheme", "client_secret=" + adminToken, "Digest x", 401, "unauthorized"},
		} {
			a := s.askAs(c.authorization, "POST", "/_/token/introspect", "token="+values["good"]+"&"+c.form, "Content-Type", formType)
			if a.status != c.status || c.status == 200 && !strings.Contains(a.body, `"active":true`) || c.code != "" && a.problem(t).Code != c.code {
				t.Errorf("%s: %d %s", c.name, a.status, a.body)
			}
			if hasError := strings.Contains(a.body, `"error":"invalid_client"`); hasError != (c.status == 401) {
				t.Errorf("%s: %s", c.name, a.body)
			}
		}
		if a := s.askAs("", "POST", "/_/token/introspect", "client_secret="+strings.Repeat("x", 64<<10)); a.status != 413 {
			t.Errorf("a huge body: %d %s", a.status, a.body)
		}
	})
	t.Run("an API key is no caller", func(t *testing.T) {
		expectRefusal(t, s.askAs("", "POST", "/_/token/introspect", "token="+values["good"], "X-API-Key", adminToken), 401, realm)
	})
	t.Run("authorization comes first", func(t *testing.T) {
		expectRefusal(t, s.askAs("", "POST", "/_/token/introspect?x=1", ""), 401, realm)
	})
}

// A cache must not outlive a token, so that exp is the second in which it ends.
func TestIntrospect_seconds(t *testing.T) {
	s := newServer(t)
	now := s.store.Clock.Now() // it has a fraction of a second
	expiry := now.Truncate(time.Second).Add(90*time.Second + 999*time.Millisecond)
	value := s.create(fmt.Sprintf(`{"name":"x","expiration_date":%d}`, expiry.UnixMilli()))
	a := s.ask("POST", "/_/token/introspect", "token="+value)
	if want := fmt.Sprintf(`"iat":%d,"exp":%d}`, now.Unix(), now.Unix()+90); !strings.Contains(a.body, want) {
		t.Errorf("%s, want %s", a.body, want)
	}
}
