package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
)

// Admin is somebody who manages tokens, known by the hash of their own token.
type Admin struct {
	Name   string
	SHA256 [sha256.Size]byte
	Write  bool // false: may list, nothing else
	Local  bool // known by their user, on the socket for that
}

// authorize lets a request pass or says why not. On its way it notes who asks.
func (s *Server) authorize(r *request, rt *route) error {
	switch rt.access {
	case readAdmin, writeAdmin:
		return s.authorizeAdmin(r, rt.access)
	case introspector:
		return s.authorizeIntrospector(r)
	case holder:
		return s.authorizeHolder(r)
	case scraper:
		return s.authorizeScraper(r)
	case proxied:
		return s.authorizeProxied(r, rt.need(&r.ctx.Request.Header))
	case anyone:
	}
	return nil
}

func (s *Server) authorizeAdmin(r *request, need access) error {
	if r.authorization.count == 0 && !r.bareBearer {
		return s.authorizePeer(r)
	}
	scheme, credential, ok := splitAuthorization(r.authorization.value)
	switch {
	case r.authorization.count > 1, r.bareBearer, scheme == bearer && !ok:
		return errMalformed
	case scheme != bearer:
		return errUnauthorized
	}
	admin, ok := s.findAdmin(credential)
	if !ok {
		return s.refuseCredential(r, credential)
	}
	r.admin = admin
	if need == writeAdmin && !admin.Write {
		return errReadOnlyAdmin
	}
	return nil
}

// The schemes of an Authorization header that matter here.
type scheme int

const (
	noScheme scheme = iota // there is no header
	bearer                 // RFC 6750
	basic                  // RFC 7617
	otherScheme
)

// splitAuthorization takes an Authorization header apart. It is not ok where
// there is not exactly one credential after the scheme.
func splitAuthorization(header []byte) (s scheme, credential []byte, ok bool) {
	name, credential, _ := bytes.Cut(header, space)
	for len(credential) > 0 && credential[0] == ' ' {
		credential = credential[1:]
	}
	switch {
	case len(name) == 0:
		s = noScheme
	case bytes.EqualFold(name, bearerName):
		s = bearer
	case bytes.EqualFold(name, basicName):
		s = basic
	default:
		s = otherScheme
	}
	return s, credential, len(credential) > 0 && bytes.IndexByte(credential, ' ') < 0 && bytes.IndexByte(credential, '\t') < 0
}

var space, bearerName, basicName = []byte{' '}, []byte("Bearer"), []byte("Basic")

// findAdmin compares with every admin, in constant time: neither the answer's
// time nor the order of admins tells anything of a token.
func (s *Server) findAdmin(credential []byte) (found Admin, ok bool) {
	hash := sha256.Sum256(credential)
	for _, admin := range s.settings.Load().Admins {
		if subtle.ConstantTimeCompare(hash[:], admin.SHA256[:]) == 1 {
			found, ok = admin, true
		}
	}
	return found, ok
}

// refuseCredential tells an issued token, which would be good elsewhere, from
// all others, of which nothing is told.
func (s *Server) refuseCredential(r *request, credential []byte) error {
	grant, err := s.store.Peek(credential)
	if err != nil {
		return err
	}
	r.holder = grant.Name
	return errIssuedToken
}
