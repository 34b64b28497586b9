// Package dns says which records a mail domain needs in the DNS, each with a
// reason, writes them in the forms that name servers and Terraform read, and
// compares them with what the name servers of the domain answer.
//
// What is needed is a pure function of plain values (see Needed). Questions go
// out through an [Asker]; package ask has the one for the internet.
package dns

import (
	"net/netip"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// Host is the mail server, as the internet should see it.
type Host struct {
	Name string // A-labels, without a dot at the end
	// Addresses are those that the internet reaches it by, and that it sends
	// from. Empty: not known.
	Addresses []netip.Addr
	// Ports by configuration key: smtp, submission, submissions, imap, imaps,
	// pop3, pop3s, managesieve. 0, or none, is a listener that is off.
	Ports map[string]uint16
	// Keys are those of the certificate, for DANE. Empty: not known.
	Keys []Key
	// Issuer is what the authority of the certificate calls itself in CAA records
	// (RFC 8659 section 4.2), "letsencrypt.org". Empty: none, or not known.
	Issuer string
	// Smarthost takes outgoing mail. Empty: the host sends itself.
	Smarthost string
	// Smarthosts are, by domain, those of senders whose mail takes another way.
	Smarthosts map[string]string
	// SigningOff says that nothing here signs mail: what keys the domains have are of use
	// only for mail that was signed before.
	SigningOff bool
	// PolicyID is the id of the MTA-STS policy (RFC 8461 section 3.1), which has to
	// change with it. Empty: there is no policy.
	PolicyID string
	// Web is the name of the web server with the documents for mail programs and
	// the MTA-STS policy. Empty: Name.
	Web string
}

// smarthost is the one of a domain's mail.
func (h Host) smarthost(domain string) string {
	if own, is := h.Smarthosts[domain]; is {
		return own
	}
	return h.Smarthost
}

// Key is a public key of DANE (RFC 6698; for SMTP, RFC 7672).
type Key struct {
	SHA256 string // of the SubjectPublicKeyInfo, lower-case hexadecimal
	Kind   string // "ecdsa", "rsa": for people
	Next   bool   // it is not served yet
}

// Domain is a mail domain.
type Domain struct {
	Name string // A-labels, without a dot at the end
	// Signing are the keys that its mail is signed with, was signed with, or will be.
	// Empty: it is not signed.
	Signing []SigningKey
}

// SigningKey is a key of DKIM (RFC 6376, RFC 8463).
type SigningKey struct {
	Selector  string
	Type      string    // "rsa" or "ed25519"
	PublicKey string    // base64, as the tag p= has it
	State     string    // "next", "active", "retiring", "retired"
	Until     time.Time // of a retiring key: its record is needed so long
}

// Record is one that is needed.
type Record struct {
	RR     mdns.RR
	Kind   string // what it is for: one of Kinds
	Domain string // the mail domain that it is for; "": the host
	Reason string // one line, for people
	// Required says that mail is lost or refused without it; others are
	// recommended.
	Required bool
}

// The kinds of records.
const (
	KindAddress    = "address"
	KindPTR        = "ptr"
	KindMX         = "mx"
	KindSPF        = "spf"
	KindDKIM       = "dkim"
	KindDMARC      = "dmarc"
	KindTLSRPT     = "tls-rpt"
	KindMTASTS     = "mta-sts"
	KindTLSA       = "tlsa"
	KindSRV        = "srv"
	KindAutoconfig = "autoconfig"
	KindCAA        = "caa"
)

// Kinds are all of them, with what each is about.
func Kinds() [][2]string {
	return [][2]string{
		{KindAddress, "the host's name leads to its addresses (A, AAAA)"},
		{KindPTR, "the host's addresses lead back to its name"},
		{KindCAA, "the certificate's authority may issue it"},
		{KindTLSA, "the digests of the certificate's keys, for DANE"},
		{KindMX, "where mail for each domain goes"},
		{KindSPF, "who may send for each domain"},
		{KindDKIM, "the keys that each domain signs with"},
		{KindDMARC, "what to do with forged mail from each domain"},
		{KindTLSRPT, "where reports about failed TLS go"},
		{KindMTASTS, "that mail for each domain comes by TLS only"},
		{KindSRV, "the ports of mail programs"},
		{KindAutoconfig, "the names at which mail programs look for their settings"},
	}
}

// Name is the record's, with a dot at the end.
func (r Record) Name() string { return r.RR.Header().Name }

// Type is the record's, in letters.
func (r Record) Type() string { return mdns.TypeToString[r.RR.Header().Rrtype] }

// Value is the record's data as a zone file has it.
func (r Record) Value() string { return value(r.RR) }

func value(rr mdns.RR) string {
	return strings.TrimSpace(strings.TrimPrefix(rr.String(), rr.Header().String()))
}

// Level is the record's weight in a word.
func (r Record) Level() string {
	if r.Required {
		return "required"
	}
	return "recommended"
}

// Plan is what is needed.
type Plan struct {
	Host    Host
	Records []Record // the host's first, then by domain
	// Notes say what is not among the records, and why, a line each.
	Notes []string
	// Domains are the mail domains, which are taken for zones.
	Domains []string

	domains []Domain
}

// Zone is the name of the zone that a record belongs to, as far as can be said
// without asking: the mail domain that it is in, or what is behind the first
// label of the host's name, or the network of a reversed address (/24, /64).
func (p Plan) Zone(r Record) string {
	best := ""
	for _, domain := range p.Domains {
		zone := mdns.CanonicalName(domain)
		if mdns.IsSubDomain(zone, r.Name()) && len(zone) > len(best) {
			best = zone
		}
	}
	if best != "" {
		return best
	}
	name, labels := mdns.CanonicalName(p.Host.Name), 1
	if r.Kind == KindPTR {
		name = r.Name()
		if mdns.IsSubDomain("ip6.arpa.", name) {
			labels = 16 // of 64 bits, which is what people are given
		}
	}
	for ; labels > 0 && mdns.CountLabel(name) > 2; labels-- {
		_, name, _ = strings.Cut(name, ".")
	}
	return name
}

// Of is the plan for one zone, the records in it; a dot at its end may be missing.
func (p Plan) Of(zone string) Plan {
	zone = mdns.CanonicalName(zone)
	part := p
	part.Records = nil
	for _, r := range p.Records {
		if p.Zone(r) == zone {
			part.Records = append(part.Records, r)
		}
	}
	return part
}

// Zones are those with records in the plan, in their order; reversed ones last.
func (p Plan) Zones() []string {
	var forward, reverse []string
	seen := map[string]bool{}
	for _, r := range p.Records {
		zone := p.Zone(r)
		switch {
		case seen[zone]:
		case r.Kind == KindPTR:
			reverse = append(reverse, zone)
		default:
			forward = append(forward, zone)
		}
		seen[zone] = true
	}
	return append(forward, reverse...)
}
