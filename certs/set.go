package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Set is all that the services serve at one time.
type Set struct {
	// Main is the certificate of the stack's own names; a second one is its twin
	// with a key of another kind. Never empty.
	Main []Pair
	// Extra are the certificates of further names, for clients that ask for one
	// of these (SNI, RFC 6066 section 3).
	Extra []Extra

	mode string // the [tls] mode that Main comes from
}

// Extra is a certificate of further names.
type Extra struct {
	Pair
	File string // where the configuration has it
	// Names are those of its names that it is served for: a name goes to the
	// first certificate that has it, the main one before all. In lower case,
	// a wildcard as in the certificate, "*.example.net". Never empty.
	Names []string
}

// PEM is the file form of a pair: its key directly before its chain.
func (p Pair) PEM() ([]byte, error) { return encode(p.Key, p.Chain...) }

// Leaf describes the certificate itself.
func (p Pair) Leaf() Certificate { return describe(p.Chain[0]) }

// Kind is the kind of the key: "ecdsa", "rsa" or "ed25519".
func (p Pair) Kind() string { return keyKind(p.Key.Public()) }

func (p Pair) equal(q Pair) bool {
	return slices.EqualFunc(p.Chain, q.Chain, (*x509.Certificate).Equal) && sameKey(p.Key.Public(), q.Key.Public())
}

// encode is the file form of a set: pairs one after the other, those of Extra
// below a comment that holds their file.
func (s Set) encode() ([]byte, error) {
	var out []byte
	add := func(p Pair, origin string) error {
		content, err := p.PEM()
		out = append(append(out, fromLine+origin+"\n"...), content...)
		return err
	}
	for _, p := range s.Main {
		if err := add(p, s.mode); err != nil {
			return nil, err
		}
	}
	for _, e := range s.Extra {
		if err := add(e.Pair, e.File); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// decodeSet is the set that a bundle holds, or what is wrong with it.
func decodeSet(b bundle) (set *Set, complaint string) {
	switch {
	case len(b.keys) == 0:
		return nil, "holds no private key"
	case len(b.certs) == 0:
		return nil, "holds no certificate"
	}
	if len(b.keys) == 1 {
		b.starts = []int{0} // the order of one key and its chain does not matter
	}
	set = &Set{mode: selfSigned}
	for i, key := range b.keys {
		end := len(b.certs)
		if i+1 < len(b.keys) {
			end = b.starts[i+1]
		}
		pair := Pair{Key: key, Chain: b.certs[b.starts[i]:end]}
		switch origin := b.origins[i]; {
		case len(pair.Chain) == 0:
			return nil, "holds a private key without its certificate"
		case !matches(key, pair.Chain[0]):
			return nil, "holds a private key that is not the one of its certificate"
		case strings.HasPrefix(origin, "/"):
			set.Extra = append(set.Extra, Extra{Pair: pair, File: origin})
		default:
			set.Main = append(set.Main, pair)
			if origin != "" {
				set.mode = origin
			}
		}
	}
	if len(set.Main) == 0 {
		return nil, "holds no certificate of the host itself"
	}
	set.share()
	return set, ""
}

// share gives each name to the first certificate that has it.
func (s *Set) share() {
	taken := map[string]bool{}
	for _, name := range s.Main[0].Chain[0].DNSNames {
		taken[strings.ToLower(name)] = true
	}
	for i := range s.Extra {
		e := &s.Extra[i]
		e.Names = nil
		for _, name := range e.Chain[0].DNSNames {
			if name = strings.ToLower(name); !taken[name] {
				taken[name] = true
				e.Names = append(e.Names, name)
			}
		}
	}
}

// Mode is the [tls] mode that Main comes from.
func (s *Set) Mode() string { return s.mode }

// Names are those of the main certificate, in lower case.
func (s *Set) Names() []string {
	names := make([]string, len(s.leaf().DNSNames))
	for i, name := range s.leaf().DNSNames {
		names[i] = strings.ToLower(name)
	}
	return names
}

func (s *Set) equal(other *Set) bool {
	return s.mode == other.mode && slices.EqualFunc(s.Main, other.Main, Pair.equal) && s.equalExtra(other)
}

func (s *Set) equalExtra(other *Set) bool {
	return slices.EqualFunc(s.Extra, other.Extra, func(a, b Extra) bool { return a.File == b.File && a.Pair.equal(b.Pair) })
}

func (s *Set) leaf() *x509.Certificate { return s.Main[0].Chain[0] }

// holds says whether the set has a certificate of a key.
func (s *Set) holds(key crypto.PublicKey) bool {
	return s != nil && slices.ContainsFunc(s.Main, func(p Pair) bool { return sameKey(p.Key.Public(), key) })
}

const leafAdvice = "`mailstack cert renew` makes a new one."

// readSet reads a set from a file; all of nil means that there is none.
func readSet(d *directory, name string) (*Set, Problems) {
	content, err := d.read(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	file := d.file(name)
	if err != nil {
		return nil, Problems{asProblem(file, err, leafAdvice)}
	}
	b, complaints := parseBundle(content)
	if len(complaints) > 0 {
		return nil, problemsOf(file, complaints, leafAdvice)
	}
	set, complaint := decodeSet(b)
	if complaint != "" {
		return nil, Problems{{file, complaint, leafAdvice}}
	}
	return set, nil
}

// writeSet writes a set that can be read back.
func writeSet(d *directory, name string, set *Set) error {
	content, err := set.encode()
	if err != nil {
		return err
	}
	b, complaints := parseBundle(content)
	if len(complaints) == 0 {
		var back *Set
		var complaint string
		if back, complaint = decodeSet(b); complaint != "" {
			complaints = append(complaints, complaint)
		} else if !back.equal(set) {
			complaints = append(complaints, "would not be read back as it was written")
		}
	}
	if len(complaints) > 0 {
		return fmt.Errorf("write %s: it %s", d.file(name), complaints[0])
	}
	if old, err := d.read(name, true); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return d.write(name, content, 0o600)
}

// Known says whether this system's own authorities vouch for the set, so that
// nobody need be told of one.
func (s *Set) Known(now time.Time) bool {
	between := x509.NewCertPool()
	for _, c := range s.Main[0].Chain[1:] {
		between.AddCert(c)
	}
	_, err := s.leaf().Verify(x509.VerifyOptions{Intermediates: between, CurrentTime: now})
	return err == nil
}

// Roots are whom a client must trust for the set to be valid: the local CA in
// dir, or the authorities of this system and whoever signed the end of the
// chain, which a private authority's certificate may be.
func (s *Set) Roots(dir string) (*x509.CertPool, error) {
	if s.mode == selfSigned {
		certificates, err := authorityCertificates(dir)
		pool := x509.NewCertPool()
		for _, c := range certificates {
			pool.AddCert(c)
		}
		return pool, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read this system's authorities: %w", err)
	}
	for _, pair := range s.Main {
		pool.AddCert(pair.Chain[len(pair.Chain)-1])
	}
	return pool, nil
}
