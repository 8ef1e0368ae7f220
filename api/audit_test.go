package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tokend/api"
)

// sink is where an audit goes, until it fails.
type sink struct {
	mu    sync.Mutex
	text  bytes.Buffer
	fails bool
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails {
		return 0, errors.New("no space left on device")
	}
	return s.text.Write(p)
}

func (s *sink) fail(fails bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

var varying = regexp.MustCompile(`time=\S+ |from=127\.0\.0\.1:\d+ |request_id=\S{26}`)

// taken is the records since the last call, without what varies.
func (s *sink) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return varying.ReplaceAllString(s.text.String(), "")
}

func newAuditedServer(t *testing.T, required bool) (*server, *sink) {
	records := &sink{}
	return newServer(t, func(c *api.Settings) {
		c.Audit = api.Audit{Handler: slog.NewTextHandler(records, nil), Required: required}
	}), records
}

func TestAudit(t *testing.T) {
	s, records := newAuditedServer(t, false)
	issued := s.create(`{"name":"issued"}`)
	records.taken()
	for _, c := range []struct{ authorization, method, target, body, want string }{
		{"admin", "POST", "/_/token", `{"name":"a b"}`, `who=admin:admin operation=create outcome=done status=201 name="a b"`},
		{"admin", "POST", "/_/token", `{"name":"a b"}`, `who=admin:admin operation=create outcome=name_taken status=409 name="a b"`},
		{"admin", "POST", "/_/token", `{"name":"x\ny"}`, `who=admin:admin operation=create outcome=invalid_name status=400`},
		{"admin", "PUT", "/_/token", `{"name":"a b","write":false}`, `who=admin:admin operation=replace outcome=done status=200 name="a b"`},
		{"admin", "PATCH", "/_/token", `{"name":"a b","active":false}`, `who=admin:admin operation=update outcome=done status=200 name="a b"`},
		{"admin", "POST", "/_/token/rotate", `{"name":"a b"}`, `who=admin:admin operation=rotate outcome=done status=200 name="a b"`},
		{"admin", "GET", "/_/token/value?name=a+b", "", `who=admin:admin operation=value outcome=done status=200 name="a b"`},
		{"admin", "GET", "/_/token?name=a+b", "", `who=admin:admin operation=list outcome=done status=200 name="a b"`},
		{"admin", "GET", "/_/token?status=active&prefix=a", "", `who=admin:admin operation=list outcome=begun status=200 filter="prefix=a&status=active"`},
		{"admin", "GET", "/_/token/export", "", `who=admin:admin operation=export outcome=begun status=200`},
		{"admin", "GET", "/_/token/export?values=true", "", `who=admin:admin operation=export outcome=begun status=200 action=values`},
		{"admin", "POST", "/_/token/bulk", `{"action":"delete","filter":{"prefix":"a"},"dry_run":true}`,
			`who=admin:admin operation=bulk outcome=done status=200 action="delete (dry run)" filter="{\"prefix\":\"a\"}"`},
		{"admin", "POST", "/_/token/bulk", `{"action":"activate","names":["a b","issued"]}`,
			`who=admin:admin operation=bulk outcome=done status=200 action=activate names="[\"a b\",\"issued\"]"`},
		{"admin", "POST", "/_/token/bulk", `{"action":"delete","names":["none","issued"]}`,
			`who=admin:admin operation=bulk outcome=token_not_found status=404 action=delete names="[\"none\",\"issued\"]"`},
		{"admin", "POST", "/_/token/import", `{"name":"issued"}`, `who=admin:admin operation=import outcome=done status=200 refused=1`},
		{"admin", "DELETE", "/_/token?name=a+b", "", `who=admin:admin operation=delete outcome=done status=200 name="a b"`},
		{"admin", "DELETE", "/_/token?name=none", "", `who=admin:admin operation=delete outcome=token_not_found status=404 name=none`},
		{"admin", "POST", "/_/token/import", `{"name":"c"}`, `who=admin:admin operation=import outcome=done status=200 names="[\"c\"]"`},
		{"reader", "DELETE", "/_/token?name=issued", "", `who=admin:reader operation=delete outcome=insufficient_scope status=403`},
		{"issued", "GET", "/_/token", "", `who=token:issued operation=list outcome=insufficient_scope status=403`},
		{"nobody", "GET", "/_/token", "", `who="" operation=list outcome=invalid_token status=401`},
		{"", "GET", "/_/token", "", `who="" operation=list outcome=unauthorized status=401`},
		{"issued", "GET", "/_/token/verify", "", ""}, // is no management
		{"", "BREW", "/_/token", "", ""},
	} {
		authorization := map[string]string{
			"admin": "Bearer " + adminToken, "reader": "Bearer " + readerToken,
			"issued": "Bearer " + issued, "nobody": "Bearer no-admin-token-0123456789",
		}[c.authorization]
		s.askAs(authorization, c.method, c.target, c.body)
		want := c.want
		if want != "" {
			want = "level=INFO msg=audit " + want + " \n"
		}
		if got := records.taken(); got != want {
			t.Errorf("%s %s:\n%swant\n%s", c.method, c.target, got, want)
		}
	}
}

