package cli_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tokend/cli"
	"tokend/internal/testkit"
	"tokend/kv/kvtest"
)

func TestMain(m *testing.M) {
	testkit.Parallel()
	testscript.Main(m, map[string]func(){
		"tokend": func() { os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// The scripts in testdata run the whole program. They reach a server through
// the socket tokend.sock in their folder.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Defer(func() { expectNoSecretIn(t, env.WorkDir) })
			return nil
		},
		UpdateScripts: os.Getenv("UPDATE_GOLDEN") != "", // what is compared in them becomes what it is
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":   await,
			"request": request,
			"mode":    mode,
			"hold":    hold,
		},
	})
}

// expectNoSecretIn looks at the stores and backups that a script leaves.
func expectNoSecretIn(t *testing.T, folder string) {
	stores, err := filepath.Glob(filepath.Join(folder, "*", "store"))
	if err != nil {
		t.Error(err)
	}
	backups, err := filepath.Glob(filepath.Join(folder, "*.backup"))
	if err != nil {
		t.Error(err)
	}
	for _, path := range stores {
		kvtest.ExpectNoSecretIn(t, path)
	}
	for _, path := range backups {
		kvtest.ExpectNoSecret(t, path, []byte(readFile(t, path)))
	}
}

func clientOf(ts *testscript.TestScript) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", ts.MkAbs("tokend.sock"))
		},
	}}
}

// await waits until the server is ready.
func await(ts *testscript.TestScript, _ bool, _ []string) {
	client := clientOf(ts)
	for range 500 {
		response, err := client.Get("http://localhost/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("the server is not ready")
}

// request TOKENFILE METHOD TARGET [BODY] writes the status and the body of the
// answer to stdout.
func request(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: request TOKENFILE METHOD TARGET [BODY]")
	}
	token := strings.TrimSpace(ts.ReadFile(args[0]))
	r, err := http.NewRequest(args[1], "http://localhost"+args[2], strings.NewReader(strings.Join(args[3:], "")))
	ts.Check(err)
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := clientOf(ts).Do(r)
	ts.Check(err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	var out bytes.Buffer
	out.WriteString(response.Status + "\n")
	out.Write(body)
	_, err = ts.Stdout().Write(out.Bytes())
	ts.Check(err)
}

// mode WANT FILE… checks the mode of files, as ls -l shows it.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(file))
		ts.Check(err)
		if got := info.Mode().String(); got != args[0] {
			ts.Fatalf("%s has mode %s, not %s", file, got, args[0])
		}
	}
}

// hold takes a TCP port until the script ends and sets $PORT.
func hold(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Setenv("PORT", port)
}
