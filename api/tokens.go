package api

import (
	"time"

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
	*GraceView
}

// GraceView is there while the value before the last rotation is good too.
type GraceView struct {
	PreviousValidUntil int64  `json:"previous_valid_until"`
	PreviousLastUsedAt *int64 `json:"previous_last_used_at"`
}

// createdView is a token with its value.
type createdView struct {
	tokenView
	Value string `json:"token"`
}

// rotatedView is a token with its new value. It always tells how long the old one
// is good, null where it is not.
type rotatedView struct {
	createdView
	PreviousValidUntil *int64 `json:"previous_valid_until"`
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
	v.LastUsedAt = orNull(t.LastUsedAt)
	if t.InGrace(now) {
		v.GraceView = &GraceView{t.PreviousValidUntil.UnixMilli(), orNull(t.PreviousLastUsedAt)}
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
	spec.ExpiresAt, err = expiry(b.ExpirationDate)
	return spec, err
}

// expiry is zero where none is given.
func expiry(ms *wholeNumber) (time.Time, error) {
	if ms == nil {
		return time.Time{}, nil
	}
	if *ms < 0 { // one of these would be Go's zero time, which is none
		return time.Time{}, invalidExpiration("is before 1970")
	}
	return time.UnixMilli(int64(*ms)), nil
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
	return reply{data: createdView{viewOf(token, s.Now()), value.Reveal()}}, nil
}

func (s *Server) replaceToken(r *request) (reply, error) {
	spec, err := r.spec()
	if err != nil {
		return reply{}, err
	}
	token, err := s.Store.Replace(spec)
	return reply{data: viewOf(token, s.Now())}, err
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
	if err := decode(r.body, &body); err != nil {
		return reply{}, err
	}
	r.note(body.Name)
	name, err := requiredName(body.Name)
	if err != nil {
		return reply{}, err
	}
	patch := kv.Patch{Active: change(body.Active), Write: change(body.Write)}
	if body.ExpirationDate.given {
		at, err := expiry(body.ExpirationDate.value)
		if err != nil {
			return reply{}, err
		}
		patch.ExpiresAt = &at
	}
	if patch == (kv.Patch{}) {
		return reply{}, errNothingToChange
	}
	token, err := s.Store.Update(name, patch)
	return reply{data: viewOf(token, s.Now())}, err
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
	if err := decode(r.body, &body); err != nil {
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
	token, value, err := s.Store.Rotate(name, grace)
	return reply{data: rotatedView{
		createdView:        createdView{viewOf(token, s.Now()), value.Reveal()},
		PreviousValidUntil: orNull(token.PreviousValidUntil),
	}}, err
}

func (r *request) spec() (kv.Spec, error) {
	var body tokenBody
	if err := decode(r.body, &body); err != nil {
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
	token, err := s.Store.Delete(name)
	return reply{data: viewOf(token, s.Now())}, err
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
	if err := decode(r.body, &body); err != nil {
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
	value, err := s.Store.Value(name)
	return reply{data: valueView{name, value.Reveal()}}, err
}
