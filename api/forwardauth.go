package api

import (
	"errors"

	"github.com/valyala/fasthttp"

	"tokend/kv"
)

// A proxy asks before it lets a request through. It takes 200 for yes, 401 and
// 403 for no, and all else for a failure, with which it should let nothing
// through either. What it sends beside the credential is the client's and
// decides nothing: not the query, not a body, not the path. Only the original
// method does, where the proxy itself says it.

// authorizeProxied is authorizeHolder in the proxies' dialect.
func (s *Server) authorizeProxied(r *request, need need) error {
	switch err := s.authorizeHolder(r); {
	case errors.Is(err, errTwoTokens):
		return kv.ErrInvalidToken
	case err != nil:
		return err
	}
	return r.require(need)
}

// pass says yes. The identity headers go with it.
func (s *Server) pass(r *request) (reply, error) { return reply{identity: &r.grant}, nil }

// needs tells from a proxy's request what the original one needs.
type needs func(*fasthttp.RequestHeader) need

func always(n need) needs { return func(*fasthttp.RequestHeader) need { return n } }

func byOwnMethod(h *fasthttp.RequestHeader) need { return needOf(h.Method()) }

// byHeader reads the original method from a header that the proxy sets. One
// that is missing or doubled says nothing for sure.
func byHeader(name string) needs {
	return func(h *fasthttp.RequestHeader) need {
		methods := h.PeekAll(name)
		if len(methods) != 1 {
			return write
		}
		return needOf(methods[0])
	}
}

// needOf takes a method for safe only where RFC 9110 has it so, in its spelling.
func needOf(method []byte) need {
	switch string(method) {
	case fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodOptions:
		return read
	}
	return write
}
