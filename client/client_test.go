package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokend/api"
	"tokend/api/wire"
	"tokend/client"
	"tokend/internal/testkit"
	"tokend/kv"
	"tokend/kv/backup"
	"tokend/kv/kvtest"
	"tokend/metrics"
)

const adminToken = "tkdadm-token-for-tests-0123456789"

// start runs a real server on a socket.
func start(store api.Store, socket string) (stop func() error, err error) {
	s := api.New(api.Config{
		Store: store, Metrics: metrics.New(metrics.Build{}), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return kvtest.Start },
		Rekey: func(context.Context) (bool, error) { return true, nil },
	}, api.Settings{
		Admins:         []api.Admin{{Name: "admin", SHA256: sha256.Sum256([]byte(adminToken)), Write: true}},
		Timeouts:       api.Timeouts{Header: 5 * time.Second, Body: 5 * time.Second, Write: 5 * time.Second, Idle: time.Minute},
		MaxConnections: 100,
		MaxManagement:  50,
	})
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	s.Ready()
	return func() error { return errors.Join(s.Shutdown(context.Background()), <-served) }, nil
}

// serve is start for a test, on a store of its own.
func serve(t testing.TB) (address string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "tokend.sock")
	stop, err := start(kvtest.New(t).Store, socket)
	testkit.Do(t, err)
	t.Cleanup(func() { testkit.Do(t, stop()) })
	return "unix:" + socket
}

// TestMain gives the examples a server.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		panic(err)
	}
	store, err := kv.Open(kv.Options{Dir: filepath.Join(dir, "store"), MasterKeys: []kv.MasterKey{kv.NewMasterKey()}, MaxIndexed: 1000})
	if err != nil {
		panic(err)
	}
	socket := filepath.Join(dir, "tokend.sock")
	stop, err := start(store, socket)
	if err != nil {
		panic(err)
	}
	exampleAddress, exampleToken = "unix:"+socket, adminToken
	code := m.Run()
	if err := errors.Join(stop(), store.Close(), os.RemoveAll(dir)); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func newClient(t testing.TB, address string, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(address, o)
	testkit.Do(t, err)
	return c
}

