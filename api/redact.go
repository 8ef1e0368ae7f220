package api

import (
	"net/url"
	"regexp"
)

// valueShape is how values look that tokend makes, also those of administrators.
var valueShape = regexp.MustCompile(`[a-z0-9]{1,16}_[0-9A-Za-z]{49}`)

const hidden = "a-value"

// hide takes out of a text that is to be recorded what may be a value: people
// look for one that leaked, or paste one into the wrong place.
func (s *Server) hide(text string) string {
	if _, err := s.store.Peek([]byte(text)); err == nil { // of any shape, if it was made elsewhere
		return hidden
	}
	return valueShape.ReplaceAllLiteralString(text, hidden)
}

// hideNames hides those among the names that may be values. Where a call was
// carried out they were names of tokens, and are only looked at.
func (s *Server) hideNames(names []string, lookUp bool) []string {
	shown := make([]string, len(names))
	for i, name := range names {
		if lookUp {
			shown[i] = s.hide(name)
		} else {
			shown[i] = valueShape.ReplaceAllLiteralString(name, hidden)
		}
	}
	return shown
}

// hideQuery is a query without values.
func (s *Server) hideQuery(query url.Values) string {
	shown := url.Values{}
	for name, values := range query {
		for _, value := range values {
			shown.Add(name, s.hide(value))
		}
	}
	return shown.Encode()
}

// mayBeValue reports whether a request id that a client made up cannot be logged.
func mayBeValue(id []byte) bool {
	const shortest = 51
	return len(id) >= shortest && valueShape.Match(id)
}
