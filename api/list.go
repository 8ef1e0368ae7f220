package api

import (
	"fmt"
	"io"
	"iter"
	"runtime/debug"
	"time"

	"github.com/go-json-experiment/json"

	"tokend/kv"
)

// list is the body of a list: it encodes a snapshot piece by piece as the
// client reads. A failure in the middle is an error of Read, which makes
// fasthttp break the connection off before the last chunk.
type list struct {
	server    *Server
	requestID string
	snapshot  *kv.Snapshot
	now       time.Time // the same for the whole list

	next   func() (kv.Token, error, bool)
	stop   func()
	buffer []byte // used again for each piece
	unread []byte // of the buffer
	began  bool
	ended  bool
}

const listPiece = 4 << 10 // what fasthttp reads at once

func (s *Server) newList(r *request, snapshot *kv.Snapshot) *list {
	l := &list{server: s, requestID: string(r.id), snapshot: snapshot, now: s.Now()}
	l.rewind()
	return l
}

func (l *list) rewind() {
	l.next, l.stop = iter.Pull2(l.snapshot.Tokens())
	l.unread, l.began, l.ended = nil, false, false
}

// Close lets go of the snapshot.
func (l *list) Close() error {
	l.stop()
	l.snapshot.Close()
	return nil
}

// Length encodes the whole list once to count it, for a client that cannot read
// chunks. The list is at its beginning again afterwards.
func (l *list) Length() (int, error) {
	n, err := io.Copy(io.Discard, struct{ io.Reader }{l})
	if err != nil {
		return 0, err
	}
	l.stop()
	l.rewind()
	return int(n), nil
}

// Read implements io.Reader.
func (l *list) Read(p []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			l.server.Log.Error("panic in a list", "request_id", l.requestID, "panic", v, "stack", string(debug.Stack()))
			n, err = 0, fmt.Errorf("panic in a list: %v", v)
		}
	}()
	if len(l.unread) == 0 && !l.ended {
		if err := l.fill(); err != nil {
			l.server.Log.Error("a list broke off", "request_id", l.requestID, "err", err)
			return 0, err
		}
	}
	if len(l.unread) == 0 {
		return 0, io.EOF
	}
	n = copy(p, l.unread)
	l.unread = l.unread[n:]
	return n, nil
}

// fill encodes the next tokens.
func (l *list) fill() error {
	l.buffer = l.buffer[:0]
	defer func() { l.unread = l.buffer }()
	separator := ","
	if !l.began {
		separator, l.began = `{"data":[`, true
	}
	for len(l.buffer) < listPiece {
		token, err, more := l.next()
		if err != nil {
			return err
		}
		if !more {
			if separator != "," {
				l.buffer = append(l.buffer, separator...)
			}
			l.buffer = append(l.buffer, "]}\n"...)
			l.ended = true
			return nil
		}
		encoded, err := json.Marshal(viewOf(token, l.now))
		if err != nil {
			return err
		}
		l.buffer = append(append(l.buffer, separator...), encoded...)
		separator = ","
	}
	return nil
}