// Every call, against a real server.
func TestClient(t *testing.T) {
	address := serve(t)
	c := newClient(t, address, client.Options{Token: adminToken})
	ctx := t.Context()
	ready, err := c.Ready(ctx)
	if want := (wire.Readiness{Status: "ready", Writable: true}); err != nil || ready != want {
		t.Errorf("%+v, %v", ready, err)
	}

	ends := kvtest.Start.Add(time.Hour)
	made, err := c.Create(ctx, client.NewToken{Name: "ünï/cödé", Write: true, ExpiresAt: ends})
	testkit.Do(t, err)
	shown, err := c.Get(ctx, made.Name)
	if diff := cmp.Diff(made.Token, shown); err != nil || diff != "" || shown.ExpirationDate != ends.UnixMilli() {
		t.Error(err, diff, shown)
	}
	if value, err := c.Value(ctx, made.Name); err != nil || value != made.Value {
		t.Error(err)
	}
	if _, err := c.Create(ctx, client.NewToken{Name: made.Name}); client.CodeOf(err) != wire.CodeNameTaken {
		t.Errorf("error %v", err)
	}

	verified, err := c.Verify(ctx, made.Value, "write")
	if want := (wire.Grant{Name: made.Name, Write: true, Expires: true, ExpirationDate: ends.UnixMilli()}); err != nil || verified.Grant != want || verified.Rotated {
		t.Errorf("%+v, %v", verified, err)
	}
	changed, err := c.Update(ctx, made.Name, client.Patch{Write: new(false), ExpiresAt: &time.Time{}})
	if err != nil || changed.Write || changed.Expires {
		t.Errorf("%+v, %v", changed, err)
	}
	if _, err := c.Verify(ctx, made.Value, "write"); client.CodeOf(err) != wire.CodeInsufficientScope {
		t.Errorf("error %v", err)
	}

	rotated, err := c.Rotate(ctx, made.Name, time.Hour)
	if err != nil || rotated.PreviousValidUntil == nil || rotated.Value == made.Value {
		t.Errorf("%+v, %v", rotated, err)
	}
	if old, err := c.Verify(ctx, made.Value, ""); err != nil || !old.Rotated {
		t.Errorf("%+v, %v", old, err)
	}

	var names []string
	for token, err := range c.List(ctx, client.Filter{Prefix: "ü", Status: "active", UnusedSince: ends, Limit: 10}) {
		testkit.Do(t, err)
		names = append(names, token.Name)
	}
	if !cmp.Equal(names, []string{made.Name}) {
		t.Error(names)
	}

	done, err := c.Bulk(ctx, wire.Bulk{Action: "deactivate", Filter: &wire.Filter{Prefix: new("ü")}})
	if want := (wire.Bulked{Matched: 1, Changed: 1, Names: names}); err != nil || !cmp.Equal(want, done) {
		t.Errorf("%+v, %v", done, err)
	}
	batches, err := c.Import(ctx, [][]byte{[]byte(`{"name":"imported"}`), []byte(`{"name":""}`)})
	if err != nil || len(batches) != 1 || len(batches[0].Refused) != 1 || batches[0].Refused[0].Code != wire.CodeInvalidName {
		t.Errorf("%+v, %v", batches, err)
	}
	var exported bytes.Buffer
	if n, err := c.Export(ctx, &exported, true); err != nil || n != 1 || !strings.Contains(exported.String(), rotated.Value) {
		t.Errorf("%d, %v", n, err)
	}
	var taken bytes.Buffer
	info, err := c.Backup(ctx, &taken, nil)
	if want := (backup.Info{Taken: kvtest.Start, Tokens: 1}); err != nil || info != want {
		t.Errorf("%+v, %v", info, err)
	}
	if again, err := backup.Check(&taken, nil); err != nil || again != info {
		t.Errorf("%+v, %v", again, err)
	}
	if changed, err := c.Rekey(ctx); err != nil || !changed {
		t.Error(changed, err)
	}
	if deleted, err := c.Delete(ctx, made.Name); err != nil || deleted.Name != made.Name {
		t.Error(deleted, err)
	}
	if _, err := c.Get(ctx, made.Name); client.CodeOf(err) != wire.CodeTokenNotFound {
		t.Errorf("error %v", err)
	}
	if _, err := c.Verify(ctx, rotated.Value, ""); client.CodeOf(err) != wire.CodeInvalidToken {
		t.Errorf("error %v", err)
	}
}

// A verification presents the value and nothing else, also where there is none.
func TestClient_Verify_neverPresentsTheAdminToken(t *testing.T) {
	var seen atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen.Store(r.Header.Get("Authorization")) }))
	defer s.Close()
	c := newClient(t, s.URL, client.Options{Token: adminToken})
	for _, value := range []string{"", "tkd_value"} {
		_, _ = c.Verify(t.Context(), value, "")
		if got := seen.Load().(string); strings.Contains(got, adminToken) {
			t.Errorf("%q presents %q", value, got)
		}
	}
}

