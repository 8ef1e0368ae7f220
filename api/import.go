package api

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/go-json-experiment/json"

	"tokend/api/wire"
	"tokend/kv"
)

const (
	importBatch    = 500    // tokens that are made in one commit; so many always fit
	maxImportLines = 50_000 // of which each may have to be answered
)

// importBody is a line of an import: what can be decided about a token, its value
// if it has one already, and what an export says of it beside.
type importBody struct {
	tokenBody
	Value      *string      `json:"token"`
	Expires    *bool        `json:"expires"`
	CreatedAt  *wholeNumber `json:"created_at"`
	UpdatedAt  *wholeNumber `json:"updated_at"`
	LastUsedAt *wholeNumber `json:"last_used_at"`

	// Of an export, and nothing to import: a status follows from the rest, and an
	// old value is not in it.
	Status             *string      `json:"status"`
	PreviousValidUntil *wholeNumber `json:"previous_valid_until"`
	PreviousLastUsedAt *wholeNumber `json:"previous_last_used_at"`
}

// line is a line of an import.
type line struct {
	number int // from 1
	name   string
	token  kv.NewToken
	wrong  *problem // then token is none
}

// importTokens makes the tokens on the lines of the body, batch by batch, and
// answers with a line for each batch.
func (s *Server) importTokens(r *request) (reply, error) {
	body := bytes.TrimPrefix(r.body, []byte(byteOrderMark)) // as some editors begin a file
	if n := bytes.Count(body, []byte{'\n'}); n > maxImportLines {
		return reply{}, &problem{status: 400, code: wire.CodeTooMany, detail: fmt.Sprintf("there are %d lines; at most %d are allowed", n, maxImportLines)}
	}
	if form := formOf(body); form != "" {
		return reply{}, invalidBody("body", form)
	}
	var result bytes.Buffer
	for batch := range s.importBatches(body) {
		view, failure := s.importBatch(r, batch)
		if failure != nil && result.Len() == 0 {
			return reply{}, failure
		}
		if err := json.MarshalWrite(&result, view); err != nil {
			return reply{}, err
		}
		result.WriteByte('\n')
		if view.Error != nil {
			break
		}
	}
	return reply{kind: wire.JSONLines, text: result.String()}, nil
}

// importBatches are the lines of a body that are not blank, by the batch.
func (s *Server) importBatches(body []byte) iter.Seq[[]line] {
	return func(yield func([]line) bool) {
		var batch []line
		number := 0
		for text := range bytes.Lines(body) {
			number++
			if text = bytes.Trim(text, " \t\r\n"); len(text) > 0 { // what JSON has for white space
				s.withCPUSlot(func() { batch = append(batch, s.parseLine(number, text)) })
			}
			if len(batch) == importBatch {
				if !yield(batch) {
					return
				}
				batch = nil
			}
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

func (s *Server) parseLine(number int, text []byte) line {
	var body importBody
	l := line{number: number}
	err := decode(text, &body)
	if body.Name != nil && kv.CheckName(*body.Name) == nil {
		l.name = *body.Name
	}
	if err == nil {
		l.token, err = s.newToken(body)
	}
	if err != nil {
		l.wrong, _ = problemOf(err)
		l.token = kv.NewToken{}
	}
	return l
}

func (s *Server) newToken(b importBody) (n kv.NewToken, err error) {
	switch {
	case b.Expires != nil && !*b.Expires:
		b.ExpirationDate = nil // it is the time of the last change
	case b.Expires != nil && b.ExpirationDate == nil:
		return n, invalidExpiration("is required where expires is true")
	}
	if n.Spec, err = b.spec(); err != nil {
		return n, err
	}
	if b.Value != nil {
		if n.Value, err = kv.ParseValue(*b.Value); err != nil {
			return n, err
		}
		if _, isAdmin := s.findAdmin([]byte(*b.Value)); isAdmin {
			return n, invalidField(wire.CodeInvalidValue, "token", "is that of an administrator")
		}
	}
	for _, field := range []struct {
		name string
		ms   *wholeNumber
		into *time.Time
	}{
		{"created_at", b.CreatedAt, &n.CreatedAt},
		{"updated_at", b.UpdatedAt, &n.UpdatedAt},
		{"last_used_at", b.LastUsedAt, &n.LastUsedAt},
	} {
		if field.ms == nil {
			continue
		}
		if wrong := takeMoment(int64(*field.ms), field.into); wrong != "" {
			return n, invalidBody(field.name, wrong)
		}
	}
	return n, nil
}

// importBatch makes the tokens of a batch, or tells why none was made. An error
// ends the import.
func (s *Server) importBatch(r *request, lines []line) (wire.Batch, error) {
	view := wire.Batch{FirstLine: lines[0].number, LastLine: lines[len(lines)-1].number}
	tokens := make([]kv.NewToken, len(lines))
	for i, l := range lines {
		tokens[i] = l.token // of a wrong line it is none, which is refused too
	}
	_, err := s.store.CreateAll(detached, tokens)
	if refused, ok := errors.AsType[*kv.BatchError](err); ok {
		for _, refusal := range refused.Refusals {
			view.Refused = append(view.Refused, refusalOf(lines[refusal.Index], refusal))
		}
		r.audited.refused += len(view.Refused)
		return view, nil
	}
	if err != nil {
		p, known := problemOf(err)
		if !known {
			s.log.Error("an import stopped", "admin", r.admin.Name, "request_id", string(r.id), "err", err)
		}
		view.Error = &wire.Failure{Code: p.code, Detail: p.detail}
		return view, err
	}
	view.Created = len(tokens)
	for _, t := range tokens {
		r.audited.names = append(r.audited.names, t.Name)
	}
	return view, nil
}

func refusalOf(l line, refusal kv.Refusal) wire.Refusal {
	p := l.wrong
	if p == nil {
		p, _ = problemOf(refusal.Err)
	}
	view := wire.Refusal{Line: l.number, Name: l.name, Code: p.code, Field: p.field, Detail: p.detail}
	if errors.Is(refusal.Err, kv.ErrPast) && l.token.CreatedAt.IsZero() {
		view.Detail += "; with a created_at before it, the line makes an expired token"
	}
	if refusal.Same {
		view.Code = wire.CodeAlreadyThere
	}
	return view
}
