package api

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"tokend/api/wire"
	"tokend/kv"
)

// listParams are the parameters of a list.
var listParams = []string{"name", "prefix", "status", "expires_before", "unused_since", "limit", "after"}

// listTokens gives one token by its name, or streams those that are asked for.
func (s *Server) listTokens(r *request) (reply, error) {
	if r.name() == nil {
		return s.list(r)
	}
	r.note(r.name())
	name, err := requiredName(r.name())
	if err != nil {
		return reply{}, err
	}
	if len(r.query) > 1 {
		return reply{}, invalidQuery("name", "excludes other parameters; it means one token")
	}
	token, err := s.store.Get(name)
	return reply{data: viewOf(token, s.now())}, err
}

// listQuery is what a list is asked for.
type listQuery struct {
	kv.Filter
	limit int // 0: none
	after string
}

const maxPage = 1000 // tokens

func (r *request) listQuery() (q listQuery, err error) {
	for _, param := range []struct {
		name  string
		parse func(text string) (wrong string)
	}{
		{"prefix", func(text string) string { q.Prefix = text; return checkPartOfName(text) }},
		{"after", func(text string) string { q.after = text; return checkPartOfName(text) }},
		{"status", func(text string) string { q.Status = kv.Status(text); return checkStatus(q.Status) }},
		{"expires_before", func(text string) string { return parseMoment(text, &q.ExpiresBefore) }},
		{"unused_since", func(text string) string { return parseMoment(text, &q.UnusedSince) }},
		{"limit", func(text string) string { return parseLimit(text, &q.limit) }},
	} {
		if text := r.query.Get(param.name); text != "" {
			if wrong := param.parse(text); wrong != "" {
				return listQuery{}, invalidQuery(param.name, wrong)
			}
		}
	}
	return q, nil
}

// list streams the tokens that are asked for. Their statuses are all of the same
// moment.
func (s *Server) list(r *request) (reply, error) {
	query, err := r.listQuery()
	if err != nil {
		return reply{}, err
	}
	r.audited.filter = s.hideQuery(r.query)
	snapshot, err := s.store.Snapshot()
	if err != nil {
		return reply{}, fmt.Errorf("list: %w", err)
	}
	now := s.now()
	next := "" // the last name of the page, where there is more
	views := func(yield func(any, error) bool) {
		shown, last := 0, ""
		next = ""
		for token, err := range snapshot.Tokens(query.Filter, query.after, now) {
			if err == nil && query.limit > 0 && shown == query.limit {
				next = last
				return
			}
			if !yield(viewOf(token, now), err) || err != nil {
				return
			}
			shown++
			last = token.Name
		}
	}
	return reply{stream: s.newStream(r, snapshot, views, form{
		kind: wire.JSON, open: `{"data":[`, between: ",",
		end: func() string {
			if next == "" {
				return "]}\n"
			}
			quoted, err := jsontext.AppendQuote(nil, next)
			if err != nil {
				panic(err) // names are UTF-8
			}
			return `],"next":` + string(quoted) + "}\n"
		},
	})}, nil
}