// A value that is pasted where it does not belong is not recorded.
func TestAudit_values(t *testing.T) {
	const elsewhere = "made-elsewhere-0123456789"
	s, records := newAuditedServer(t, false)
	value := s.create(`{"name":"x"}`)
	s.ask("POST", "/_/token/import", `{"name":"y","token":"`+elsewhere+`"}`)
	for _, secret := range []string{value, elsewhere, "tkdadm_" + value[4:]} {
		s.ask("GET", "/_/token?name="+secret, "")
		s.ask("GET", "/_/token?prefix="+secret, "")
		s.ask("DELETE", "/_/token", `{"name":"`+secret+`"}`)
		s.ask("POST", "/_/token/bulk", `{"action":"delete","names":["`+secret+`"]}`)
		s.ask("POST", "/_/token/bulk", `{"action":"delete","filter":{"prefix":"`+secret+`"}}`)
		s.askAs("", "GET", "/_/token", "", "X-Request-Id", secret)
	}
	got := records.taken()
	got = strings.ReplaceAll(got, "request_id="+elsewhere, "") // which cannot be told from another
	for _, secret := range []string{value, value[4:], elsewhere} {
		if strings.Contains(got, secret) {
			t.Errorf("a value is recorded:\n%s", got)
		}
	}
}

func TestAudit_manyNames(t *testing.T) {
	s, records := newAuditedServer(t, false)
	var lines strings.Builder
	for i := range 250 {
		fmt.Fprintf(&lines, "{\"name\":\"n%03d\"}\n", i)
	}
	s.ask("POST", "/_/token/import", lines.String())
	got := records.taken()
	if n := strings.Count(got, "msg=audit"); n != 3 {
		t.Errorf("%d records", n)
	}
	for line := range strings.Lines(got) {
		if len(line) > 40_000 {
			t.Errorf("a record has %d bytes", len(line))
		}
	}
	for i := range 250 {
		if name := fmt.Sprintf(`\"n%03d\"`, i); strings.Count(got, name) != 1 {
			t.Errorf("%s is there %d times", name, strings.Count(got, name))
		}
	}
}

// Callers whom nobody knows cannot drown the others.
func TestAudit_strangers(t *testing.T) {
	s, records := newAuditedServer(t, false)
	for range 200 {
		s.askAs("", "GET", "/_/token", "")
	}
	s.ask("GET", "/_/token", "")
	got := records.taken()
	if n := strings.Count(got, "outcome=unauthorized"); n < 20 || n > 150 {
		t.Errorf("%d records of unknown callers", n)
	}
	if strings.Count(got, "who=admin:admin") != 1 {
		t.Error("the administrator's is lost")
	}
	for range 500 { // until the next second
		s.askAs("", "GET", "/_/token", "")
		if strings.Contains(records.taken(), "skipped_before=") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("nothing tells how many were left out")
}

func TestAudit_failingSink(t *testing.T) {
	t.Run("stops nothing", func(t *testing.T) {
		s, records := newAuditedServer(t, false)
		records.fail(true)
		if a := s.ask("POST", "/_/token", `{"name":"x"}`); a.status != 201 {
			t.Errorf("%d %s", a.status, a.body)
		}
		if !strings.Contains(s.log.String(), `level=ERROR msg="cannot record a management call" operation=create`) {
			t.Errorf("the log does not say so:\n%s", s.log)
		}
	})
	t.Run("stops management where it is required, never verification", func(t *testing.T) {
		s, records := newAuditedServer(t, true)
		value := s.create(`{"name":"x"}`)
		if got, want := records.taken(), "level=INFO msg=audit who=admin:admin operation=create outcome=asked \n"+
			"level=INFO msg=audit who=admin:admin operation=create outcome=done status=201 name=x \n"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		records.fail(true)
		expectProblem(t, s.ask("DELETE", "/_/token?name=x", ""), 503, "audit_unavailable", "")
		expectProblem(t, s.ask("GET", "/_/token", ""), 503, "audit_unavailable", "")
		if a := s.askAs("Bearer "+value, "GET", "/_/token/verify", ""); a.status != 200 {
			t.Errorf("verification: %d", a.status)
		}
		records.fail(false)
		if a := s.ask("GET", "/_/token?name=x", ""); a.status != 200 {
			t.Errorf("it was deleted, or does not heal: %d", a.status)
		}
	})
}

func TestAccessLog(t *testing.T) {
	s := newServer(t, func(c *api.Settings) { c.AccessLog = true })
	value := s.create(`{"name":"x"}`)
	s.askAs("Bearer "+value, "GET", "/_/token/verify", "")
	s.askAs("Bearer "+value, "GET", "/_/auth/envoy/"+value, "")
	s.askAs("", "BREW", "/"+value+"?"+value, "")
	for _, want := range []string{
		`msg=request method=POST route=/_/token status=201 who=admin:admin from=127.0.0.1:`,
		`msg=request method=GET route=/_/token/verify status=200 who=token:x from=127.0.0.1:`,
		`msg=request method=GET route=/_/auth/envoy/{path:*} status=200 who=token:x`,
		`msg=request method=other route=(unknown) status=404 who=""`,
	} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("%s is not in\n%s", want, s.log)
		}
	}
}
