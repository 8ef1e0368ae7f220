package api

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// checkFraming refuses what fasthttp serves although two readers could take it
// for different requests (RFC 9112, sections 2.3, 3.2, 5.2 and 6.3). Behind a
// proxy's check, the target's end is the client's and may be anything.
func checkFraming(h *fasthttp.RequestHeader, anyEnd bool) error {
	switch string(h.Protocol()) {
	case "HTTP/1.1", "HTTP/1.0":
	default:
		return errVersion
	}
	if err := checkTarget(h, anyEnd); err != nil {
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

// checkHeaderLines looks for what fasthttp does not show after parsing, or lets
// through: folded lines, spaces in names, and Transfer-Encoding beside
// Content-Length or other than chunked. (It refuses doubled ones itself.)
func checkHeaderLines(lines []byte) error {
	var length, encoding bool
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n')
		if end < 0 {
			end = len(lines) - 1
		}
		line := lines[:end+1]
		lines = lines[end+1:]
		switch line[0] {
		case ' ', '\t':
			return badRequest("a header is folded over two lines")
		case 'C', 'c':
			length = length || isHeader(line, "content-length")
		case 'T', 't':
			if isHeader(line, "transfer-encoding") {
				encoding = true
				if _, value, _ := bytes.Cut(line, []byte{':'}); !bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked")) {
					return badRequest("Transfer-Encoding is not chunked")
				}
			}
		}
		for _, c := range line {
			if c == ':' {
				break
			}
			if c == ' ' {
				return badRequest("a header's name has a space in it")
			}
		}
	}
	if length && encoding {
		return badRequest("Content-Length and Transfer-Encoding exclude each other")
	}
	return nil
}

func isHeader(line []byte, name string) bool {
	return len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name))
}
