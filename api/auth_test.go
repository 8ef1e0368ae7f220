package api_test

import (
	"fmt"
	"testing"
	"time"

	"tokend/kv"
)

const realm = `Bearer realm="tokend"`

func TestAuthorization(t *testing.T) {
	s := newServer(t)
	issued := s.create(`{"name":"issued"}`)
	inactive := s.create(`{"name":"inactive","active":false}`)
	expired := s.create(fmt.Sprintf(`{"name":"expired","expiration_date":%d}`, s.store.Clock.Now().Add(time.Second).UnixMilli()))
	s.store.Clock.Advance(time.Minute)

	for _, c := range []struct {
		name      string
		headers   []string
		status    int
		code      string
		challenge string
	}{
		{"no header", nil, 401, "unauthorized", realm},
		{"another scheme", []string{"Basic YWRtaW46YWRtaW4="}, 401, "unauthorized", realm},
		{"a scheme that only begins like ours", []string{"Bearers " + adminToken}, 401, "unauthorized", realm},
		{"the token without a scheme", []string{adminToken}, 401, "unauthorized", realm},
		{"an empty header, which is none", []string{""}, 401, "unauthorized", realm},
		{"a blank header", []string{" \t "}, 401, "unauthorized", realm},
		{"no token beside a good one", []string{"Bearer", "Bearer " + adminToken}, 400, "invalid_request", realm + `, error="invalid_request"`},
		{"no token", []string{"Bearer"}, 400, "invalid_request", realm + `, error="invalid_request"`},
		{"no token but a space", []string{"Bearer "}, 400, "invalid_request", realm + `, error="invalid_request"`},
		{"two tokens", []string{"Bearer " + adminToken + " " + adminToken}, 400, "invalid_request", realm + `, error="invalid_request"`},
		{"two headers", []string{"Bearer " + adminToken, "Bearer " + adminToken}, 400, "invalid_request", realm + `, error="invalid_request"`},
		{"two headers, one of another scheme", []string{"Basic eDp5", "Bearer " + adminToken}, 400, "invalid_request", realm + `, error="invalid_request"`},
		{"an unknown token", []string{"Bearer " + kv.NewValue("tkd").Reveal()}, 401, "invalid_token", realm + `, error="invalid_token"`},
		{"an admin token with one more character", []string{"Bearer " + adminToken + "x"}, 401, "invalid_token", realm + `, error="invalid_token"`},
		{"an admin token cut short", []string{"Bearer " + adminToken[:len(adminToken)-1]}, 401, "invalid_token", realm + `, error="invalid_token"`},
		{"what can be no token", []string{"Bearer x"}, 401, "invalid_token", realm + `, error="invalid_token"`},
		{"beyond ASCII", []string{"Bearer é123456789012345"}, 401, "invalid_token", realm + `, error="invalid_token"`},
		{"an issued token, however valid", []string{"Bearer " + issued}, 403, "insufficient_scope", realm + `, error="insufficient_scope"`},
		{"an inactive one is like an unknown one", []string{"Bearer " + inactive}, 401, "invalid_token", realm + `, error="invalid_token"`},
		{"an expired one is like an unknown one", []string{"Bearer " + expired}, 401, "invalid_token", realm + `, error="invalid_token"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			for _, h := range c.headers {
				headers = append(headers, "Authorization", h)
			}
			for _, request := range [][3]string{
				{"GET", "/_/token", ""},
				{"POST", "/_/token", `{"name":"new"}`},
				{"PUT", "/_/token", `{"name":"issued"}`},
				{"DELETE", "/_/token?name=issued", ""},
				{"GET", "/_/token/value?name=issued", ""},
			} {
				a := s.askAs("", request[0], request[1], request[2], headers...)
				expectProblem(t, a, c.status, c.code, "")
				if got := a.header.Get("WWW-Authenticate"); got != c.challenge {
					t.Errorf("%s %s: challenge %s, want %s", request[0], request[1], got, c.challenge)
				}
			}
		})
	}
	t.Run("nothing was changed", func(t *testing.T) {
		if got := namesIn(t, s.ask("GET", "/_/token", "")); len(got) != 3 {
			t.Error(got)
		}
	})
	t.Run("the scheme's case and further spaces do not matter", func(t *testing.T) {
		for _, authorization := range []string{"bearer " + adminToken, "BEARER " + adminToken, "Bearer   " + adminToken} {
			if a := s.askAs(authorization, "GET", "/_/token", ""); a.status != 200 {
				t.Errorf("%.10s…: %d", authorization, a.status)
			}
		}
	})
}

func TestReadOnlyAdmin(t *testing.T) {
	s := newServer(t)
	s.create(`{"name":"x"}`)
	for _, request := range [][3]string{
		{"POST", "/_/token", `{"name":"new"}`},
		{"PUT", "/_/token", `{"name":"x","active":false}`},
		{"DELETE", "/_/token?name=x", ""},
		{"GET", "/_/token/value?name=x", ""},
	} {
		a := s.askAs("Bearer "+readerToken, request[0], request[1], request[2])
		expectProblem(t, a, 403, "insufficient_scope", "")
		if got, want := a.header.Get("WWW-Authenticate"), realm+`, error="insufficient_scope", scope="write"`; got != want {
			t.Errorf("challenge %s, want %s", got, want)
		}
	}
	for _, target := range []string{"/_/token", "/_/token?name=x"} {
		if a := s.askAs("Bearer "+readerToken, "GET", target, ""); a.status != 200 || a.data(t)[0]["active"] != true {
			t.Errorf("%s: %d %s", target, a.status, a.body)
		}
	}
}

// Path, method, authorization, size, query and body, existence: each check
// comes before the next.
func TestOrderOfChecks(t *testing.T) {
	s := newServer(t)
	large := `{"name":"` + longString(70_000) + `"}`
	for _, c := range []struct {
		name, authorization, method, target, body string
		status                                    int
		code, field                               string
	}{
		{"path before method, authorization and size", "", "BREW", "/_/nothing?x", large, 404, "not_found", ""},
		{"method before authorization, size and query", "", "BREW", "/_/token?x=1", large, 405, "method_not_allowed", ""},
		{"authorization before size and query", "", "POST", "/_/token?x=1", large, 401, "unauthorized", ""},
		{"authorization before the body", "Bearer x", "POST", "/_/token", "no JSON", 401, "invalid_token", ""},
		{"rights before the body", "Bearer " + readerToken, "POST", "/_/token", "no JSON", 403, "insufficient_scope", ""},
		{"size before query and body", "Bearer " + adminToken, "POST", "/_/token?x=1", large, 413, "body_too_large", ""},
		{"query before existence", "Bearer " + adminToken, "DELETE", "/_/token?name=none&x=1", "", 400, "invalid_query", "x"},
		{"body before existence", "Bearer " + adminToken, "PUT", "/_/token", `{"name":"none","expiration_date":5}`, 400, "invalid_expiration_date", "expiration_date"},
		{"body before existence, PATCH", "Bearer " + adminToken, "PATCH", "/_/token", `{"name":"none","expiration_date":5}`, 400, "invalid_expiration_date", "expiration_date"},
		{"existence at last", "Bearer " + adminToken, "PUT", "/_/token", `{"name":"none"}`, 404, "token_not_found", "name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expectProblem(t, s.askAs(c.authorization, c.method, c.target, c.body), c.status, c.code, c.field)
		})
	}
}
