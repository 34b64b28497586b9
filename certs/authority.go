package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
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

// LocalCA is the source of certificates signed by a CA of our own, kept in the
// directory dir. The CA is made at the first Obtain, and again when its name
// constraints no longer permit the names or when it would end before a leaf
// does; the one before is kept beside it under another name. A CA that is there
// and cannot be used is an error, never replaced: devices trust it.
func LocalCA(dir string) Source { return localCA{dir} }

type localCA struct{ dir string }

// authority is a CA that can sign.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (ca localCA) Status(names Names, current *x509.Certificate, now time.Time) SourceStatus {
	status := SourceStatus{Mode: "self-signed"}
	d, err := openDirectory(ca.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return status
	}
	if err != nil {
		status.Problems = Problems{asProblem(ca.dir, err, "")}
		return status
	}
	defer d.close()
	a, problems := loadAuthority(d)
	status.Problems = problems
	if a == nil {
		if current != nil && len(problems) == 0 {
			status.Stale = "there is no CA any more"
		}
		return status
	}
	authority := describe(a.cert)
	status.Authority = &authority
	status.Stale = a.unfit(names, now)
	if status.Stale == "" && current != nil && current.CheckSignatureFrom(a.cert) != nil {
		status.Stale = "the certificate was not issued by the CA that is there now"
	}
	if status.Stale == "" {
		if content, err := d.read(AuthorityFile, false); err != nil || string(content) != string(encodeCertificate(a.cert)) {
			status.Stale = d.file(AuthorityFile) + " does not hold the CA's certificate"
		}
	}
	return status
}

func (ca localCA) Obtain(ctx context.Context, names Names, now time.Time) (Pair, error) {
	d, err := makeDirectory(ca.dir)
	if err != nil {
		return Pair{}, err
	}
	defer d.close()
	a, problems := loadAuthority(d)
	if err := problems.err(); err != nil {
		return Pair{}, err
	}
	if a != nil && a.unfit(names, now) != "" {
		if err := a.keep(d); err != nil {
			return Pair{}, err
		}
		a = nil
	}
	if a == nil {
		if a, err = newAuthority(names, now); err != nil {
			return Pair{}, err
		}
		// Key and certificate take effect with one rename, the copy follows.
		if err := a.save(d, AuthorityKeyFile); err != nil {
			return Pair{}, err
		}
	}
	if _, err := d.writeOnce(AuthorityFile, encodeCertificate(a.cert), 0o644); err != nil {
		return Pair{}, err
	}
	if err := ctx.Err(); err != nil {
		return Pair{}, err
	}
	return a.issue(names, now)
}

const authorityAdvice = "Put %[1]s back from a backup. Without one, move %[1]s and %[2]s away and run `mailstack up`: " +
	"that makes a new CA, which every device must then be told to trust."

// loadAuthority reads the CA. All of nil, nil means that there is none.
func loadAuthority(d *directory) (*authority, Problems) {
	keyFile, certFile := d.file(AuthorityKeyFile), d.file(AuthorityFile)
	advice := fmt.Sprintf(authorityAdvice, keyFile, certFile)
	content, err := d.read(AuthorityKeyFile, true)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := d.read(AuthorityFile, false); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, Problems{{keyFile, "is missing, and " + certFile + " is there", advice}}
	}
	if err != nil {
		return nil, Problems{asProblem(keyFile, err, advice)}
	}
	b, complaints := parseBundle(content)
	if len(complaints) == 0 && len(b.certs) == 0 {
		// A CA that somebody brought, in two files.
		if b.certs, complaints = readCertificates(d, AuthorityFile); len(complaints) > 0 {
			return nil, problemsOf(certFile, complaints, advice)
		}
	}
	if len(complaints) > 0 {
		return nil, problemsOf(keyFile, complaints, advice)
	}
	if complaint := authorityComplaint(b); complaint != "" {
		return nil, Problems{{keyFile, complaint, advice}}
	}
	return &authority{cert: b.certs[0], key: b.key}, nil
}

// readCertificates reads a file that holds certificates only.
func readCertificates(d *directory, name string) ([]*x509.Certificate, []string) {
	content, err := d.read(name, false)
	if err != nil {
		return nil, []string{asProblem("", err, "").Text}
	}
	b, complaints := parseBundle(content)
	if len(complaints) == 0 && len(b.certs) == 0 {
		complaints = []string{"holds no certificate"}
	}
	return b.certs, complaints
}

func authorityComplaint(b bundle) string {
	switch {
	case b.key == nil:
		return "holds no private key"
	case !matches(b.key, b.certs[0]):
		return "holds a private key that is not the one of the CA's certificate"
	case !b.certs[0].IsCA:
		return "holds a certificate that is not a CA's"
	}
	return ""
}

// unfit says why the CA cannot sign for the names, or "".
func (a *authority) unfit(names Names, now time.Time) string {
	if a.cert.NotAfter.Before(now.Add(leafLife)) {
		return fmt.Sprintf("the CA ends on %s, before a new certificate would; it must be made again, and devices must be told to trust the new one",
			a.cert.NotAfter.UTC().Format(time.DateOnly))
	}
	var refused []string
	for _, name := range names.list() {
		if !permits(a.cert.PermittedDNSDomains, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) == 0 {
		return ""
	}
	return fmt.Sprintf("the CA is constrained to %s and cannot sign for %s; it must be made again, and devices must be told to trust the new one",
		strings.Join(a.cert.PermittedDNSDomains, ", "), strings.Join(refused, ", "))
}

// permits applies RFC 5280 4.2.1.10: a name is in a subtree when zero or more
// labels put before the constraint make it.
func permits(permitted []string, name string) bool {
	return len(permitted) == 0 || slices.ContainsFunc(permitted, func(constraint string) bool {
		constraint = strings.ToLower(constraint)
		return name == constraint || strings.HasSuffix(name, "."+strings.TrimPrefix(constraint, "."))
	})
}

// keep puts a CA that is about to be replaced aside, so that a name mistyped
// in the configuration does not cost the CA that devices trust: moving the file
// back over AuthorityKeyFile brings it back.
func (a *authority) keep(d *directory) error {
	return a.save(d, fmt.Sprintf("ca-%s.key", fingerprint(a.cert)[:16]))
}

func (a *authority) save(d *directory, name string) error {
	content, err := encode(a.key, a.cert)
	if err != nil {
		return err
	}
	_, err = d.writeOnce(name, content, 0o600)
	return err
}

// newAuthority makes a CA that can vouch for these names and for nothing else,
// so that trusting it gives nobody who steals its key the rest of the web.
func newAuthority(names Names, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	number, err := newSerial()
	if err != nil {
		return nil, err
	}
	permitted := names.list()
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

// issue makes a leaf with a key of its own.
func (a *authority) issue(names Names, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make key: %w", err)
	}
	number, err := newSerial()
	if err != nil {
		return Pair{}, err
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
		return Pair{}, fmt.Errorf("sign certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, fmt.Errorf("read own certificate: %w", err)
	}
	if err := a.prove(leaf, names, now); err != nil {
		return Pair{}, err
	}
	return Pair{Key: key, Chain: []*x509.Certificate{leaf}}, nil
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
