package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// LocalCA is the source of certificates signed by a CA of our own, kept in the
// directory dir. The CA is made at the first Obtain. Two years before its end a
// next one is made beside it, so that devices can be told of it: for a year both
// are in AuthorityFile and the old one signs, then the next one does.
//
// Where the CA's name constraints do not permit the names there is no such
// overlap: it is made again at once. The one before is kept beside it under
// another name. A CA that is there and cannot be used is an error, never
// replaced: devices trust it.
func LocalCA(dir string) Source { return localCA{dir} }

type localCA struct{ dir string }

// authority is a CA that can sign.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// authorities are the CA that signs, and the one that will follow it; nil where
// there is none.
type authorities struct{ current, next *authority }

// bundle is the content of AuthorityFile.
func (a authorities) bundle() []byte {
	if a.next == nil {
		return encodeCertificates(a.current.cert)
	}
	return encodeCertificates(a.current.cert, a.next.cert)
}

func (ca localCA) Status(names Names, current *x509.Certificate, now time.Time) SourceStatus {
	status := SourceStatus{Mode: selfSigned}
	d, err := openDirectory(ca.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return status
	}
	if err != nil {
		status.Problems = Problems{asProblem(ca.dir, err, "")}
		return status
	}
	defer d.close()
	a, problems := loadAuthorities(d)
	status.Problems = problems
	if a.current == nil {
		if current != nil && len(problems) == 0 {
			status.Stale = "there is no CA any more"
		}
		return status
	}
	authority := describe(a.current.cert)
	status.Authority = &authority
	if a.next != nil {
		next := describe(a.next.cert)
		status.NextAuthority = &next
		status.Warnings = []string{fmt.Sprintf("from %s on a new CA signs: give devices what `mailstack cert trust --print` prints before that",
			a.handover().Format(time.DateOnly))}
	}
	status.Stale = a.current.unfit(names, now)
	if status.Stale == "" && current != nil && current.CheckSignatureFrom(a.current.cert) != nil {
		status.Stale = "the certificate was not issued by the CA that is there now"
	}
	if status.Stale == "" {
		if content, err := d.read(AuthorityFile, false); err != nil || string(content) != string(a.bundle()) {
			status.Stale = d.file(AuthorityFile) + " does not hold the CA's certificate"
		}
	}
	return status
}

func (ca localCA) Obtain(ctx context.Context, names Names, keys []crypto.Signer, now time.Time) ([]Pair, error) {
	d, err := makeDirectory(ca.dir)
	if err != nil {
		return nil, err
	}
	defer d.close()
	a, problems := loadAuthorities(d)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	if err := a.advance(d, names, now); err != nil {
		return nil, err
	}
	// The keys take effect with one rename each, the copy for people follows.
	if _, err := d.writeOnce(AuthorityFile, a.bundle(), 0o644); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	pairs := make([]Pair, len(keys))
	for i, key := range keys {
		leaf, err := a.current.issue(names, key, now)
		if err != nil {
			return nil, err
		}
		pairs[i] = Pair{Key: key, Chain: []*x509.Certificate{leaf}}
	}
	return pairs, nil
}

// handover is when the next CA begins to sign.
func (a authorities) handover() time.Time {
	from := a.next.cert.NotBefore.Add(clockSkew + authorityOverlap)
	if end := a.current.cert.NotAfter.Add(-leafLife); end.Before(from) {
		return end
	}
	return from
}

// advance sees to it that there is a CA that can sign for the names, and in time
// one that will follow it.
func (a *authorities) advance(d *directory, names Names, now time.Time) error {
	if a.next != nil && a.next.unfit(names, now) != "" {
		if err := a.next.keep(d); err != nil {
			return err
		}
		if err := d.remove(NextAuthorityFile); err != nil {
			return err
		}
		a.next = nil
	}
	if a.current != nil && (a.current.unfit(names, now) != "" || a.next != nil && !now.Before(a.handover())) {
		if err := a.current.keep(d); err != nil {
			return err
		}
		a.current = nil
		if a.next != nil {
			if err := d.rename(NextAuthorityFile, AuthorityKeyFile); err != nil {
				return err
			}
			a.current, a.next = a.next, nil
		}
	}
	if a.current == nil {
		return createAuthority(&a.current, d, AuthorityKeyFile, names, now)
	}
	if a.next == nil && a.current.cert.NotAfter.Before(now.Add(authorityAhead)) {
		return createAuthority(&a.next, d, NextAuthorityFile, names, now)
	}
	return nil
}

// createAuthority makes a CA and keeps it in a file.
func createAuthority(a **authority, d *directory, name string, names Names, now time.Time) error {
	made, err := newAuthority(names, now)
	if err != nil {
		return err
	}
	*a = made
	return made.save(d, name)
}

const authorityAdvice = "Put %[1]s back from a backup. Without one, move %[1]s and %[2]s away and run `mailstack up`: " +
	"that makes a new CA, which every device must then be told to trust."

// loadAuthorities reads the CA and the one that follows it. None of either and
// no problem means that there is no CA.
func loadAuthorities(d *directory) (a authorities, problems Problems) {
	a.current, problems = loadAuthority(d, AuthorityKeyFile)
	if a.current == nil && len(problems) == 0 {
		if _, err := d.read(AuthorityFile, false); !errors.Is(err, fs.ErrNotExist) {
			keyFile, certFile := d.file(AuthorityKeyFile), d.file(AuthorityFile)
			return a, Problems{{keyFile, "is missing, and " + certFile + " is there", fmt.Sprintf(authorityAdvice, keyFile, certFile)}}
		}
	}
	next, nextProblems := loadAuthority(d, NextAuthorityFile)
	a.next = next
	return a, append(problems, nextProblems...)
}

// loadAuthority reads a CA. All of nil, nil means that there is none.
func loadAuthority(d *directory, name string) (*authority, Problems) {
	keyFile, certFile := d.file(name), d.file(AuthorityFile)
	advice := fmt.Sprintf(authorityAdvice, keyFile, certFile)
	content, err := d.read(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, Problems{asProblem(keyFile, err, advice)}
	}
	b, complaints := parseBundle(content)
	if len(complaints) == 0 && len(b.certs) == 0 && name == AuthorityKeyFile {
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
	return &authority{cert: b.certs[0], key: b.keys[0]}, nil
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
	case len(b.keys) == 0:
		return "holds no private key"
	case len(b.keys) > 1:
		return "holds more than one private key"
	case len(b.certs) == 0:
		return "holds no certificate"
	case !matches(b.keys[0], b.certs[0]):
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
