package certs

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Files is the source of certificates that somebody else obtains and puts into
// files; keyFile may be empty, see [ReadFiles]. A broken file is refused, which
// leaves what is served as it is.
func Files(certFile, keyFile string) Source { return fileSource{certFile, keyFile} }

type fileSource struct{ certFile, keyFile string }

func (f fileSource) Status(names Names, current *x509.Certificate, now time.Time) SourceStatus {
	status := SourceStatus{Mode: byFiles, Own: true}
	status.Brought, status.Problems = ReadFiles(f.certFile, f.keyFile, &names, now)
	if len(status.Brought) > 0 {
		current = status.Brought[0].Chain[0]
	}
	if current == nil {
		return status
	}
	for _, name := range names.list()[1:] {
		if current.VerifyHostname(name) != nil {
			status.Warnings = append(status.Warnings, fmt.Sprintf("the certificate in %s does not cover %s: programs that connect by that name will complain", f.certFile, name))
		}
	}
	if left := current.NotAfter.Sub(now); left > 0 && 5*left < current.NotAfter.Sub(current.NotBefore) {
		status.Warnings = append(status.Warnings, fmt.Sprintf("the certificate ends on %s: put a new one into %s", current.NotAfter.UTC().Format(time.DateTime), f.certFile))
	}
	return status
}

func (f fileSource) Obtain(_ context.Context, names Names, _ []crypto.Signer, now time.Time) ([]Pair, error) {
	pairs, problems := ReadFiles(f.certFile, f.keyFile, &names, now)
	return pairs, problems.Err()
}

// The files of a directory as certbot keeps one for each certificate.
const (
	chainName = "fullchain.pem"
	keyName   = "privkey.pem"
)

const filesAdvice = "What is served stays as it is. Mend the file, then `mailstack cert renew`."

// Paths are the files that [ReadFiles] reads.
func Paths(certFile, keyFile string) []string {
	if info, err := os.Stat(certFile); err == nil && info.IsDir() {
		return []string{filepath.Join(certFile, chainName), filepath.Join(certFile, keyName)}
	}
	if keyFile == "" || keyFile == certFile {
		return []string{certFile}
	}
	return []string{certFile, keyFile}
}

// ReadFiles reads a key and its chain, in PEM form, and checks them as a client
// would. certFile is a file, or a directory that holds fullchain.pem and
// privkey.pem; keyFile may be empty where certFile has the key too. The chain may
// be in any order; a second key must have a certificate
// of its own. names, where they are given, say which host name must be covered.
// Links are followed: certbot's files are links.
func ReadFiles(certFile, keyFile string, names *Names, now time.Time) ([]Pair, Problems) {
	paths := Paths(certFile, keyFile)
	certFile = paths[0]
	found, problems := readUserFile(certFile)
	keys, keysIn := found.keys, certFile
	if len(paths) > 1 {
		other, more := readUserFile(paths[1])
		problems = append(problems, more...)
		keys, keysIn = other.keys, paths[1]
	}
	if len(problems) > 0 {
		return nil, problems
	}
	refuse := func(file, text string, args ...any) ([]Pair, Problems) {
		return nil, Problems{{file, fmt.Sprintf(text, args...), filesAdvice}}
	}
	switch {
	case len(found.certs) == 0:
		return refuse(certFile, "holds no certificate")
	case len(keys) == 0:
		return refuse(keysIn, "holds no private key")
	case len(keys) > 2, len(keys) == 2 && keyKind(keys[0].Public()) == keyKind(keys[1].Public()):
		return refuse(keysIn, "holds more than one private key of a kind")
	case len(keys) == 2 && !slices.ContainsFunc(keys, isRSA):
		return refuse(keysIn, "holds an ECDSA and an Ed25519 key: no client asks for one of these rather than the other, and one of them must be RSA")
	}
	slices.SortStableFunc(keys, func(a, b crypto.Signer) int { return cmp.Compare(keyKind(a.Public()), keyKind(b.Public())) })
	var pairs []Pair
	for _, key := range keys {
		leaf := leafOf(key, found.certs, now)
		if leaf == nil {
			return refuse(keysIn, "holds a private key that is not the one of %s", ofWhich(found.certs, certFile, keysIn))
		}
		chain := chainOf(leaf, found.certs)
		if complaint := chainComplaint(chain, names, now); complaint != "" {
			return refuse(certFile, "%s", complaint)
		}
		pairs = append(pairs, Pair{Key: key, Chain: chain})
	}
	return pairs, nil
}

func isRSA(key crypto.Signer) bool { return keyKind(key.Public()) == "rsa" }

// ofWhich names the certificates that a key does not fit.
func ofWhich(certs []*x509.Certificate, certFile, keyFile string) string {
	what := "its certificate"
	if len(certs) > 1 {
		what = fmt.Sprintf("any of its %d certificates", len(certs))
	}
	if certFile != keyFile {
		what = strings.Replace(what, "its", "the", 1) + " in " + certFile
	}
	return what
}

