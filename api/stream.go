package api

import (
	"fmt"
	"io"
	"iter"
	"runtime/debug"

	"github.com/go-json-experiment/json"

	"tokend/kv"
)

// stream is a body that encodes a snapshot piece by piece as the client reads. A
// failure in the middle is an error of Read, which makes fasthttp break the
// connection off before the last chunk.
type stream struct {
	server    *Server
	requestID string
	snapshot  *kv.Snapshot
	leave     func()                // the request's place
	views     iter.Seq2[any, error] // what it shows; may be read again
	form      form

	next   func() (any, error, bool)
	stop   func()
	buffer []byte // used again for each piece
	unread []byte // of the buffer
	began  bool
	ended  bool
}

// form is what stands around the views of a stream.
type form struct {
	kind      string // the content type
	isEncoded bool   // the views are the bytes to be sent

	open    string
	between string
	after   string        // each
	end     func() string // asked when all were shown; nil: nothing
	sent    func()        // called when all was sent; nil: nobody wants to know
}

const streamPiece = 4 << 10 // what fasthttp reads at once

func (s *Server) newStream(r *request, snapshot *kv.Snapshot, views iter.Seq2[any, error], form form) *stream {
	l := &stream{server: s, requestID: string(r.id), snapshot: snapshot, leave: r.leave, views: views, form: form}
	r.leave = nil
	l.rewind()
	return l
}

func (l *stream) rewind() {
	l.next, l.stop = iter.Pull2(l.views)
	l.unread, l.began, l.ended = nil, false, false
}

// Close lets go of the snapshot.
func (l *stream) Close() error {
	l.stop()
	l.snapshot.Close()
	if l.leave != nil {
		l.leave()
		l.leave = nil
	}
	return nil
}

// CloseWithError implements fasthttp.ReadCloserWithError. It is called after Close,
// with what kept the body from being written.
func (l *stream) CloseWithError(err error) error {
	if err == nil && l.ended && len(l.unread) == 0 && l.form.sent != nil {
		l.form.sent()
	}
	return nil
}

// Length encodes the whole body once to count it, for a client that cannot read
// chunks. The stream is at its beginning again afterwards.
func (l *stream) Length() (int, error) {
	n, err := io.Copy(io.Discard, struct{ io.Reader }{l})
	if err != nil {
		return 0, err
	}
	l.stop()
	l.rewind()
	return int(n), nil
}

// Read implements io.Reader.
func (l *stream) Read(p []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			l.server.log.Error("panic in a stream", "request_id", l.requestID, "panic", v, "stack", string(debug.Stack()))
			n, err = 0, fmt.Errorf("panic in a stream: %v", v)
		}
	}()
	if len(l.unread) == 0 && !l.ended {
		l.server.withCPUSlot(func() { err = l.fill() })
		if err != nil {
			l.server.log.Error("a stream broke off", "request_id", l.requestID, "err", err)
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

// fill encodes the next views.
func (l *stream) fill() error {
	l.buffer = l.buffer[:0]
	defer func() { l.unread = l.buffer }()
	between := l.form.between
	if !l.began {
		l.buffer = append(l.buffer, l.form.open...)
		between, l.began = "", true
	}
	for len(l.buffer) < streamPiece {
		view, err, more := l.next()
		if err != nil {
			return err
		}
		if !more {
			if l.form.end != nil {
				l.buffer = append(l.buffer, l.form.end()...)
			}
			l.ended = true
			return nil
		}
		encoded, err := l.form.encode(view)
		if err != nil {
			return err
		}
		l.buffer = append(l.buffer, between...)
		l.buffer = append(append(l.buffer, encoded...), l.form.after...)
		between = l.form.between
	}
	return nil
}

func (f *form) encode(view any) ([]byte, error) {
	if f.isEncoded {
		return view.([]byte), nil
	}
	return json.Marshal(view)
}

// pieces is what a function writes, piece by piece. What it writes is good until the next.
func pieces(write func(io.Writer) error) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		to := &pieceWriter{yield: yield}
		if err := write(to); err != nil && !to.stopped {
			yield(nil, err)
		}
	}
}

type pieceWriter struct {
	yield   func(any, error) bool
	stopped bool // nobody reads on
}

func (w *pieceWriter) Write(piece []byte) (int, error) {
	if w.stopped = !w.yield(piece, nil); w.stopped {
		return 0, io.ErrClosedPipe
	}
	return len(piece), nil
}
