// Package certstest makes certificates of somebody else's for tests: good ones
// in every form that tools write, and files that are broken in every way we could
// think of. It is used by the tests of certs and by the end-to-end suite.
package certstest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"sync"
	"testing"
	"time"
)

// Day is 24 hours.
const Day = 24 * time.Hour

// PKI is an authority: a root, an intermediate, and what they sign.
type PKI struct {
	Root, Middle       *x509.Certificate
	rootKey, middleKey crypto.Signer
	now                time.Time
}

// New makes an authority whose certificates are valid at a time.
func New(t testing.TB, now time.Time) *PKI {
	t.Helper()
	p := &PKI{rootKey: Key(t, "ecdsa"), middleKey: Key(t, "ecdsa"), now: now}
	p.Root = p.sign(t, authority("root"), p.rootKey.Public(), nil, p.rootKey)
	p.Middle = p.sign(t, authority("intermediate"), p.middleKey.Public(), p.Root, p.rootKey)
	return p
}

func authority(name string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
}

// sign makes a certificate; without an issuer one that signs itself. Without
// dates it is valid from an hour ago, for 90 days.
func (p *PKI) sign(t testing.TB, template x509.Certificate, public crypto.PublicKey, issuer *x509.Certificate, by crypto.Signer) *x509.Certificate {
	t.Helper()
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100)); err != nil {
		t.Fatal(err)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = p.now.Add(-time.Hour), p.now.Add(90*Day)
	}
	if issuer == nil {
		issuer = &template
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer, public, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Leaf is a certificate of a server, changed as wanted.
func (p *PKI) Leaf(t testing.TB, key crypto.Signer, change func(*x509.Certificate), names ...string) *x509.Certificate {
	t.Helper()
	template := x509.Certificate{Subject: pkix.Name{CommonName: "leaf"}, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(&template)
	}
	return p.sign(t, template, key.Public(), p.Middle, p.middleKey)
}

// SelfSigned is a certificate that signed itself.
func (p *PKI) SelfSigned(t testing.TB, key crypto.Signer, names ...string) *x509.Certificate {
	t.Helper()
	return p.sign(t, x509.Certificate{Subject: pkix.Name{CommonName: "me"}, DNSNames: names}, key.Public(), nil, key)
}

// Chain is a leaf with all that vouches for it, in PEM form.
func (p *PKI) Chain(leaf *x509.Certificate) []byte { return Certificates(leaf, p.Middle, p.Root) }

// Write puts a new key of a kind and its chain into a file that only its owner
// can read, and returns the leaf's fingerprint.
func (p *PKI) Write(t testing.TB, file, kind string, names ...string) (fingerprint string) {
	t.Helper()
	key := Key(t, kind)
	leaf := p.Leaf(t, key, nil, names...)
	Put(t, file, 0o600, p.Chain(leaf), Forms(t, key)["PKCS#8"])
	return Fingerprint(leaf)
}

// Fingerprint is the SHA-256 of a certificate, lower-case hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// Key makes a key, "ecdsa", "ed25519" or "rsa". The one of RSA is always the same: to make
// it takes long.
func Key(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsaKey()
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Forms are the PEM forms of a key, by name: "PKCS#8", and "SEC 1" or "PKCS#1".
func Forms(t testing.TB, key crypto.Signer) map[string][]byte {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string][]byte{"PKCS#8": block("PRIVATE KEY", pkcs8)}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		sec1, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		forms["SEC 1"] = block("EC PRIVATE KEY", sec1)
	case *rsa.PrivateKey:
		forms["PKCS#1"] = block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	}
	return forms
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Certificates is the PEM form of certificates.
func Certificates(certificates ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certificates {
		out = append(out, block("CERTIFICATE", c.Raw)...)
	}
	return out
}

// Put writes a file of that mode, whatever the umask is.
func Put(t testing.TB, path string, mode os.FileMode, parts ...[]byte) string {
	t.Helper()
	if err := os.WriteFile(path, bytes.Join(parts, nil), mode); err != nil {
		t.Fatal(err)
	}
	Chmod(t, path, mode)
	return path
}

// Chmod changes a file's mode.
func Chmod(t testing.TB, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
