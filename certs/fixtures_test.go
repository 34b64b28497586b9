package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

// testKey is the key of everything that signed makes.
var testKey = func() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}()

// signed is a certificate of testKey, signed by ca.
func signed(t *testing.T, ca *authority, template x509.Certificate) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(7)
	if template.NotBefore.IsZero() {
		template.NotBefore = start.Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = start.Add(leafLife)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, ca.cert, testKey.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// outside is what the CA for example must not be able to vouch for.
func outside(t *testing.T) map[string]x509.Certificate {
	t.Helper()
	page, err := url.Parse("https://www.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]x509.Certificate{
		"another domain":    {DNSNames: []string{"www.example.com"}},
		"the parent":        {DNSNames: []string{"example.org"}},
		"a sibling":         {DNSNames: []string{"www.example.org"}},
		"a suffix":          {DNSNames: []string{"notmail.example.org"}},
		"one good, one bad": {DNSNames: []string{"mail.example.org", "www.example.com"}},
		"an IPv4 address":   {IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}},
		"an IPv6 address":   {IPAddresses: []net.IP{net.ParseIP("2001:db8::1")}},
		"a mail address":    {EmailAddresses: []string{"me@example.org"}},
		"one of the host":   {EmailAddresses: []string{"me@mail.example.org"}},
		"a URI":             {URIs: []*url.URL{page}},
	}
}

// local is a store with a CA of its own in it.
func local(dir string, names Names) Store { return Store{Dir: dir, Source: LocalCA(dir), Names: names} }

// renewIn renews as somebody does whom nothing keeps from serving the result.
func renewIn(ctx context.Context, dir string, names Names, now time.Time, force bool) (State, error) {
	return settled(ctx, local(dir, names), now, map[bool]Ask{true: Anyway}[force])
}

// settled renews and commits.
func settled(ctx context.Context, s Store, now time.Time, ask Ask) (State, error) {
	first, err := s.Renew(ctx, now, ask)
	if err != nil {
		return first, err
	}
	if err := s.Commit(); err != nil {
		return first, err
	}
	state, err := s.Inspect(now)
	state.Renewed = first.Renewed
	return state, err
}
