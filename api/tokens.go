package api

import (
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"tokend/kv"
)

// tokenView is a token as it is shown.
type tokenView struct {
	Name           string    `json:"name"`
	Active         bool      `json:"active"`
	Write          bool      `json:"write"`
	Status         kv.Status `json:"status"`
	Expires        bool      `json:"expires"`
	ExpirationDate int64     `json:"expiration_date"`
	CreatedAt      int64     `json:"created_at"`
	UpdatedAt      int64     `json:"updated_at"`
	LastUsedAt     *int64    `json:"last_used_at"`
}

// createdView is a token with its value.
type createdView struct {
	tokenView
	Value string `json:"token"`
}

type valueView struct {
	Name  string `json:"name"`
	Value string `json:"token"`
}

func viewOf(t kv.Token, now time.Time) tokenView {
	v := tokenView{
		Name:           t.Name,
		Active:         t.Active,
		Write:          t.Write,
		Status:         t.Status(now),
		Expires:        t.Expires(),
		ExpirationDate: t.ExpirationDate().UnixMilli(),
		CreatedAt:      t.CreatedAt.UnixMilli(),
		UpdatedAt:      t.UpdatedAt.UnixMilli(),
	}
	if !t.LastUsedAt.IsZero() {
		used := t.LastUsedAt.UnixMilli()
		v.LastUsedAt = &used
	}
	return v
}

// tokenBody is what a client decides about a token.
type tokenBody struct {
	Name           *string      `json:"name"`
	ExpirationDate *wholeNumber `json:"expiration_date"`
	Active         *bool        `json:"active"`
	Write          *bool        `json:"write"`
}

// spec puts the documented defaults in the place of what was left out.
func (b tokenBody) spec() (kv.Spec, error) {
	name, err := requiredName(b.Name)
	if err != nil {
		return kv.Spec{}, err
	}
	spec := kv.Spec{Name: name, Active: true, Write: true}
	if b.Active != nil {
		spec.Active = *b.Active
	}
	if b.Write != nil {
		spec.Write = *b.Write
	}
	if b.ExpirationDate != nil {
		if *b.ExpirationDate < 0 { // one of these would be Go's zero time, which is none
			return kv.Spec{}, invalidExpiration("is before 1970")
		}
		spec.ExpiresAt = time.UnixMilli(int64(*b.ExpirationDate))
	}
	return spec, nil
}

func requiredName(name *string) (string, error) {
	if name == nil {
		return "", invalidName("is required")
	}
	return *name, kv.CheckName(*name)
}

func (s *Server) createToken(r *request) (reply, error) {
	spec, err := r.spec()
	if err != nil {
		return reply{}, err
	}
	token, value, err := s.Store.Create(spec)
	if err != nil {
		return reply{}, err
	}
	return reply{status: fasthttp.StatusCreated, data: createdView{viewOf(token, s.Now()), value.Reveal()}}, nil
}

func (s *Server) replaceToken(r *request) (reply, error) {
	spec, err := r.spec()
	if err != nil {
		return reply{}, err
	}
	token, err := s.Store.Replace(spec)
	return reply{data: viewOf(token, s.Now())}, err
}

func (r *request) spec() (kv.Spec, error) {
	var body tokenBody
	if err := decode(r.body, &body); err != nil {
		return kv.Spec{}, err
	}
	return body.spec()
}

func (s *Server) deleteToken(r *request) (reply, error) {
	name, err := r.nameInBodyOrQuery()
	if err != nil {
		return reply{}, err
	}
	token, err := s.Store.Delete(name)
	return reply{data: viewOf(token, s.Now())}, err
}

// nameInBodyOrQuery serves clients that cannot send a body with DELETE.
func (r *request) nameInBodyOrQuery() (string, error) {
	inQuery := r.name()
	if len(r.body) == 0 {
		return requiredName(inQuery)
	}
	var body struct {
		Name *string `json:"name"`
	}
	if err := decode(r.body, &body); err != nil {
		return "", err
	}
	if inQuery != nil && (body.Name == nil || *body.Name != *inQuery) {
		return "", invalidName("is not the same in the body and in the query")
	}
	return requiredName(body.Name)
}

func (s *Server) tokenValue(r *request) (reply, error) {
	name, err := requiredName(r.name())
	if err != nil {
		return reply{}, err
	}
	value, err := s.Store.Value(name)
	return reply{data: valueView{name, value.Reveal()}}, err
}

// listTokens gives one token by its name, or streams all of them.
func (s *Server) listTokens(r *request) (reply, error) {
	if r.name() == nil {
		return s.list(r)
	}
	name, err := requiredName(r.name())
	if err != nil {
		return reply{}, err
	}
	token, err := s.Store.Get(name)
	return reply{data: viewOf(token, s.Now())}, err
}

func (s *Server) list(r *request) (reply, error) {
	snapshot, err := s.Store.Snapshot()
	if err != nil {
		return reply{}, fmt.Errorf("list: %w", err)
	}
	return reply{stream: s.newList(r, snapshot)}, nil
}