// Tokens do not cross a network in plain text unless that is allowed.
func TestNew(t *testing.T) {
	var (
		plaintext *client.PlaintextError
		address   *client.AddressError
	)
	for text, want := range map[string]any{
		"127.0.0.1:8470": nil, "http://[::1]:8470/": nil, "localhost:1": nil, "https://tokens.example": nil, "unix:/run/x": nil,
		"http://192.0.2.1:8470": &plaintext, "tokens.example:80": &plaintext,
		"ftp://x": &address, "http://": &address, "http://user@localhost": &address, "http://localhost/path": &address, "http://localhost?x": &address, "\x00": &address,
	} {
		_, err := client.New(text, client.Options{})
		if want == nil && err != nil || want != nil && !errors.As(err, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := client.New("http://192.0.2.1:8470", client.Options{AllowPlaintext: true}); err != nil {
		t.Error(err)
	}
}

// What ends a request is told apart: no server, one that goes, a context that ends, an answer
// of somebody else.
func TestClient_failures(t *testing.T) {
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", wire.JSON)
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"data":[`)
		w.(http.Flusher).Flush()
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
	}))
	defer cut.Close()
	redirected := atomic.Bool{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected.Store(true) }))
	defer elsewhere.Close()
	redirect := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()

	_, err := newClient(t, cut.URL, client.Options{}).Get(t.Context(), "x")
	if e, ok := errors.AsType[*client.UnreachableError](err); !ok || !e.CutOff || e.MayHaveChanged {
		t.Errorf("cut off: %v", err)
	}
	for _, err := range newClient(t, cut.URL, client.Options{}).List(t.Context(), client.Filter{}) {
		if e, ok := errors.AsType[*client.UnreachableError](err); !ok || !e.CutOff {
			t.Errorf("a list that is cut off: %v", err)
		}
	}
	_, err = newClient(t, "unix:"+filepath.Join(t.TempDir(), "none"), client.Options{}).Get(t.Context(), "x")
	if e, ok := errors.AsType[*client.UnreachableError](err); !ok || e.MayHaveChanged || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no server: %v", err)
	}
	if _, err := newClient(t, redirect.URL, client.Options{Token: adminToken}).Get(t.Context(), "x"); !errors.Is(err, client.ErrNotTokend) || redirected.Load() {
		t.Errorf("a redirect: %v, followed: %v", err, redirected.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := newClient(t, silent.URL, client.Options{}).Get(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a context that ends: %v", err)
	}
	_, err = newClient(t, silent.URL, client.Options{Patience: 50 * time.Millisecond}).Get(t.Context(), "x")
	if e, ok := errors.AsType[*client.UnreachableError](err); !ok || e.MayHaveChanged {
		t.Errorf("a server that is silent: %v", err)
	}
}

// A server that is not ready says so.
func TestClient_Ready(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", wire.JSON)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"status":"draining","writable":false,"reason":"the server is stopping"}`)
	}))
	defer s.Close()
	ready, err := newClient(t, s.URL, client.Options{}).Ready(t.Context())
	if want := (wire.Readiness{Status: "draining", Reason: "the server is stopping"}); err != nil || ready != want {
		t.Errorf("%+v, %v", ready, err)
	}
}

// What is copied is what the server sent, and nothing where it makes no sense.
func TestCopyAnswer(t *testing.T) {
	address := serve(t)
	c := newClient(t, address, client.Options{Token: adminToken})
	var copied bytes.Buffer
	ctx := client.CopyAnswer(t.Context(), &copied)
	made, err := c.Create(ctx, client.NewToken{Name: "x"})
	testkit.Do(t, err)
	if text := copied.String(); !strings.HasPrefix(text, `{"data":[{"name":"x",`) || !strings.HasSuffix(text, `"token":"`+made.Value+"\"}]}\n") {
		t.Errorf("%q", text)
	}
	copied.Reset()
	for _, err := range c.List(ctx, client.Filter{}) {
		testkit.Do(t, err)
	}
	if text := copied.String(); !strings.HasPrefix(text, `{"data":[{"name":"x",`) || !strings.HasSuffix(text, "}]}\n") {
		t.Errorf("%q", text)
	}
	copied.Reset()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", wire.JSON)
		_, _ = io.WriteString(w, `{"data":[{"name":"y","status":"active"}]}`)
	}))
	defer other.Close()
	if _, err := newClient(t, other.URL, client.Options{}).Get(ctx, "x"); !errors.Is(err, client.ErrNotTokend) || copied.Len() > 0 {
		t.Errorf("of another token: %v, copied %q", err, &copied)
	}
}
