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
	if host := h.Host(); len(host) > 0 && !isHost(host) {
		return badRequest("the Host header names no host")
	}
	if anyEnd && h.IsConnect() { // after whose success the connection would be a tunnel
		return badRequest("no tunnels are opened here")
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
	switch {
	case bytes.HasPrefix(target, []byte("//")): // fasthttp may take what follows for a host, and strip it
		return errNotFound
	case target[0] == '/', string(target) == "*": // which is only let through for OPTIONS
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
// through: folded lines, lines that end in a bare LF, spaces in names, and
// Transfer-Encoding beside Content-Length or other than chunked. (It refuses doubled
// ones itself.)
func checkHeaderLines(lines []byte) error {
	var length, encoding bool
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n')
		if end < 1 || lines[end-1] != '\r' {
			return badRequest("a line of the headers does not end in CR LF")
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

// isHost reports whether a Host header is a name or an address, perhaps with a port
// (RFC 9110, section 7.2; RFC 3986, section 3.2.2, but for the comma of two hosts in
// one header).
func isHost(host []byte) bool {
	end := bytes.LastIndexByte(host, ':')
	if end < 0 || host[len(host)-1] == ']' {
		end = len(host)
	}
	name, port := host[:end], host[end:]
	if len(port) > len(":65535") || bytes.ContainsFunc(bytes.TrimPrefix(port, []byte{':'}), isNoDigit) {
		return false
	}
	inName := &ofNames
	if bytes.HasPrefix(name, []byte{'['}) && bytes.HasSuffix(name, []byte{']'}) {
		name, inName = name[1:len(name)-1], &ofAddresses
	}
	for _, c := range name {
		if !inName[c] {
			return false
		}
	}
	return len(name) > 0
}

func isNoDigit(r rune) bool { return r < '0' || r > '9' }

// The bytes that hosts are made of.
var (
	ofNames     = setOf("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~!$&'()*+;=")
	ofAddresses = setOf("0123456789ABCDEFabcdef:.")
)

func setOf(bytes string) (set [256]bool) {
	for i := range len(bytes) {
		set[bytes[i]] = true
	}
	return set
}
