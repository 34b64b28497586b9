// Package acme obtains certificates from an authority that speaks ACME (RFC
// 8555), such as Let's Encrypt: a [certs.Source].
//
// What matters here is what happens when something fails. The account's key,
// the URL of an order and an issued certificate are on disk before anything is
// done with them, so that a killed run is taken up where it ended and no
// certificate is asked for twice. What the authority refused is remembered with
// the time before which it is not asked again, whoever runs the program. An
// error is one line: for which name, what the authority said, and, as its hint,
// what a person can do.
//
// The protocol (signatures, nonces, problem documents) and the interfaces of DNS
// services are lego's. How names are proven, kept and waited for is ours: all
// names of an order at once, every wait with a deadline, nothing in the
// background.
//
// The package knows no configuration and no daemon: it is given a directory,
// names, keys and the time.
package acme

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	legolog "github.com/go-acme/lego/v5/log"

	"mailstack/certs"
)

// LetsEncrypt is the directory of the authority that is asked by default.
// https://letsencrypt.org/docs/acme-protocol-updates/
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// The ways to show that a name is ours.
const (
	HTTP01    = "http-01"     // RFC 8555 section 8.3
	TLSALPN01 = "tls-alpn-01" // RFC 8737
	DNS01     = "dns-01"      // RFC 8555 section 8.4
)

// Config says whom to ask for certificates, as whom, and how names are proven.
type Config struct {
	// Dir is where accounts and orders are kept, a directory for each account
	// below it. Whoever can read it can get certificates for the names.
	Dir string

	Directory  string // https URL of the authority's directory; empty: [LetsEncrypt]
	CAFile     string // PEM certificates that vouch for Directory's https; empty: the system's
	Email      string // whom the authority may write to; empty: nobody
	EABKeyID   string // external account binding, RFC 8555 section 7.3.4; empty: none
	EABKeyFile string // file with its key, base64url
	Profile    string // certificate profile; empty: the authority's choice

	Challenge   string   // [HTTP01] (also when empty), [TLSALPN01] or [DNS01]
	HTTPAddress string   // host:port to listen on for HTTP01; empty: ":80"
	Webroot     string   // directory of a web server that serves the names, instead of listening
	TLSAddress  string   // host:port to listen on for TLSALPN01; empty: ":443"
	DNSProvider string   // one of [Providers], for DNS01
	DNSEnvFile  string   // file with its settings, a KEY=VALUE a line; empty: none
	Resolvers   []string // host:port of recursive name servers for DNS01; empty: the host's

	UserAgent string // "mailstack/1.0", for RFC 8555 section 6.1; empty: "mailstack"
}

// Source asks one authority as one account.
type Source struct {
	cfg   Config
	dir   string // of the account
	asked bool   // see [Source.ByHand]

	// Tests have name servers on ports above 1024.
	authoritativePort string
}

var _ certs.Source = (*Source)(nil)

// New makes a source. Whatever is wrong with the configuration is in its
// status.
func New(cfg Config) *Source {
	setDefault(&cfg.Directory, LetsEncrypt)
	setDefault(&cfg.Challenge, HTTP01)
	setDefault(&cfg.HTTPAddress, ":80")
	setDefault(&cfg.TLSAddress, ":443")
	setDefault(&cfg.UserAgent, "mailstack")
	// The library would write to standard output, where our results belong.
	legolog.SetDefault(slog.New(slog.DiscardHandler))
	return &Source{cfg: cfg, dir: filepath.Join(cfg.Dir, accountName(cfg)), authoritativePort: "53"}
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// accountName is the name of an account's directory: readable, and another one
// for each authority and each external account.
func accountName(cfg Config) string {
	sum := sha256.Sum256([]byte(cfg.Directory + "\n" + cfg.EABKeyID))
	return host(cfg.Directory) + "-" + hex.EncodeToString(sum[:4])
}

// host is the name of an authority for people, and safe as a file's name.
func host(directory string) string {
	u, err := url.Parse(directory)
	if err != nil || u.Hostname() == "" {
		return "unknown"
	}
	return strings.Map(func(r rune) rune {
		if r == ':' || r == '/' {
			return '_'
		}
		return r
	}, strings.ToLower(u.Hostname()))
}

// Status implements [certs.Source]. It asks nobody.
func (s *Source) Status(_ certs.Names, current *x509.Certificate, now time.Time) certs.SourceStatus {
	status := certs.SourceStatus{Mode: "acme", Problems: s.problems()}
	d, err := certs.OpenPrivate(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if current != nil {
			status.Stale = s.foreign()
		}
		return status
	}
	if err != nil {
		status.Problems = append(status.Problems, asProblem(s.dir, err))
		return status
	}
	defer d.Close()
	if _, err := readAccountKey(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
		status.Problems = append(status.Problems, asProblem(d.File(accountKeyFile), err))
	}
	r := readRecord(d)
	if t := r.Trouble; t != nil {
		status.Warnings = append(status.Warnings, fmt.Sprintf("%s since %s: %s", failures(t.Count), utc(t.Since), t.Text))
	}
	if current != nil {
		status.Stale = s.stale(r, current, now)
		status.RenewAt = r.Renewal.at(current)
	}
	return status
}

// stale says why a certificate must be replaced although its names and dates are
// right, or "".
func (s *Source) stale(r *record, current *x509.Certificate, now time.Time) string {
	o := r.issuer(current)
	switch {
	case o == nil:
		return s.foreign()
	case s.cfg.Profile != "" && o.Profile != s.cfg.Profile:
		return fmt.Sprintf("it was not issued with the profile %q", s.cfg.Profile)
	}
	return r.Renewal.due(current, now)
}

// ByHand is the source for a person who wants a new certificate now: it does not
// go on waiting after a failure, unless the authority demanded the wait.
func (s *Source) ByHand() *Source {
	by := *s
	by.asked = true
	return &by
}

func (s *Source) foreign() string { return "it was not issued by " + host(s.cfg.Directory) }

// Obtain implements [certs.Source]: one order for each key, for all names. Its
// error is an [*Error] where the authority was, or would have been, asked.
func (s *Source) Obtain(ctx context.Context, names certs.Names, keys []crypto.Signer, now time.Time) ([]certs.Pair, error) {
	if problems := s.problems(); len(problems) > 0 {
		return nil, problems
	}
	d, err := certs.MakePrivate(s.dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	j := &job{s: s, d: d, r: readRecord(d), names: names.List(), now: now}
	j.r.Directory = s.cfg.Directory
	defer j.close()
	pairs, all, err := j.kept(keys)
	if err != nil {
		return nil, err
	}
	if !all {
		if err := j.hold(); err != nil {
			return nil, err
		}
	}
	for i, key := range keys {
		if pairs[i].Chain != nil {
			continue
		}
		if pairs[i].Chain, err = j.certify(ctx, key); err != nil {
			return nil, j.fail(ctx, err)
		}
	}
	j.delivered(pairs)
	return pairs, j.save()
}
