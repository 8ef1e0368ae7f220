package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"tokend/kv"
)

// Audit is where management calls are recorded. Each is a record with who asks,
// from where, for what, for which token, with what outcome, under which request
// id. Its handler must be safe for concurrent use; what it fails with keeps no
// verification from being answered.
type Audit struct {
	Handler  slog.Handler // nil: nothing is recorded
	Required bool         // no management call is carried out that cannot be recorded
}

// A record stays short enough for what carries logs: a call that touched more
// tokens has several.
const (
	maxAuditedNames = 100
	maxAuditedBytes = 16 << 10 // of names; journald cuts lines at 48 KiB
)

// audited is what is to be recorded of a management call.
type audited struct {
	action  string   // what a bulk does, what an export holds
	name    string   // of the one token that it is about
	names   []string // of those that it changed
	filter  string   // what it chose them by
	refused int      // lines of an import
	begun   bool     // the answer is a stream, which may end early
}

// announce records a management call before it is carried out, where a call that
// cannot be recorded must not be.
func (s *Server) announce(r *request, rt *route) error {
	audit := s.settings.Load().Audit
	if rt.operation == "" || !audit.Required || audit.Handler == nil {
		return nil
	}
	if err := s.record(audit, r, rt, slog.String("outcome", "asked")); err != nil {
		return errAuditUnavailable
	}
	return nil
}

// audit records what became of a management call.
func (s *Server) audit(r *request, rt *route) {
	audit := s.settings.Load().Audit
	if rt.operation == "" || audit.Handler == nil {
		return
	}
	status := slog.Int("status", r.ctx.Response.StatusCode())
	outcome := slog.String("outcome", r.outcome())
	skipped := 0
	if r.who() == "" {
		var ok bool
		if ok, skipped = s.anonymousLimiter.admit(r.receivedAt); !ok {
			return
		}
	}
	names := r.audited.names
	for first := true; first || len(names) > 0; first = false {
		attrs := []slog.Attr{outcome, status}
		for _, a := range []slog.Attr{
			slog.String("action", r.audited.action),
			slog.String("name", s.hide(r.audited.name)),
			slog.String("filter", r.audited.filter),
		} {
			if a.Value.String() != "" {
				attrs = append(attrs, a)
			}
		}
		if skipped > 0 {
			attrs = append(attrs, slog.Int("skipped_before", skipped))
		}
		if len(names) > 0 {
			piece := names[:fitting(names)]
			names = names[len(piece):]
			attrs = append(attrs, slog.String("names", quoted(s.hideNames(piece, r.failed != ""))))
		}
		if r.audited.refused > 0 {
			attrs = append(attrs, slog.Int("refused", r.audited.refused))
		}
		_ = s.record(audit, r, rt, attrs...) // which has told
	}
}

// record writes a record about a request. The time is the machine's.
func (s *Server) record(audit Audit, r *request, rt *route, attrs ...slog.Attr) error {
	record := slog.NewRecord(r.receivedAt, slog.LevelInfo, "audit", 0)
	record.AddAttrs(
		slog.String("who", r.who()),
		slog.String("from", r.from()),
		slog.String("operation", rt.operation))
	record.AddAttrs(attrs...)
	record.AddAttrs(slog.String("request_id", string(r.id)))
	err := audit.Handler.Handle(context.Background(), record)
	if err != nil {
		s.metrics.AuditFailures.Inc()
		s.log.Error("cannot record a management call", "operation", rt.operation, "request_id", string(r.id), "err", err)
	}
	return err
}

// fitting is how many of the names fit a record.
func fitting(names []string) (n int) {
	size := 0
	for n < min(len(names), maxAuditedNames) && size < maxAuditedBytes {
		size += len(names[n])
		n++
	}
	return n
}

// who is the caller: an administrator, or the token that it presented, or nobody
// who is known.
func (r *request) who() string {
	switch {
	case r.admin.Local:
		return "local:" + r.admin.Name
	case r.admin.Name != "":
		return "admin:" + r.admin.Name
	case r.holder != "":
		return "token:" + r.holder
	}
	return ""
}

// quoted is names as a JSON array.
func quoted(names []string) string {
	encoded, err := json.Marshal(names)
	if err != nil {
		panic(err) // names are UTF-8
	}
	return string(encoded)
}

// note keeps the name of the token that a request is about, if it is one.
func (r *request) note(name *string) {
	if name != nil && kv.CheckName(*name) == nil {
		r.audited.name = *name
	}
}

// anonymousLimiter bounds the records of callers that nobody knows: in their crowd the
// others must not be lost.
type anonymousLimiter struct {
	mu      sync.Mutex
	second  int64
	seen    int // in that second
	skipped int // since the last record
}

const maxStrangers = 20 // a second

// admit reports whether a record may be written now, and how many were not since
// the last one.
func (s *anonymousLimiter) admit(now time.Time) (ok bool, skipped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if second := now.Unix(); second > s.second || second < s.second-1 {
		s.second, s.seen = second, 0
	}
	if s.seen++; s.seen > maxStrangers {
		s.skipped++
		return false, 0
	}
	skipped, s.skipped = s.skipped, 0
	return true, skipped
}
