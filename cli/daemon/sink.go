package daemon

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// sink is a writer of whole lines that nobody has to wait for: a line that cannot
// be written in time is an error, and while it is stuck, so are the next ones at
// once. Whoever reads a log, or does not, must not hold up the service.
type sink struct {
	lines chan line
	since atomic.Int64 // when the line that is being written was begun, by uptime; 0: none is
}

var started = time.Now()

// uptime is a clock that nobody sets.
func uptime() time.Duration { return time.Since(started) }

type line struct {
	text    []byte
	written chan error // has room for one
}

// sinkPatience is how long a line may take.
const sinkPatience = time.Second

var errSinkStuck = errors.New("log writer blocked")

// NewSink gives a writer of whole lines before another writer.
func NewSink(w io.Writer) io.Writer { return newSink(w) }

func newSink(w io.Writer) *sink {
	s := &sink{lines: make(chan line)}
	go func() {
		for l := range s.lines {
			s.since.Store(int64(uptime()))
			_, err := w.Write(l.text)
			s.since.Store(0)
			l.written <- err
		}
	}()
	return s
}

func (s *sink) Write(p []byte) (int, error) {
	if since := s.since.Load(); since != 0 && uptime()-time.Duration(since) > sinkPatience {
		return 0, errSinkStuck
	}
	l := line{append([]byte(nil), p...), make(chan error, 1)}
	patience := time.NewTimer(sinkPatience)
	defer patience.Stop()
	select {
	case s.lines <- l:
	case <-patience.C:
		return 0, errSinkStuck
	}
	select {
	case err := <-l.written:
		return len(p), err
	case <-patience.C:
		return 0, errSinkStuck
	}
}
