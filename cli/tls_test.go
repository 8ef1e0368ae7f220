package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority makes certificates.
type authority struct {
	t           *testing.T
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.certificate, a.key = a.make(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) make(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	template.SerialNumber, template.Subject = big.NewInt(a.serial), pkix.Name{CommonName: fmt.Sprint("number ", a.serial)}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(encoded)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate, key
}

// issue gives a certificate for 127.0.0.1, and for clients, and its key, in PEM.
func (a *authority) issue() (certificate, key string) {
	a.t.Helper()
	made, private := a.make(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return asPEM("CERTIFICATE", made.Raw), asPEM("PRIVATE KEY", encoded)
}

func asPEM(kind string, content []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}))
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// freePort is one that nobody uses now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	address, dir := freePort(t), t.TempDir()
	put := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	renew := func() {
		certificate, key := ca.issue()
		put("cert.pem", certificate)
		put("key.pem", key)
	}
	renew()
	configuration := fmt.Sprintf("listen = [%q, \"unix:tokend.sock\"]\ndata_dir = \"data\"\n[tls]\ncert_file = %q\nkey_file = %q\n",
		address, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	s := newService(t, configuration)

	client := func(c *tls.Config) *http.Client {
		c.RootCAs = ca.pool()
		transport := &http.Transport{TLSClientConfig: c}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	get := func(c *http.Client) (serial int64, err error) {
		response, err := c.Get("https://" + address + "/healthz")
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response.TLS.PeerCertificates[0].SerialNumber.Int64(), err
	}
	expect := func(t *testing.T, c *http.Client, serial int64) {
		t.Helper()
		if got, err := get(c); err != nil || got != serial {
			t.Errorf("certificate %d, want %d (%v)", got, serial, err)
		}
	}
	kept := client(&tls.Config{})
	expect(t, kept, 2)
	t.Run("1.2 with a sound suite", func(t *testing.T) {
		expect(t, client(&tls.Config{MaxVersion: tls.VersionTLS12}), 2)
	})
	t.Run("not 1.2 with another one", func(t *testing.T) {
		weak := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}}
		if _, err := get(client(weak)); err == nil {
			t.Error("it is spoken")
		}
	})
	t.Run("not 1.1", func(t *testing.T) {
		if _, err := get(client(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})); err == nil {
			t.Error("it is spoken")
		}
	})
	t.Run("plain HTTP is told so", func(t *testing.T) {
		response, err := http.Get("http://" + address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "https") {
			t.Errorf("%d %s (%v)", response.StatusCode, body, err)
		}
	})
	t.Run("a Unix socket is plain", func(*testing.T) {
		s.expectStatus("no-token-0123456789-0123456789", 401)
	})
	t.Run("a new certificate is shown after a reload, and open connections go on", func(t *testing.T) {
		renew()
		expect(t, client(&tls.Config{}), 2)
		s.expectTaken()
		expect(t, client(&tls.Config{}), 3)
		expect(t, kept, 2)
	})
	t.Run("a key of another certificate is refused", func(t *testing.T) {
		_, other := ca.issue()
		key, err := os.ReadFile(filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		put("key.pem", other)
		s.expectRefused("do not go together")
		expect(t, client(&tls.Config{}), 3)
		put("key.pem", string(key))
	})
	t.Run("clients show a certificate where authorities are named", func(t *testing.T) {
		s.configure(configuration + fmt.Sprintf("client_ca_file = %q\n", put("ca.pem", asPEM("CERTIFICATE", ca.certificate.Raw))))
		s.expectTaken()
		if _, err := get(client(&tls.Config{})); err == nil {
			t.Error("none is needed")
		}
		certificate, key := ca.issue()
		pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, client(&tls.Config{Certificates: []tls.Certificate{pair}}), 3)
	})
	t.Run("and not one of another authority", func(t *testing.T) {
		certificate, key := newAuthority(t).issue()
		pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := get(client(&tls.Config{Certificates: []tls.Certificate{pair}})); err == nil {
			t.Error("it is taken")
		}
	})
	t.Run("a key that others may read is refused", func(t *testing.T) {
		key := filepath.Join(dir, "key.pem")
		if err := os.Chmod(key, 0o644); err != nil {
			t.Fatal(err)
		}
		s.expectRefused("lets too many users read or write it")
		if err := os.Chmod(key, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("who does not say a word is cut off", func(t *testing.T) {
		s.configure(configuration + "[timeouts]\nheader = \"200ms\"\n")
		s.expectTaken()
		silent, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent.Close() }()
		_ = silent.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(silent); err != nil {
			t.Errorf("it is waited for: %v", err)
		}
	})
	s.Stop()
}
