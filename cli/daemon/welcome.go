package daemon

import (
	"fmt"
	"io"
	"net"

	"tokend/internal/hint"
)

// welcome tells a newcomer what the first start made and what to type next. The
// line keeps the token out of the list of processes: curl reads it from its
// standard input.
func welcome(w io.Writer, d *DataDir, address net.Addr, isTLS bool) {
	_, _ = fmt.Fprintf(w, `
This was the first start: there is a new, empty store in %s. It uses

  %s
      the key that seals the store: keep a copy apart from the data
  %s
      the token that manages tokens

Make a first token:

  sed 's/^/Authorization: Bearer /' %s | curl -H @- -d '{"name":"example"}' %s

`, d.Path, d.MasterKeyFile, d.adminTokenFile, hint.Quote(d.adminTokenFile), curlTarget(address, isTLS))
}

// curlTarget is how curl reaches the token endpoint at an address.
func curlTarget(address net.Addr, isTLS bool) string {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return fmt.Sprintf("--unix-socket %s http://localhost/_/token", hint.Quote(address.String()))
	}
	host := *tcp
	if host.IP.IsUnspecified() {
		host.IP = net.IPv4(127, 0, 0, 1)
	}
	scheme := "http"
	if isTLS {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s/_/token", scheme, host.String())
}

// AdminPrefix begins admin tokens that tokend makes. Scanners for issued tokens do not match
// it, and people see which kind they hold.
const AdminPrefix = "tkdadm"
