package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"

	"github.com/valyala/fasthttp"

	"tokend/kv"
)

// Admin is somebody who manages tokens, known by the hash of his own token.
type Admin struct {
	Name   string
	SHA256 [sha256.Size]byte
	Write  bool // false: may list, nothing else
}

// authorize lets a request pass or says why not. On its way it notes who asks.
func (s *Server) authorize(r *request, need access) error {
	if need == anyone {
		return nil
	}
	credential, err := bearer(&r.ctx.Request.Header)
	if err != nil {
		return err
	}
	admin, ok := s.findAdmin(credential)
	if !ok {
		return s.refuseCredential(credential)
	}
	if need == writeAdmin && !admin.Write {
		return errReadOnlyAdmin
	}
	r.admin = admin
	return nil
}

// bearer is the token in the one Authorization header (RFC 6750, section 2.1).
func bearer(h *fasthttp.RequestHeader) (string, error) {
	headers := h.PeekAll(fasthttp.HeaderAuthorization)
	switch len(headers) {
	case 0:
		return "", errUnauthorized
	case 1:
	default:
		return "", errMalformed
	}
	scheme, token, _ := strings.Cut(string(headers[0]), " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case scheme == "":
		return "", errMalformed
	case !strings.EqualFold(scheme, "Bearer"):
		return "", errUnauthorized
	case token == "" || strings.ContainsAny(token, " \t"):
		return "", errMalformed
	}
	return token, nil
}

// findAdmin compares with every admin, in constant time: neither the answer's
// time nor the order of admins tells anything of a token.
func (s *Server) findAdmin(credential string) (found Admin, ok bool) {
	hash := sha256.Sum256([]byte(credential))
	for _, admin := range s.Admins {
		if subtle.ConstantTimeCompare(hash[:], admin.SHA256[:]) == 1 {
			found, ok = admin, true
		}
	}
	return found, ok
}

// refuseCredential tells an issued token, which would be good elsewhere, from
// all others, of which nothing is told.
func (s *Server) refuseCredential(credential string) error {
	switch _, err := s.Store.Peek([]byte(credential)); {
	case err == nil:
		return errIssuedToken
	case errors.Is(err, kv.ErrInvalidToken):
		return errInvalidToken
	default:
		return err
	}
}
