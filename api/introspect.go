package api

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"tokend/api/wire"
	"tokend/kv"
)

// authorizeIntrospector lets pass any admin and any good token, presented as
// Bearer, or as OAuth clients do (RFC 6749, section 2.3.1): as the password of Basic, or as
// client_secret in the form.
func (s *Server) authorizeIntrospector(r *request) error {
	scheme, credential, ok := splitAuthorization(r.authorization.value)
	switch {
	case r.authorization.count > 1:
		return kv.ErrInvalidToken
	case scheme == bearer && ok:
		return s.authenticate(r, credential)
	case scheme == bearer:
		return kv.ErrInvalidToken
	case scheme == basic:
		return s.authenticateBasic(r, credential)
	case scheme == otherScheme:
		return errNoCaller
	}
	if err := r.readBody(maxBodyBytes); err != nil {
		return err
	}
	secret, count := secretInForm(r.body)
	switch {
	case count > 1:
		return errTwoSecrets
	case count == 1:
		return s.authenticate(r, secret)
	case s.authorizePeer(r) == nil:
		return nil
	}
	return errNoCaller
}

// authenticate finds out who asks.
func (s *Server) authenticate(r *request, credential []byte) error {
	if admin, ok := s.findAdmin(credential); ok {
		r.admin = admin
		return nil
	}
	return s.verifyFor(credential, read)
}

func (s *Server) authenticateBasic(r *request, encoded []byte) error {
	userinfo, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil {
		return errBasic
	}
	_, password, _ := strings.Cut(string(userinfo), ":")
	err = s.authenticate(r, []byte(password))
	if !errors.Is(err, kv.ErrInvalidToken) {
		return err
	}
	// OAuth clients encode it as in a form (RFC 6749, section 2.3.1), others do not.
	if decoded, decodeErr := url.QueryUnescape(password); decodeErr == nil && decoded != password {
		err = s.authenticate(r, []byte(decoded))
	}
	if errors.Is(err, kv.ErrInvalidToken) {
		return errBasic
	}
	return err
}

// introspect tells a resource server about a token that was presented to it.
func (s *Server) introspect(r *request) (reply, error) {
	if _, count := secretInForm(r.body); count > 0 && r.authorization.count > 0 {
		return reply{}, errTwoSecrets
	}
	token, err := tokenInForm(r.body)
	if err != nil {
		return reply{}, err
	}
	grant, err := s.store.Verify(token)
	r.recordVerdict(err)
	if errors.Is(err, kv.ErrInvalidToken) {
		return reply{plain: wire.Introspection{}}, nil
	}
	if err != nil {
		return reply{}, err
	}
	view := wire.Introspection{
		Active:    true,
		Scope:     scopeOf(&grant),
		ClientID:  grant.Name,
		Subject:   grant.Name,
		Username:  grant.Name,
		TokenType: "Bearer",
		IssuedAt:  grant.ValueMade.Unix(),
	}
	switch {
	case !grant.GraceEnds.IsZero(): // never after the expiry
		view.ExpiresAt = grant.GraceEnds.Unix()
	case grant.Expires:
		view.ExpiresAt = grant.ExpirationDate.Unix()
	}
	return reply{plain: view}, nil
}

// scopeOf is what a grant permits, as OAuth writes it (RFC 6749, section 3.3).
func scopeOf(g *kv.Grant) string {
	var scopes []string
	for _, s := range []struct {
		name string
		need need
	}{{"read", read}, {"write", write}} {
		if permits(g, s.need) {
			scopes = append(scopes, s.name)
		}
	}
	return strings.Join(scopes, " ")
}

func tokenInForm(body []byte) ([]byte, error) {
	form, err := url.ParseQuery(string(body))
	if tokens := form["token"]; err == nil && len(tokens) == 1 && tokens[0] != "" {
		return []byte(tokens[0]), nil
	}
	return nil, invalidField(wire.CodeInvalidRequest, "token", "must be in the body exactly once, as in a form: token=<value> (application/x-www-form-urlencoded)")
}

// secretInForm is the caller's own token, and how many there are that are not empty.
func secretInForm(body []byte) (secret []byte, count int) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, 0
	}
	for _, given := range form["client_secret"] {
		if given != "" {
			secret = []byte(given)
			count++
		}
	}
	return secret, count
}
