package dns

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	mdns "github.com/miekg/dns"
)

// ttl is what records are proposed with, in seconds: short enough to mend a
// mistake within the hour.
const ttl = 3600

// Needed says which records a host and its domains need.
func Needed(h Host, domains []Domain) Plan {
	h.Web = cmp.Or(h.Web, h.Name)
	p := Plan{Host: h, domains: domains}
	for _, d := range domains {
		p.Domains = append(p.Domains, d.Name)
	}
	p.addHost(slices.ContainsFunc(domains, func(d Domain) bool { return d.Name == h.Name }))
	for _, d := range domains {
		p.addDomain(d)
	}
	return p
}

// service is a port that an SRV record announces.
type service struct {
	name     string // "_imaps"
	key      string // in Host.Ports
	priority uint16 // the lower comes first, also between protocols (RFC 6186 section 3.4)
	what     string
}

// services prefer TLS from the first byte (RFC 8314 section 5.1) and IMAP.
// ManageSieve is RFC 5804 section 1.8.
var services = []service{
	{"_imaps", "imaps", 0, "IMAP over TLS"},
	{"_imap", "imap", 10, "IMAP with STARTTLS"},
	{"_pop3s", "pop3s", 20, "POP3 over TLS"},
	{"_pop3", "pop3", 30, "POP3 with STARTTLS"},
	{"_submissions", "submissions", 0, "sending over TLS"},
	{"_submission", "submission", 10, "sending with STARTTLS"},
	{"_sieve", "managesieve", 0, "filters, by ManageSieve"},
}

const addressReason = "other mail servers and mail programs connect there"

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Plan) add(kind, domain string, required bool, rr mdns.RR, reason string, args ...any) {
	p.Records = append(p.Records, Record{RR: rr, Kind: kind, Domain: domain, Required: required, Reason: fmt.Sprintf(reason, args...)})
}

func (p *Plan) addHost(hosted bool) {
	h := p.Host
	if len(h.Addresses) == 0 {
		p.note("no A, AAAA and PTR records: the address that the internet reaches this host by is not known (--address)")
	}
	four := slices.ContainsFunc(h.Addresses, netip.Addr.Is4)
	for _, a := range h.Addresses {
		if a.Is4() || !four {
			p.add(KindAddress, "", true, addressRecord(h.Name, a), addressReason)
		} else {
			p.add(KindAddress, "", false, addressRecord(h.Name, a), "who has IPv6 connects there")
		}
	}
	for _, a := range h.Addresses {
		reversed, _ := mdns.ReverseAddr(a.String()) // it fails for what is no address only
		p.add(KindPTR, "", true, &mdns.PTR{Hdr: header(reversed, mdns.TypePTR), Ptr: mdns.Fqdn(h.Name)},
			"many servers refuse mail from an address that does not lead back to its name; whoever gave you the address sets it")
	}
	if h.Issuer != "" {
		p.add(KindCAA, "", false, &mdns.CAA{Hdr: header(h.Name, mdns.TypeCAA), Tag: "issue", Value: h.Issuer},
			"no other authority may make a certificate for the host")
	}
	p.addKeys()
	if h.PolicyID == "" {
		p.note("no MTA-STS records: they are for a certificate of an authority that every system knows")
	}
	if !hosted && h.Smarthost == "" {
		p.add(KindSPF, "", false, text(h.Name, "v=spf1 a -all"), "bounces have no sender: receivers look at the name that the host greets with")
	}
}

// MXPort is where other mail servers connect, and so what they ask for the records of
// DANE of (RFC 7672 section 2.2.3): an MX record names no port. A host whose listener
// has another one is reached through something that hands this one on.
const MXPort = 25

// addKeys adds the records of DANE for that port: no mail program asks for the
// other ports'.
func (p *Plan) addKeys() {
	h := p.Host
	switch {
	case h.Ports["smtp"] == 0:
	case len(h.Keys) == 0:
		p.note("no TLSA records: there is no certificate yet (mailstack up)")
	default:
		for _, k := range h.Keys {
			p.Records = append(p.Records, k.Record(MXPort, h.Name))
		}
	}
}

// Record is the TLSA record of a key on a TCP port of a host. "3 1 1" is the
// SHA-256 of the public key: it stays right for as long as the key does, whoever
// signs the certificate (RFC 7671 section 5.1).
func (k Key) Record(port uint16, host string) Record {
	rr := &mdns.TLSA{
		Hdr:   header(fmt.Sprintf("_%d._tcp.%s", port, host), mdns.TypeTLSA),
		Usage: 3, Selector: 1, MatchingType: 1, Certificate: k.SHA256,
	}
	reason := "who knows DANE trusts this key (" + k.Kind + ") and no other; it counts in a zone that is signed (DNSSEC)"
	if k.Next {
		reason = "the key that follows (" + k.Kind + "): its record has to be there before it is served"
	}
	return Record{RR: rr, Kind: KindTLSA, Reason: reason}
}

