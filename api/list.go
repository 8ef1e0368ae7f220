package api

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

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
		return reply{}, invalidQuery("name", "stands alone; it means one token")
	}
	token, err := s.Store.Get(name)
	return reply{data: viewOf(token, s.Now())}, err
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

// checkPartOfName says what is wrong with what a name is to begin with.
func checkPartOfName(text string) (wrong string) {
	switch {
	case !utf8.ValidString(text):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(text) > kv.MaxNameLength:
		return fmt.Sprintf("has more than the %d characters of the longest name", kv.MaxNameLength)
	}
	return ""
}

func checkStatus(status kv.Status) (wrong string) {
	switch status {
	case kv.StatusActive, kv.StatusInactive, kv.StatusExpired:
		return ""
	}
	return "must be active, inactive or expired"
}

func parseMoment(text string, into *time.Time) (wrong string) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text[0] == '+' {
		ms = -1
	}
	return takeMoment(ms, into)
}

func takeMoment(ms int64, into *time.Time) (wrong string) {
	if ms < 0 || ms > kv.MaxExpiration.UnixMilli() {
		return "must be a whole number of milliseconds since 1970, before the year 10000"
	}
	*into = time.UnixMilli(ms)
	return ""
}

func parseLimit(text string, into *int) (wrong string) {
	limit, err := strconv.ParseUint(text, 10, 16)
	if err != nil || limit < 1 || limit > maxPage {
		return fmt.Sprintf("must be a number from 1 to %d", maxPage)
	}
	*into = int(limit)
	return ""
}

// list streams the tokens that are asked for. Their statuses are all of the same
// moment.
func (s *Server) list(r *request) (reply, error) {
	query, err := r.listQuery()
	if err != nil {
		return reply{}, err
	}
	r.audited.filter = s.hideQuery(r.query)
	snapshot, err := s.Store.Snapshot()
	if err != nil {
		return reply{}, fmt.Errorf("list: %w", err)
	}
	now := s.Now()
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
		kind: jsonType, open: `{"data":[`, between: ",",
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
