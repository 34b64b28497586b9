package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// alpnProtocol and acmeIdentifier are the marks of the challenge (RFC 8737
// sections 4 and 6.1).
const alpnProtocol = "acme-tls/1"

var acmeIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

// tlsListener answers tls-alpn-01 (RFC 8737) itself, while it is needed.
type tlsListener struct {
	oneBatch
	address  string
	listener net.Listener
}

func (t *tlsListener) present(ctx context.Context, answers []answer) error {
	known := map[string]*tls.Certificate{}
	for _, a := range answers {
		cert, err := challengeCertificate(a)
		if err != nil {
			return fmt.Errorf("make certificate for tls-alpn-01: %w", err)
		}
		known[a.name] = cert
	}
	listener, err := listen(ctx, t.address, "tls.acme_tls_address", TLSALPN01)
	if err != nil {
		return err
	}
	t.listener = tls.NewListener(listener, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{alpnProtocol},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert := known[strings.ToLower(hello.ServerName)]; cert != nil {
				return cert, nil
			}
			return nil, fmt.Errorf("no challenge for %q", hello.ServerName)
		},
	})
	go serveHandshakes(t.listener)
	return nil
}

// challengeCertificate is the self-signed answer (RFC 8737 section 3).
func challengeCertificate(a answer) (*tls.Certificate, error) {
	sum := sha256.Sum256([]byte(a.keyAuth))
	value, err := asn1.Marshal(sum[:])
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		NotBefore:       now.Add(-time.Hour),
		NotAfter:        now.Add(24 * time.Hour),
		DNSNames:        []string{a.name},
		ExtraExtensions: []pkix.Extension{{Id: acmeIdentifier, Critical: true, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// serveHandshakes answers until the listener is closed. The handshake is all of
// the protocol (RFC 8737 section 4).
func serveHandshakes(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(listenTimeout))
			_ = conn.(*tls.Conn).Handshake()
		}()
	}
}

func (t *tlsListener) withdraw(context.Context, []answer) error {
	if t.listener == nil {
		return nil
	}
	return t.listener.Close()
}