func (p *Plan) addDomain(d Domain) {
	h := p.Host
	if h.Ports["smtp"] != 0 {
		p.add(KindMX, d.Name, true, &mdns.MX{Hdr: header(d.Name, mdns.TypeMX), Preference: 10, Mx: mdns.Fqdn(h.Name)},
			"mail for %s goes to this host", d.Name)
	} else {
		p.note("%s: no MX record, as port 25 is off", d.Name)
	}
	p.addSender(d)
	p.add(KindTLSRPT, d.Name, false, text("_smtp._tls."+d.Name, "v=TLSRPTv1; rua=mailto:postmaster@"+d.Name),
		"other servers report to you when TLS to this host fails")
	p.addPolicy(d)
	for _, s := range services {
		name := s.name + "._tcp." + d.Name
		if port := h.Ports[s.key]; port != 0 {
			p.add(KindSRV, d.Name, false, &mdns.SRV{
				Hdr: header(name, mdns.TypeSRV), Priority: s.priority, Weight: 1, Port: port, Target: mdns.Fqdn(h.Name),
			}, "mail programs find %s", s.what)
			continue
		}
		p.add(KindSRV, d.Name, false, &mdns.SRV{Hdr: header(name, mdns.TypeSRV), Target: "."}, "%s is off: mail programs need not try", s.what)
	}
	for _, name := range []struct{ label, who string }{
		{"autoconfig", "Thunderbird and its like ask there for their settings"},
		{"autodiscover", "Outlook asks there for its settings"},
	} {
		p.add(KindAutoconfig, d.Name, false, p.alias(name.label+"."+d.Name),
			"%s; a web server there serves what `mailstack clientconfig` writes", name.who)
	}
}

// addSender adds what says which mail from a domain is real.
func (p *Plan) addSender(d Domain) {
	if smarthost := p.Host.smarthost(d.Name); smarthost == "" {
		p.add(KindSPF, d.Name, true, text(d.Name, "v=spf1 mx -all"), "nobody but this host may send as %s", d.Name)
	} else {
		p.add(KindSPF, d.Name, true, text(d.Name, "v=spf1 mx ~all"),
			"who may send as %s; before ~all add what the owner of %s asks for (include:…)", d.Name, smarthost)
	}
	policy, why := "none", "what receivers do with forged mail: nothing, as long as your own is not signed (DKIM)"
	switch {
	case p.Host.SigningOff:
		p.note("%s: no DKIM record, as nothing signs mail while `enabled` in [filter] is false; those of earlier keys do no harm, and mail that is on its way may need them", d.Name)
	case len(d.Signing) == 0:
		p.note("%s: no DKIM record, as its mail is not signed yet", d.Name)
	default:
		policy, why = "quarantine", "receivers put forged mail into spam"
		p.addSigning(d)
	}
	p.add(KindDMARC, d.Name, true, text("_dmarc."+d.Name, "v=DMARC1; p="+policy+"; rua=mailto:postmaster@"+d.Name),
		"%s; large receivers want one, and report to you daily", why)
}

// addPolicy adds MTA-STS, for which the world has to trust the certificate.
func (p *Plan) addPolicy(d Domain) {
	if p.Host.PolicyID == "" {
		return
	}
	p.add(KindMTASTS, d.Name, false, text("_mta-sts."+d.Name, "v=STSv1; id="+p.Host.PolicyID),
		"other servers send to %s by TLS only; the id changes with the policy", d.Name)
	p.add(KindMTASTS, d.Name, false, p.alias("mta-sts."+d.Name),
		"where the policy is: a web server there serves what `mailstack clientconfig` writes")
}

// alias leads to the web server.
func (p *Plan) alias(name string) mdns.RR {
	return &mdns.CNAME{Hdr: header(name, mdns.TypeCNAME), Target: mdns.Fqdn(p.Host.Web)}
}

func header(name string, rrtype uint16) mdns.RR_Header {
	return mdns.RR_Header{Name: mdns.CanonicalName(name), Rrtype: rrtype, Class: mdns.ClassINET, Ttl: ttl}
}

func addressRecord(name string, a netip.Addr) mdns.RR {
	if a = a.Unmap(); a.Is4() {
		return &mdns.A{Hdr: header(name, mdns.TypeA), A: a.AsSlice()}
	}
	return &mdns.AAAA{Hdr: header(name, mdns.TypeAAAA), AAAA: a.AsSlice()}
}

// maxString is how long a string in a TXT record can be (RFC 1035 section 3.3).
const maxString = 255

func text(name, content string) *mdns.TXT {
	rr := &mdns.TXT{Hdr: header(name, mdns.TypeTXT)}
	for chunk := range slices.Chunk([]byte(content), maxString) {
		rr.Txt = append(rr.Txt, string(chunk))
	}
	return rr
}
