package acme

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"mailstack/certs"
)

const (
	recordFile   = "record.json"
	recordFormat = 1
	// maxOrders bounds what is kept: the certificates in use, their predecessors,
	// which the next order names as replaced, and what was tried since.
	maxOrders = 8
)

// record is what is known of one account at one authority. Nothing in it is
// secret and nothing irreplaceable: without it the account is found again by its
// key, and one certificate more is ordered.
type record struct {
	Format    int       `json:"format"`
	Directory string    `json:"directory"` // for people
	Account   account   `json:"account"`
	Orders    []*order  `json:"orders,omitempty"` // oldest first
	Given     []given   `json:"given,omitempty"`
	Trouble   *trouble  `json:"trouble,omitempty"`
	Renewal   *schedule `json:"renewal,omitempty"`
}

type account struct {
	URL   string `json:"url,omitempty"` // empty: not registered yet
	Email string `json:"email,omitempty"`
}

// order is a certificate that has been asked for.
type order struct {
	Key     string    `json:"key"` // digest of the public key to certify
	Kind    string    `json:"kind"`
	Names   []string  `json:"names"`
	Profile string    `json:"profile,omitempty"`
	URL     string    `json:"url"`
	Made    time.Time `json:"made"`
	// Chain is the issued certificate, PEM; empty: not issued yet.
	Chain string `json:"chain,omitempty"`
	Leaf  string `json:"leaf,omitempty"` // SHA-256 of its DER form
	// Delivered says that whoever wanted it has got it once.
	Delivered bool `json:"delivered,omitempty"`
}

// given is an answer to a challenge that others can see until it is withdrawn.
type given struct {
	Challenge string `json:"challenge"`
	Name      string `json:"name"`
	Token     string `json:"token"`
}

// readRecord reads what there is. A record that cannot be read is begun anew.
func readRecord(d *certs.Private) *record {
	fresh := &record{Format: recordFormat}
	content, err := d.Read(recordFile)
	if err != nil {
		return fresh
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil || r.Format != recordFormat {
		return fresh
	}
	r.Orders = slices.DeleteFunc(r.Orders, func(o *order) bool { return o == nil })
	return &r
}

func (r *record) write(d *certs.Private) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write record of the ACME account: %w", err)
	}
	return d.Write(recordFile, append(content, '\n'))
}

// order finds the last order for a key and names; nil: none.
func (r *record) order(key string, names []string, profile string) *order {
	for _, o := range slices.Backward(r.Orders) {
		if o.Key == key && o.Profile == profile && slices.Equal(o.Names, names) {
			return o
		}
	}
	return nil
}

// issuer finds the order that a certificate comes from; nil: none.
func (r *record) issuer(leaf *x509.Certificate) *order {
	digest := fingerprint(leaf)
	for _, o := range r.Orders {
		if o.Leaf == digest {
			return o
		}
	}
	return nil
}

// predecessor finds the last certificate of a kind of key that shares a name.
func (r *record) predecessor(kind string, names []string) *x509.Certificate {
	for _, o := range slices.Backward(r.Orders) {
		shared := slices.ContainsFunc(o.Names, func(name string) bool { return slices.Contains(names, name) })
		if o.Kind != kind || !shared || o.Chain == "" {
			continue
		}
		if chain, err := parseChain([]byte(o.Chain)); err == nil {
			return chain[0]
		}
	}
	return nil
}

func (r *record) add(o *order) {
	r.Orders = append(r.Orders, o)
	if extra := len(r.Orders) - maxOrders; extra > 0 {
		r.Orders = slices.Delete(r.Orders, 0, extra)
	}
}

func (r *record) drop(o *order) {
	r.Orders = slices.DeleteFunc(r.Orders, func(other *order) bool { return other == o })
}

// forgetAccount is for an account that the authority does not know: open orders
// are nothing to a new one.
func (r *record) forgetAccount() {
	r.Account, r.Given = account{}, nil
	r.Orders = slices.DeleteFunc(r.Orders, func(o *order) bool { return o.Chain == "" })
}

// digest identifies a public key.
func digest(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// parseChain reads what an authority sends: certificates, the leaf first (RFC
// 8555 section 9.1).
func parseChain(content []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a %q", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a certificate that cannot be read: %w", err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("holds no certificate")
	}
	return chain, nil
}
