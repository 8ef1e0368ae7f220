package api

import "regexp"

// valueShape is how values look that tokend makes, also those of administrators.
var valueShape = regexp.MustCompile(`[a-z0-9]{1,16}_[0-9A-Za-z]{49}`)

const hidden = "(a value)"

// hide takes out of a text that is to be recorded what may be a value: people
// look for one that leaked, or paste one into the wrong place.
func (s *Server) hide(text string) string {
	if _, err := s.Store.Peek([]byte(text)); err == nil { // of any shape, if it was made elsewhere
		return hidden
	}
	return valueShape.ReplaceAllLiteralString(text, hidden)
}

// mayBeValue reports whether a request id that a client made up cannot be logged.
func mayBeValue(id []byte) bool {
	const shortest = 51
	return len(id) >= shortest && valueShape.Match(id)
}
