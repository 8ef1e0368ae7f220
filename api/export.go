package api

import (
	"fmt"
	"time"

	"tokend/api/wire"
	"tokend/kv"
)

// export streams all tokens, one on each line, with their values where that is
// asked for.
func (s *Server) export(r *request) (reply, error) {
	withValues := false
	switch r.query.Get("values") {
	case "", "false":
	case "true":
		withValues = true
		r.audited.action = "values"
	default:
		return reply{}, invalidQuery("values", "must be true or false")
	}
	snapshot, err := s.store.Snapshot()
	if err != nil {
		return reply{}, fmt.Errorf("export: %w", err)
	}
	now := s.now()
	views := func(yield func(any, error) bool) {
		for token, err := range snapshot.WithValues() {
			if !yield(exportView(token, withValues, now), err) {
				return
			}
		}
	}
	return reply{stream: s.newStream(r, snapshot, views, form{kind: wire.JSONLines, after: "\n"})}, nil
}

func exportView(t kv.Created, withValues bool, now time.Time) any {
	view := viewOf(t.Token, now)
	if withValues {
		return wire.TokenWithValue{Token: view, Value: t.Value.Reveal()}
	}
	return view
}