// readUserFile reads a file that we did not make. Only its owner may be able to
// write to it, and to read it where it holds a key.
func readUserFile(path string) (bundle, Problems) {
	refuse := func(text string) (bundle, Problems) { return bundle{}, Problems{{path, text, filesAdvice}} }
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // opening a FIFO would wait for a writer
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("does not exist")
	}
	if err != nil {
		return bundle{}, Problems{asProblem(path, err, filesAdvice)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return bundle{}, Problems{asProblem(path, err, filesAdvice)}
	}
	switch {
	case !info.Mode().IsRegular():
		return refuse("is not a plain file")
	case info.Size() > maxFileBytes:
		return refuse(fmt.Sprintf("is too large to be a certificate (%d bytes)", info.Size()))
	}
	if text := distrust(info); text != "" {
		return refuse(text)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	if err != nil {
		return bundle{}, Problems{asProblem(path, err, filesAdvice)}
	}
	b, complaints := parseBundle(content)
	if len(b.keys) > 0 && info.Mode().Perm()&0o077 != 0 {
		complaints = append(complaints, fmt.Sprintf("holds a private key and can be read by others (mode %04o)", info.Mode().Perm()))
	}
	return b, problemsOf(path, complaints, filesAdvice)
}

// leafOf finds the certificate of a key: of several, one that is valid now, then
// the one that ends last.
func leafOf(key crypto.Signer, certs []*x509.Certificate, now time.Time) *x509.Certificate {
	var best *x509.Certificate
	valid := func(c *x509.Certificate) bool { return !now.Before(c.NotBefore) && !now.After(c.NotAfter) }
	for _, c := range certs {
		if !matches(key, c) {
			continue
		}
		if best == nil || valid(c) && !valid(best) || valid(c) == valid(best) && c.NotAfter.After(best.NotAfter) {
			best = c
		}
	}
	return best
}

// chainOf puts the issuers behind a leaf, in order, as far as they are there.
func chainOf(leaf *x509.Certificate, certs []*x509.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	for last := leaf; !selfIssued(last); {
		i := slices.IndexFunc(certs, func(c *x509.Certificate) bool {
			return !slices.ContainsFunc(chain, c.Equal) && last.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			break
		}
		last = certs[i]
		chain = append(chain, last)
	}
	return chain
}

func selfIssued(c *x509.Certificate) bool {
	return string(c.RawIssuer) == string(c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// chainComplaint says why clients would refuse a chain, or "".
func chainComplaint(chain []*x509.Certificate, names *Names, now time.Time) string {
	leaf := chain[0]
	if complaint := leafComplaint(leaf); complaint != "" {
		return complaint
	}
	for i, c := range chain {
		what := "the certificate"
		if i > 0 {
			what = fmt.Sprintf("the issuer's certificate %q", c.Subject)
		}
		switch {
		case now.After(c.NotAfter):
			return fmt.Sprintf("holds %s that ended on %s", strings.Replace(what, "the certificate", "a certificate", 1), c.NotAfter.UTC().Format(time.DateTime))
		case now.Before(c.NotBefore):
			return fmt.Sprintf("holds %s that begins on %s UTC, after this host's clock", strings.Replace(what, "the certificate", "a certificate", 1), c.NotBefore.UTC().Format(time.DateTime))
		}
	}
	if names != nil {
		if host := names.list()[0]; leaf.VerifyHostname(host) != nil {
			return fmt.Sprintf("holds a certificate for %s, not for the hostname %s", strings.Join(leaf.DNSNames, ", "), host)
		}
	}
	return incomplete(chain, now)
}

// leafComplaint says what clients would not take in a leaf by itself.
func leafComplaint(leaf *x509.Certificate) string {
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Sprintf("holds an RSA key of %d bits, and clients want 2048 or more", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P224() {
			return "holds a key on the curve P-224, which clients do not take"
		}
	}
	switch leaf.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		return fmt.Sprintf("holds a certificate that is signed with %s, which clients refuse", leaf.SignatureAlgorithm)
	}
	usable := len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
	switch {
	case !usable:
		return "holds a certificate that is not for servers (its extended key usage)"
	case len(leaf.DNSNames) == 0:
		return "holds a certificate without a DNS name (subjectAltName)"
	}
	return ""
}

// incomplete says which issuer is missing, or "". A chain is complete where it
// ends at a root, or at a certificate that this system's own roots vouch for.
func incomplete(chain []*x509.Certificate, now time.Time) string {
	last := chain[len(chain)-1]
	roots, err := x509.SystemCertPool()
	if selfIssued(last) || err != nil || roots.Equal(x509.NewCertPool()) { // without roots nobody can tell
		return ""
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		return ""
	}
	return fmt.Sprintf("holds an incomplete chain: the certificate of the issuer %q is missing", last.Issuer)
}
