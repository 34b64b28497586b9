package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"slices"
	"testing"
	"time"
)

// absent stands for a file that is not written.
var absent = []byte("absent")

// Broken is a way in which the files of a certificate and of its key can be
// wrong.
type Broken struct {
	Name string
	// Write writes both, to where no file is.
	Write func(t testing.TB, cert, key string)
	// Text is the beginning of what is said; $cert and $key stand for the files.
	Text string
}

// Broken are all of them, at the authority's time, for a host.
func (p *PKI) Broken(t testing.TB, host string) []Broken {
	t.Helper()
	good := Key(t, "ecdsa")
	goodKey := Forms(t, good)["PKCS#8"]
	leaf := p.Leaf(t, good, nil, host)
	both := func(cert, key []byte) func(testing.TB, string, string) {
		return func(t testing.TB, certFile, keyFile string) {
			if string(cert) != string(absent) {
				Put(t, certFile, 0o644, cert)
			}
			if string(key) != string(absent) {
				Put(t, keyFile, 0o600, key)
			}
		}
	}
	leafWith := func(change func(*x509.Certificate)) func(testing.TB, string, string) {
		return both(p.Chain(p.Leaf(t, good, change, host)), goodKey)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old := New(t, p.now)
	old.Middle = old.sign(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "ended"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: p.now.Add(-60 * Day), NotAfter: p.now.Add(-Day),
	}, old.middleKey.Public(), old.Root, old.rootKey)
	return []Broken{
		{"no certificate file", both(absent, goodKey), "$cert does not exist"},
		{"no key file", both(p.Chain(leaf), absent), "$key does not exist"},
		{"empty", both(nil, goodKey), "$cert is empty"},
		{"empty key", both(p.Chain(leaf), []byte("\n")), "$key is empty"},
		{"text", both([]byte("see the other file\n"), goodKey), "$cert is not in PEM form"},
		{"DER", both(leaf.Raw, goodKey), "$cert is not in PEM form"},
		{"cut off", both(p.Chain(leaf)[:700], goodKey), "$cert is damaged or cut off ("},
		{"key cut off", both(p.Chain(leaf), goodKey[:100]), "$key is damaged or cut off (0 of its 1 PEM blocks can be read)"},
		{"certificate not DER", both(block("CERTIFICATE", []byte{1, 2}), goodKey), "$cert holds a certificate that cannot be read"},
		{"key not DER", both(p.Chain(leaf), block("PRIVATE KEY", []byte{1, 2})), "$key holds a private key that cannot be read"},
		{"encrypted key", both(p.Chain(leaf), block("ENCRYPTED PRIVATE KEY", []byte{1})), "$key holds a private key that is encrypted with a passphrase"},
		{"request", both(block("CERTIFICATE REQUEST", []byte{1}), goodKey), `$cert holds a "CERTIFICATE REQUEST", which does not belong there`},
		{"the two swapped", both(goodKey, p.Chain(leaf)), "$cert holds a private key and can be read by others (mode 0644)"},
		{"only the key", both(p.Chain(leaf), p.Chain(leaf)), "$key holds no private key"},
		{"no certificate", both([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), goodKey), "$cert holds no certificate"},
		{"another key", both(p.Chain(leaf), Forms(t, Key(t, "ecdsa"))["SEC 1"]), "$key holds a private key that is not the one of any of the 3 certificates in $cert"},
		{"two keys of a kind", both(p.Chain(leaf), slices.Concat(goodKey, Forms(t, Key(t, "ecdsa"))["SEC 1"])), "$key holds more than one private key of a kind"},
		{"two keys, none RSA", both(p.Chain(leaf), slices.Concat(goodKey, Forms(t, Key(t, "ed25519"))["PKCS#8"])), "$key holds an ECDSA and an Ed25519 key: "},
		{"a key without its certificate", both(p.Chain(leaf), slices.Concat(goodKey, Forms(t, Key(t, "rsa"))["PKCS#1"])), "$key holds a private key that is not the one of any of the 3"},
		{"no intermediate", both(Certificates(leaf), goodKey), `$cert holds an incomplete chain: the certificate of the issuer "CN=intermediate" is missing`},
		{"a gap in the chain", both(Certificates(leaf, p.Root), goodKey), `$cert holds an incomplete chain: the certificate of the issuer "CN=intermediate" is missing`},
		{"no root, and nobody knows it", both(Certificates(leaf, p.Middle), goodKey), `$cert holds an incomplete chain: the certificate of the issuer "CN=root" is missing`},
		{"over", leafWith(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = p.now.Add(-90*Day), p.now.Add(-Day) }), "$cert holds a certificate that ended on " + p.now.Add(-Day).UTC().Format(time.DateTime)},
		{"not yet", leafWith(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = p.now.Add(Day), p.now.Add(90*Day) }), "$cert holds a certificate that begins on " + p.now.Add(Day).UTC().Format(time.DateTime) + " UTC, after this host's clock"},
		{"the issuer is over", both(Certificates(old.Leaf(t, good, nil, host), old.Middle, old.Root), goodKey), `$cert holds the issuer's certificate "CN=ended" that ended on `},
		{"another host", leafWith(func(c *x509.Certificate) { c.DNSNames = []string{"www.example.org"} }), "$cert holds a certificate for www.example.org, not for the hostname " + host},
		{"no names", leafWith(func(c *x509.Certificate) { c.DNSNames = nil }), "$cert holds a certificate without a DNS name (subjectAltName)"},
		{"for clients", leafWith(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "$cert holds a certificate that is not for servers"},
		{"RSA of 1024 bits", both(p.Chain(p.Leaf(t, weak, nil, host)), Forms(t, weak)["PKCS#1"]), "$cert holds an RSA key of 1024 bits, and clients want 2048 or more"},
		{"curve P-224", both(p.Chain(p.Leaf(t, small, nil, host)), Forms(t, small)["SEC 1"]), "$cert holds a key on the curve P-224"},
		{"key readable by others", func(t testing.TB, cert, key string) {
			both(p.Chain(leaf), goodKey)(t, cert, key)
			Chmod(t, key, 0o640)
		}, "$key holds a private key and can be read by others (mode 0640)"},
		{"certificate writable by others", func(t testing.TB, cert, key string) {
			both(p.Chain(leaf), goodKey)(t, cert, key)
			Chmod(t, cert, 0o666)
		}, "$cert can be written by others (mode 0666)"},
		{"a directory", func(t testing.TB, cert, key string) {
			Put(t, cert, 0o644, p.Chain(leaf))
			if err := os.Mkdir(key, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "$key is not a plain file"},
		{"too large", both(make([]byte, 1<<20+1), goodKey), "$cert is too large to be a certificate"},
	}
}
