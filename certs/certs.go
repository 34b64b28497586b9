// Package certs makes, obtains, reads, renews and compares the certificates a
// stack serves.
//
// One function of one interface ([Source.Obtain]) is what differs between the
// ways to get a certificate: a local CA ([LocalCA]), files of the user's
// ([Files]), or a public CA (package acme). When one is due, how it is written,
// installed and compared with what a port serves is common to all of them.
//
// The package knows no configuration, no engine and no daemon: it is given a
// directory, names and the time.
package certs

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Files in the directory of certificates, <data>/ca.
const (
	// ServerFile holds all that is served: private key, leaf and chain of each
	// certificate in one file, so that one rename replaces them together. The
	// key comes first: Postfix's
	// smtpd_tls_chain_files wants each key directly before its chain, Dovecot
	// and OpenSSL take any order.
	// https://www.postfix.org/postconf.5.html#smtpd_tls_chain_files
	ServerFile = "server.pem"
	// AuthorityKeyFile holds the local CA's private key and its certificate, for
	// the same reason.
	AuthorityKeyFile = "ca.key"
	// AuthorityFile is a copy of the local CA's certificate, and of the next one's,
	// for people and programs to trust. It is derived from the files of both.
	AuthorityFile = "ca.pem"
	// NextAuthorityFile holds the CA that will follow, as AuthorityKeyFile.
	NextAuthorityFile = "ca-next.key"
	// PendingFile is what ServerFile becomes as soon as it is proven to be served.
	PendingFile = "pending.pem"
	// NextKeyFile holds the private keys of the next certificates. They are made
	// ahead of time, so that their TLSA records can be published first.
	NextKeyFile = "next.key"
)

const (
	// leafLife is far below both limits that Apple sets: 825 days for a leaf of
	// a CA that the user added (https://support.apple.com/HT210176), 398 for a
	// public one (https://support.apple.com/HT211025). It is what the big ACME CA
	// gives, so all sources renew at the same pace.
	leafLife = 90 * 24 * time.Hour
	// authorityYears is long because every device must be told of a new CA.
	authorityYears = 10
	// authorityAhead is how long before the CA's end the next one is made,
	// authorityOverlap how long both are trusted before it signs. Devices that
	// are looked after once a year are told in time.
	authorityAhead   = 2 * 365 * 24 * time.Hour
	authorityOverlap = 365 * 24 * time.Hour
	// clockSkew is taken off the start of validity, for clients whose clock is
	// slow.
	clockSkew = time.Hour
)

// Names are what a certificate must be valid for. All are ASCII (A-labels,
// RFC 5890); case and a repeated name do not matter. An alias may be a wildcard,
// "*.example.org".
type Names struct {
	Hostname string
	Aliases  []string
}

// list returns the names in lower case, the host name first and each once.
func (n Names) list() []string {
	var names []string
	for _, name := range append([]string{n.Hostname}, n.Aliases...) {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// List is every name in lower case, the host name first and each once.
func (n Names) List() []string { return n.list() }

// check reports every name that cannot be in a certificate.
func (n Names) check() error {
	var problems []error
	for i, name := range n.list() {
		if i > 0 {
			name = strings.TrimPrefix(name, "*.")
		}
		if reason := badName(name); reason != "" {
			problems = append(problems, fmt.Errorf("name %q for a certificate: %s", name, reason))
		}
	}
	return errors.Join(problems...)
}

// badName says why a name is not a host name as RFC 5280 4.2.1.6 wants one in
// a dNSName (the preferred name syntax of RFC 1034 3.5, with a leading digit
// allowed by RFC 1123 2.1), or "".
func badName(name string) string {
	if name == "" {
		return "it is empty"
	}
	if len(name) > 253 {
		return "it is longer than 253 bytes"
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "it is an IP address, not a host name"
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "it has an empty label"
		case len(label) > 63:
			return "it has a label longer than 63 bytes"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "it has a label that begins or ends with a hyphen"
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			return "only letters, digits, hyphens and dots can be in it"
		}
	}
	return ""
}

// Pair is a private key with the chain that certifies it.
type Pair struct {
	Key   crypto.Signer
	Chain []*x509.Certificate // leaf first, root left out
}

// Source is a way to get certificates.
type Source interface {
	// Status looks, without changing anything, at what the source is made of.
	// current is the leaf in use, or nil.
	Status(names Names, current *x509.Certificate, now time.Time) SourceStatus
	// Obtain gets a chain for each key, in their order; a source that has keys
	// of its own (files) is given none and returns them with their chains. What
	// it writes of its own it writes so that it can be killed at any point and
	// called again: with the same keys, which the caller has written already.
	Obtain(ctx context.Context, names Names, keys []crypto.Signer, now time.Time) ([]Pair, error)
}

// SourceStatus is what a source says of itself.
type SourceStatus struct {
	Mode string // the [tls] mode: "self-signed", "acme", "files"
	// Authority is the CA that clients must trust, nil where there is none yet
	// or where it is a public one.
	Authority *Certificate
	// Problems keep Obtain from working; a person must mend them.
	Problems Problems
	// NextAuthority is the CA that clients should trust too, as it will follow
	// Authority; nil: none yet.
	NextAuthority *Certificate
	// Stale says why the current leaf must be replaced although its names and
	// dates are right. Empty: it need not be.
	Stale string
	// RenewAt is when the source wants the current leaf renewed; zero: when a
	// third of its life is left.
	RenewAt time.Time
	// Warnings are sentences about what works and could be better.
	Warnings []string
	// Own says that the source has keys and certificates of its own, which are
	// taken as they are; Brought are those that there are now, empty where
	// Problems keep them from being used.
	Own     bool
	Brought []Pair
}

// Certificate is what people and programs want to know of a certificate.
type Certificate struct {
	Names       []string  `json:"names,omitempty"` // subjectAltName, DNS
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`      // hexadecimal
	Fingerprint string    `json:"fingerprint"` // SHA-256 of the DER form, lower-case hexadecimal
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
}

func describe(c *x509.Certificate) Certificate {
	return Certificate{
		Names:       c.DNSNames,
		Subject:     c.Subject.String(),
		Issuer:      c.Issuer.String(),
		Serial:      c.SerialNumber.Text(16),
		Fingerprint: fingerprint(c),
		NotBefore:   c.NotBefore.UTC(),
		NotAfter:    c.NotAfter.UTC(),
	}
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
