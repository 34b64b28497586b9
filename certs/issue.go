package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

// organization is in the subject of every certificate that we sign.
const organization = "mailstack"

// nowhere is a name that can never exist (RFC 6761 6.4).
const nowhere = "invalid"

// newAuthority makes a CA that can vouch for these names and for nothing else,
// so that trusting it gives nobody who steals its key the rest of the web.
func newAuthority(names Names, now time.Time) (*authority, error) {
	key, err := newKey("ecdsa")
	if err != nil {
		return nil, err
	}
	number, err := newSerial()
	if err != nil {
		return nil, err
	}
	var permitted []string
	for _, name := range names.list() { // a constraint is for a name and all below it
		if name = strings.TrimPrefix(name, "*."); !slices.Contains(permitted, name) {
			permitted = append(permitted, name)
		}
	}
	template := &x509.Certificate{
		SerialNumber: number,
		Subject: pkix.Name{
			Organization: []string{organization},
			// Every CA has a subject of its own: trust stores look issuers up by
			// name, and two of the same name are taken for each other. A common
			// name has at most 64 characters (RFC 5280 appendix A, ub-common-name).
			CommonName: fmt.Sprintf("%.40s CA %.16s", permitted[0], fmt.Sprintf("%032x", number)),
		},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.AddDate(authorityYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // signs leaves only

		PermittedDNSDomainsCritical: true, // RFC 5280 4.2.1.10: MUST be
		PermittedDNSDomains:         permitted,
		// A kind of name without any constraint is unconstrained, so the other
		// kinds need one each. The CA/B Baseline Requirements write "no
		// address" as these two ranges. For mail addresses an empty exclusion is
		// "everything" to some verifiers and "nothing" to OpenSSL; permitting a
		// name that cannot exist is understood by all. (Go, OpenSSL 3.0 and 3.5 and
		// NSS were seen to refuse every name outside; GnuTLS all but URIs.)
		ExcludedIPRanges: []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		},
		PermittedEmailAddresses: []string{nowhere},
		PermittedURIDomains:     []string{nowhere},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read own CA certificate: %w", err)
	}
	return &authority{cert: cert, key: key}, nil
}

// issue makes a leaf.
func (a *authority) issue(names Names, key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	number, err := newSerial()
	if err != nil {
		return nil, err
	}
	notBefore := now.Add(-clockSkew)
	template := &x509.Certificate{
		SerialNumber: number,
		NotBefore:    notBefore,
		NotAfter:     notBefore.Add(leafLife - time.Second), // the last second counts (RFC 5280 4.1.2.5)
		KeyUsage:     x509.KeyUsageDigitalSignature,
		// Apple asks for it: https://support.apple.com/HT210176
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              names.list(),
	}
	if len(names.list()[0]) <= 64 { // ub-common-name, as above
		template.Subject.CommonName = names.list()[0]
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read own certificate: %w", err)
	}
	if err := a.prove(leaf, names, now); err != nil {
		return nil, err
	}
	return leaf, nil
}

// prove verifies a leaf as a client would.
func (a *authority) prove(leaf *x509.Certificate, names Names, now time.Time) error {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, name := range names.list() {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			return fmt.Errorf("verify new certificate for %s: %w", name, err)
		}
	}
	return nil
}

// newSerial returns 128 random bits, never 0. RFC 5280 4.1.2.2 wants a positive
// number of at most 20 bytes, the CA/B Baseline Requirements (7.1) 64 random
// bits.
func newSerial() (*big.Int, error) {
	largest := new(big.Int).Lsh(big.NewInt(1), 128)
	number, err := rand.Int(rand.Reader, largest.Sub(largest, big.NewInt(1)))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return number.Add(number, big.NewInt(1)), nil
}
