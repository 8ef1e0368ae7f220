package api

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// checkFraming refuses what fasthttp serves although two readers could take it
// for different requests (RFC 9112, sections 2.3, 3.2, 5.2 and 6.3). Behind a
// proxy's check, the target's end is the client's and may be anything.
func checkFraming(h *fasthttp.RequestHeader, anyTarget bool) error {
	switch string(h.Protocol()) {
	case "HTTP/1.1", "HTTP/1.0":
	default:
		return errVersion
	}
	if err := checkTarget(h, anyTarget); err != nil {
		return err
	}
	return checkHeaderLines(h.RawHeaders())
}

// checkTarget takes a path, and an absolute URL if it is for the host that the
// Host header names.
func checkTarget(h *fasthttp.RequestHeader, anyEnd bool) error {
	target := h.RequestURI()
	if !anyEnd && bytes.IndexByte(target, '#') >= 0 {
		return badRequest("the request target has a fragment")
	}
	if target[0] == '/' || len(target) == 1 { // "*" is only let through for OPTIONS
		return nil
	}
	scheme, rest, _ := bytes.Cut(target, []byte("://"))
	authority := rest
	if end := bytes.IndexAny(rest, "/?"); end >= 0 {
		authority = rest[:end]
	}
	isHTTP := bytes.EqualFold(scheme, []byte("http")) || bytes.EqualFold(scheme, []byte("https"))
	if !isHTTP || len(authority) == 0 || !bytes.EqualFold(authority, h.Host()) {
		return badRequest("the request target is not for the host in the Host header")
	}
	return nil
}

// checkHeaderLines looks for folded lines and for Transfer-Encoding beside
// Content-Length or other than chunked, none of which fasthttp shows after
// parsing. (It refuses doubled ones itself.)
func checkHeaderLines(lines []byte) error {
	var length, encoding bool
	for len(lines) > 0 {
		line := lines
		if end := bytes.IndexByte(lines, '\n'); end >= 0 {
			line, lines = lines[:end], lines[end+1:]
		} else {
			lines = nil
		}
		switch {
		case len(line) == 0:
		case line[0] == ' ' || line[0] == '\t':
			return badRequest("a header is folded over two lines")
		case hasSpaceInName(line):
			return badRequest("a header's name has a space in it")
		case line[0]|0x20 == 'c' && isHeader(line, "content-length"):
			length = true
		case line[0]|0x20 == 't' && isHeader(line, "transfer-encoding"):
			encoding = true
			if _, value, _ := bytes.Cut(line, []byte{':'}); !bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked")) {
				return badRequest("Transfer-Encoding is not chunked")
			}
		}
	}
	if length && encoding {
		return badRequest("Content-Length and Transfer-Encoding exclude each other")
	}
	return nil
}

// hasSpaceInName finds what fasthttp lets through although it is no token.
func hasSpaceInName(line []byte) bool {
	space := bytes.IndexByte(line, ' ')
	return space >= 0 && space < bytes.IndexByte(line, ':')
}

func isHeader(line []byte, name string) bool {
	return len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name))
}
