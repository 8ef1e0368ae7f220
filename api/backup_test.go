package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokend/api"
	"tokend/kv"
	"tokend/kv/kvtest"
)

// A backup that is taken while everything changes is the store at one moment: what is
// made of it has all that was answered before, and nothing that was asked for after.
func TestBackup(t *testing.T) {
	s := newServer(t)
	var created atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("%d-%05d", w, i)
				if a := s.ask("POST", "/_/token", `{"name":"`+name+`"}`); a.status != 201 {
					t.Errorf("%s: %d", name, a.status)
				}
				if created.Add(1) > 8 && i > 0 { // each writer changes its tokens in turn
					s.ask("PATCH", "/_/token", fmt.Sprintf(`{"name":"%d-%05d","write":false}`, w, i-1))
				}
			}
		})
	}
	for round := range 5 {
		for created.Load() < int64(50*(round+1)) {
			time.Sleep(time.Millisecond)
		}
		before := created.Load()
		a := s.ask("GET", "/_/backup", "")
		if kind := a.header.Get("Content-Type"); a.status != 200 || kind != "application/cbor-seq" {
			t.Fatalf("status %d, %s", a.status, kind)
		}
		after := created.Load() + 8
		restored := kvtest.New(t, func(o *kv.Options) {
			o.Dir, o.MasterKeys = filepath.Join(o.Dir, "store"), s.store.Options.MasterKeys
			info, err := kv.Restore(strings.NewReader(a.body), *o, func(int, int) error { return nil })
			if int64(info.Tokens) < before || int64(info.Tokens) > after || err != nil {
				t.Errorf("%d tokens, %d before and %d after it: %v", info.Tokens, before, after, err)
			}
		})
		expectNoGaps(t, restored)
	}
	close(stop)
	wg.Wait()
	if a := s.ask("GET", "/_/backup", ""); strings.Contains(a.body, "tkd_") {
		t.Error("it shows a value")
	}
}

// expectNoGaps holds that of each writer's tokens, made and changed in order, the
// backup has a first part.
func expectNoGaps(t *testing.T, store *kvtest.Store) {
	t.Helper()
	snapshot, err := store.Snapshot()
	do(t, err)
	defer snapshot.Close()
	next := map[string]int{}
	unchanged := map[string]int{} // since the first that is not changed
	for token, err := range snapshot.Tokens(kv.Filter{}, "", kvtest.Start) {
		do(t, err)
		writer, _, _ := strings.Cut(token.Name, "-")
		if want := fmt.Sprintf("%s-%05d", writer, next[writer]); token.Name != want {
			t.Fatalf("%s, want %s", token.Name, want)
		}
		next[writer]++
		if token.Write {
			unchanged[writer]++
		}
	}
	for writer, n := range unchanged {
		if n > 10 { // the first few were not changed
			t.Errorf("writer %s: %d unchanged tokens", writer, n)
		}
	}
}

// A master key is taken up from its file; what the file lacks is said, and changes
// nothing.
func TestRekey(t *testing.T) {
	var answer error
	calls := 0
	s := newServer(t, func(c *api.Config) {
		c.Rekey = func(context.Context) (bool, error) {
			calls++
			return calls == 1, answer
		}
	})
	for _, want := range []string{`{"data":[{"changed":true}]}`, `{"data":[{"changed":false}]}`} {
		if a := s.ask("POST", "/_/rekey", ""); a.status != 200 || a.body != want+"\n" {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	answer = &api.MasterKeyError{Err: errors.New("/etc/key: it holds no key")}
	expectProblem(t, s.ask("POST", "/_/rekey", ""), 409, "master_key_unusable", "")
	answer = kv.ErrFull
	expectProblem(t, s.ask("POST", "/_/rekey", ""), 507, "storage_full", "")
	calls = 0
	expectProblem(t, s.askAs("Bearer "+readerToken, "POST", "/_/rekey", ""), 403, "insufficient_scope", "")
	expectProblem(t, s.askAs("Bearer "+readerToken, "GET", "/_/backup", ""), 403, "insufficient_scope", "")
	if calls > 0 {
		t.Error("a reader's call was carried out")
	}
}

// A backup that was read to its end counts as the last one.
func TestBackup_last(t *testing.T) {
	s := newServer(t)
	for batch := range 10 { // more than the buffers of a connection hold
		tokens := make([]kv.NewToken, 500)
		for i := range tokens {
			tokens[i].Name = fmt.Sprintf("%d-%d", batch, i)
		}
		_, err := s.store.CreateAll(context.Background(), tokens)
		do(t, err)
	}
	s.ask("GET", "/_/token/export?values=true", "")
	s.ask("HEAD", "/_/backup", "")
	s.abandon("/_/backup")
	if at := s.store.LastBackup(); !at.IsZero() {
		t.Errorf("it was backed up at %v", at)
	}
	s.ask("GET", "/_/backup", "")
	for range 1000 {
		if !s.store.LastBackup().IsZero() {
			break
		}
		time.Sleep(time.Millisecond) // the client has the last chunk before the server has closed the stream
	}
	if at := s.store.LastBackup(); !at.Equal(s.store.Clock.Now()) {
		t.Errorf("it was backed up at %v", at)
	}
}

// One that could not be sent does not, be it the last bytes.
func TestBackup_cut(t *testing.T) {
	left := &atomic.Int64{}
	left.Store(1 << 40)
	s := newServer(t, func(l net.Listener) net.Listener { return cutting{l, left} })
	for i := range 30 {
		s.create(fmt.Sprintf(`{"name":"%d"}`, i))
	}
	const request = "GET /_/backup HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n"
	left.Store(4000) // the headers and the first piece are longer
	if a := s.raw(request); len(a) > 4000 || !strings.HasPrefix(a, "HTTP/1.1 200 ") {
		t.Errorf("%d bytes: %.100s", len(a), a)
	}
	// raw reads to the end of the connection, which comes after that of the stream.
	if at := s.store.LastBackup(); !at.IsZero() {
		t.Errorf("cut off, it was backed up at %v", at)
	}
	left.Store(1 << 40)
	size := int64(len(s.raw(request)))
	for s.store.LastBackup().IsZero() {
		time.Sleep(time.Millisecond)
	}
	at := s.store.LastBackup()
	s.store.Clock.Advance(time.Minute)
	left.Store(size - 100) // within the last piece
	if a := s.raw(request); int64(len(a)) >= size {
		t.Errorf("%d bytes of %d", len(a), size)
	}
	if got := s.store.LastBackup(); !got.Equal(at) {
		t.Errorf("cut off at the end, it was backed up at %v", got)
	}
}

// cutting is a listener whose connections write so many bytes and then fail.
type cutting struct {
	net.Listener
	left *atomic.Int64
}

func (l cutting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return cut{c, l.left}, err
}

type cut struct {
	net.Conn
	left *atomic.Int64
}

func (c cut) Write(p []byte) (int, error) {
	left := c.left.Add(-int64(len(p)))
	if left >= 0 {
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:max(0, int64(len(p))+left)])
	return n, errors.New("cut off")
}

// abandon reads the beginning of an answer only.
func (s *server) abandon(target string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.address+target, nil)
	do(s.t, err)
	r.Header.Set("Authorization", "Bearer "+adminToken)
	response, err := s.client.Do(r)
	do(s.t, err)
	_, err = io.ReadFull(response.Body, make([]byte, 100))
	do(s.t, err)
	do(s.t, response.Body.Close())
}
