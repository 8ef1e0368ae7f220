package recipes_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// serveSocket takes a connection over, as for a websocket (RFC 6455, section 4.2.2), and sends
// back what comes.
func serveSocket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
		http.Error(w, "no upgrade is asked for", http.StatusUpgradeRequired)
		return
	}
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	_, _ = io.Copy(c, buffered)
}

// expectSocket opens a websocket through the proxy.
func expectSocket(t *testing.T, token string) {
	t.Helper()
	c, err := net.Dial("tcp", proxyAddress)
	do(t, err)
	defer func() { _ = c.Close() }()
	do(t, c.SetDeadline(time.Now().Add(2*time.Minute)))
	_, err = io.WriteString(c, "GET /app/socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer "+token+"\r\n\r\n")
	do(t, err)
	in := bufio.NewReader(c)
	a, err := http.ReadResponse(in, nil)
	do(t, err)
	defer func() { _ = a.Body.Close() }()
	if a.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", a.StatusCode)
	}
	for _, silence := range []time.Duration{0, *silence} {
		time.Sleep(silence)
		_, err := io.WriteString(c, "ping\n")
		do(t, err)
		if line, err := in.ReadString('\n'); line != "ping\n" {
			t.Fatalf("after %v: %q, %v", silence, line, err)
		}
	}
}

const events = 11

// serveEvents sends the moments at which it does so (server-sent events).
func serveEvents(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	for range events {
		_, _ = fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixMicro())
		_ = http.NewResponseController(w).Flush()
		time.Sleep(20 * time.Millisecond)
	}
}

// expectEvents reads events through the proxy: half of them within 50 ms.
func expectEvents(t *testing.T, token string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+proxyAddress+"/app/events", nil)
	do(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := http.DefaultClient.Do(r)
	do(t, err)
	defer func() { _ = a.Body.Close() }()
	var late []time.Duration
	for lines := bufio.NewScanner(a.Body); lines.Scan(); {
		if sent, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			at, err := strconv.ParseInt(sent, 10, 64)
			do(t, err)
			late = append(late, time.Since(time.UnixMicro(at)))
		}
	}
	slices.Sort(late)
	if len(late) != events || late[events/2] > 50*time.Millisecond {
		t.Errorf("%d events of %d, %v late", len(late), events, late)
	}
}
