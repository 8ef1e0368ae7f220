package api

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// servesHost reports whether a page without a token may answer. On loopback the
// Host must mean this machine: a web page that rebinds its own name to 127.0.0.1
// reaches us with that name, and must read nothing.
func (s *Server) servesHost(ctx *fasthttp.RequestCtx) bool {
	local, ok := ctx.LocalAddr().(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return true
	}
	host := hostName(string(ctx.Request.Header.Host()))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	isHost := func(allowed string) bool { return strings.EqualFold(host, allowed) }
	return isHost("localhost") || slices.ContainsFunc(s.settings.Load().AllowedHosts, isHost)
}

// hostName is a Host header without port and brackets.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}
