package api

import (
	"time"

	"tokend/api/wire"
	"tokend/kv"
)

func viewOf(t kv.Token, now time.Time) wire.Token {
	v := wire.Token{
		Name:           t.Name,
		Active:         t.Active,
		Write:          t.Write,
		Status:         string(t.Status(now)),
		Expires:        t.Expires(),
		ExpirationDate: t.ExpirationDate().UnixMilli(),
		CreatedAt:      t.CreatedAt.UnixMilli(),
		UpdatedAt:      t.UpdatedAt.UnixMilli(),
		LastUsedAt:     orNull(t.LastUsedAt),
	}
	if t.InGrace(now) {
		v.Grace = &wire.Grace{PreviousValidUntil: t.PreviousValidUntil.UnixMilli(), PreviousLastUsedAt: orNull(t.PreviousLastUsedAt)}
	}
	return v
}

func orNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
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
	spec.ExpiresAt = expiry(b.ExpirationDate)
	return spec, nil
}

// expiry is zero where none is given.
func expiry(ms *wholeNumber) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(max(int64(*ms), -1)) // one before would be Go's zero time, which is none
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
	token, value, err := s.store.Create(detached, spec)
	if err != nil {
		return reply{}, err
	}
	return reply{data: wire.TokenWithValue{Token: viewOf(token, s.now()), Value: value.Reveal()}}, nil
}

func (s *Server) replaceToken(r *request) (reply, error) {
	spec, err := r.spec()
	if err != nil {
		return reply{}, err
	}
	token, err := s.store.Replace(detached, spec)
	return reply{data: viewOf(token, s.now())}, err
}

// patchBody is what a client changes about a token (RFC 7396): null is the
// documented default, what is left out stays.
type patchBody struct {
	Name           *string             `json:"name"`
	ExpirationDate member[wholeNumber] `json:"expiration_date"`
	Active         member[bool]        `json:"active"`
	Write          member[bool]        `json:"write"`
}

func (s *Server) updateToken(r *request) (reply, error) {
	var body patchBody
	if err := r.decode(&body); err != nil {
		return reply{}, err
	}
	r.note(body.Name)
	name, err := requiredName(body.Name)
	if err != nil {
		return reply{}, err
	}
	patch := kv.Patch{Active: change(body.Active), Write: change(body.Write)}
	if body.ExpirationDate.given {
		at := expiry(body.ExpirationDate.value)
		patch.ExpiresAt = &at
	}
	if patch == (kv.Patch{}) {
		return reply{}, errNothingToChange
	}
	token, err := s.store.Update(detached, name, patch)
	return reply{data: viewOf(token, s.now())}, err
}

// change is what a switch becomes, or nil where it stays.
func change(m member[bool]) *bool {
	if m.given && m.value == nil {
		byDefault := true
		return &byDefault
	}
	return m.value
}

func (s *Server) rotateToken(r *request) (reply, error) {
	var body struct {
		Name    *string      `json:"name"`
		GraceMS *wholeNumber `json:"grace_ms"`
	}
	if err := r.decode(&body); err != nil {
		return reply{}, err
	}
	r.note(body.Name)
	name, err := requiredName(body.Name)
	if err != nil {
		return reply{}, err
	}
	var grace time.Duration
	if body.GraceMS != nil { // what does not fit is as wrong as its nearest neighbour that does
		ms := min(max(int64(*body.GraceMS), -1), kv.MaxGrace.Milliseconds()+1)
		grace = time.Duration(ms) * time.Millisecond
	}
	token, value, err := s.store.Rotate(detached, name, grace)
	return reply{data: wire.Rotated{
		TokenWithValue:     wire.TokenWithValue{Token: viewOf(token, s.now()), Value: value.Reveal()},
		PreviousValidUntil: orNull(token.PreviousValidUntil),
	}}, err
}

func (r *request) spec() (kv.Spec, error) {
	var body tokenBody
	if err := r.decode(&body); err != nil {
		return kv.Spec{}, err
	}
	r.note(body.Name)
	return body.spec()
}

func (s *Server) deleteToken(r *request) (reply, error) {
	name, err := r.nameInBodyOrQuery()
	if err != nil {
		return reply{}, err
	}
	token, err := s.store.Delete(detached, name)
	return reply{data: viewOf(token, s.now())}, err
}

// nameInBodyOrQuery serves clients that cannot send a body with DELETE.
func (r *request) nameInBodyOrQuery() (string, error) {
	inQuery := r.name()
	r.note(inQuery)
	if len(r.body) == 0 {
		return requiredName(inQuery)
	}
	var body struct {
		Name *string `json:"name"`
	}
	if err := r.decode(&body); err != nil {
		return "", err
	}
	r.note(body.Name)
	if inQuery != nil && (body.Name == nil || *body.Name != *inQuery) {
		return "", invalidName("is not the same in the body and in the query")
	}
	return requiredName(body.Name)
}

func (s *Server) tokenValue(r *request) (reply, error) {
	r.note(r.name())
	name, err := requiredName(r.name())
	if err != nil {
		return reply{}, err
	}
	value, err := s.store.Value(name)
	return reply{data: wire.Value{Name: name, Value: value.Reveal()}}, err
}
