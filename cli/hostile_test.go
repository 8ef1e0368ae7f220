package cli_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tokend/cli"
)

// What answers need not be tokend. The client believes nothing that makes no
// sense, shows a terminal nothing that it would act upon, and never calls it done.
func TestHostileServer(t *testing.T) {
	const (
		token   = `{"name":"x","active":true,"write":true,"status":"active","expires":false,"expiration_date":1,"created_at":1,"updated_at":1,"last_used_at":null}`
		problem = `{"status":400,"code":"invalid_body","detail":"%s","request_id":"x"}`
	)
	commands := [][]string{
		{"token", "create", "x"}, {"token", "list"}, {"token", "list", "--json"}, {"token", "show", "x"}, {"token", "update", "x", "--active"},
		{"token", "rotate", "x"}, {"token", "value", "x"}, {"token", "verify"}, {"token", "delete", "x"}, {"token", "delete", "x", "y"},
		{"token", "bulk", "delete", "--prefix", "x"}, {"export", "kept"}, {"import", "one.jsonl"},
	}
	for _, c := range []struct {
		name   string
		status int
		kind   string // of content; "" for what the command expects
		body   string

		plausible string // to these commands
	}{
		{"a page", 200, "text/html", "<html>", ""},
		{"a page, called JSON", 200, "", "<html>", ""},
		{"nothing", 200, "", "", "export kept"},
		{"no content", 204, "", "", ""},
		{"no object", 200, "", `{"data":[]}`, "token list --json"},
		{"null", 200, "", `{"data":[null]}`, ""},
		{"an empty object", 200, "", `{"data":[{}]}`, ""},
		{"two", 200, "", `{"data":[` + token + `,` + token + `]}x`, ""},
		{"another name", 200, "", `{"data":[{"name":"y","status":"active","token":"` + strings.Repeat("v", 50) + `"}]} `, "token list --json, token verify"},
		{"another field", 200, "", `{"evil":[` + token + `]}`, ""},
		{"something behind it", 200, "", `{"data":[` + token + `]}garbage`, ""},
		{"a name that a terminal acts upon", 200, "", `{"data":[` + strings.Replace(token, `"x"`, `"\u001b[31mx"`, 1) + `]}`, ""},
		{"a status that a terminal acts upon", 200, "", `{"data":[` + strings.Replace(token, `"active","exp`, `"\u001b[31m","exp`, 1) + `]}`, "token verify"}, // which shows none
		{"a value that a terminal acts upon", 200, "", `{"data":[{"name":"x","token":"\u001b[31mxxxxxxxxxxxxxxxxxxxxx"}]}`, "token verify"},
		{"a detail that a terminal acts upon", 400, "application/problem+json", fmt.Sprintf(problem, `\u001b[31m`), ""},
		{"a problem without words", 400, "application/problem+json", fmt.Sprintf(problem, ""), ""},
		{"a redirect", 302, "text/html", "", ""},
		{"numbers that cannot be", 200, "", `{"data":[{"matched":9,"changed":99,"names":["x"]}]}`, ""},
		{"a line that cannot be", 200, "", `{"first_line":1,"last_line":1,"created":999}` + "\n", ""},
		{"lines without an end", 200, "", `{"name":"x","status":"active"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed") }))
			defer elsewhere.Close()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				kind := c.kind
				if kind == "" {
					kind = "application/json"
					if strings.HasSuffix(r.URL.Path, "port") {
						kind = "application/x-ndjson"
					}
				}
				w.Header().Set("Content-Type", kind)
				w.Header().Set("Location", elsewhere.URL)
				w.WriteHeader(c.status)
				if c.status != http.StatusNoContent {
					_, _ = w.Write([]byte(c.body))
				}
			}))
			defer server.Close()
			t.Chdir(t.TempDir())
			write(t, "admin.token", strings.Repeat("a", 40))
			write(t, "one.jsonl", `{"name":"x"}`)
			write(t, "kept", "of before")
			for _, command := range commands {
				if strings.Contains(c.plausible, strings.Join(command, " ")) {
					continue
				}
				var stdout, stderr bytes.Buffer
				args := slices.Concat(command, []string{"--addr", server.URL, "--admin-token-file", "admin.token"})
				code := cli.Run(args, strings.NewReader(strings.Repeat("v", 50)), &stdout, &stderr)
				if code != 3 {
					t.Errorf("%v: code %d\n%s%s", command, code, &stdout, &stderr)
				}
				if strings.ContainsAny(stderr.String(), "\x1b\x07") || command[len(command)-1] != "--json" && strings.Contains(stdout.String(), "\x1b") {
					t.Errorf("%v: the terminal gets %q %q", command, &stdout, &stderr)
				}
			}
			if kept, err := os.ReadFile("kept"); err != nil || string(kept) != "of before" {
				t.Errorf("the last export is gone: %q %v", kept, err)
			}
			if left, err := filepath.Glob(".*"); err != nil || len(left) > 0 {
				t.Errorf("left behind: %q %v", left, err)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
