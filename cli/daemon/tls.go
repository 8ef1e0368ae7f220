package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"tokend/config"
)

// certificates are what TLS listeners show and ask for. They can be replaced
// while connections are open, which go on as they are.
type certificates struct {
	current atomic.Pointer[tls.Config]
}

// listen has a listener speak TLS.
func (c *certificates) listen(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
	})
}

// expiry is when the first of the certificate's chain expires, zero without TLS.
func (c *certificates) expiry() (first time.Time) {
	current := c.current.Load()
	if current == nil {
		return time.Time{}
	}
	for _, der := range current.Certificates[0].Certificate {
		if parsed, err := x509.ParseCertificate(der); err == nil && (first.IsZero() || parsed.NotAfter.Before(first)) {
			first = parsed.NotAfter
		}
	}
	return first
}

// loadTLS reads the certificate, its key and the authorities of clients. It is
// nil where TLS is not configured.
func loadTLS(c config.TLS) (*tls.Config, error) {
	if !c.Enabled() {
		return nil, nil //nolint:nilnil // as documented
	}
	certificate, err := readCertificate(c)
	if err != nil {
		return nil, err
	}
	loaded := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		// Of TLS 1.2, those with forward secrecy and authenticated encryption; those
		// of 1.3 all have both.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: []string{"http/1.1"},
	}
	if c.ClientCAFile != "" {
		if loaded.ClientCAs, err = readAuthorities(c.ClientCAFile); err != nil {
			return nil, fmt.Errorf("tls.client_ca_file: %w", err)
		}
		loaded.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return loaded, nil
}

func readCertificate(c config.TLS) (tls.Certificate, error) {
	chain, err := os.ReadFile(c.CertFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.cert_file: %w", err)
	}
	key, err := config.ReadSecret(c.KeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.key_file: %w", err)
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.cert_file %s and tls.key_file %s do not go together: %w", c.CertFile, c.KeyFile, err)
	}
	return certificate, nil
}

func readAuthorities(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, errors.New(path + " holds no certificate in PEM")
	}
	return pool, nil
}
