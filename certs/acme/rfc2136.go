package acme

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/platform/env"
	"github.com/miekg/dns"
)

// rfc2136 sets records by dynamic updates (RFC 2136) signed with a shared key
// (TSIG, RFC 8945). The library's own provider for it would add 1.2 MB and
// fourteen modules to the program, for Kerberos, and takes away every other value
// of a name: those of a wildcard and of the name below it, or of two hosts, would
// have to wait for each other.
type rfc2136 struct {
	server                 string // host:port
	key, secret, algorithm string // no key: not signed
	ttl                    uint32 // seconds
	timeout, interval      time.Duration
}

func newRFC2136() (challenge.Provider, error) {
	values, err := env.Get("RFC2136_NAMESERVER")
	if err != nil {
		return nil, err
	}
	p := &rfc2136{
		server:    values["RFC2136_NAMESERVER"],
		key:       env.GetOrFile("RFC2136_TSIG_KEY"),
		secret:    env.GetOrFile("RFC2136_TSIG_SECRET"),
		algorithm: dns.Fqdn(env.GetOrDefaultString("RFC2136_TSIG_ALGORITHM", dns.HmacSHA256)),
		ttl:       uint32(env.GetOrDefaultInt("RFC2136_TTL", dns01.DefaultTTL)),
		timeout:   env.GetOrDefaultSecond("RFC2136_PROPAGATION_TIMEOUT", dns01.DefaultPropagationTimeout),
		interval:  env.GetOrDefaultSecond("RFC2136_POLLING_INTERVAL", dns01.DefaultPollingInterval),
	}
	if _, _, err := net.SplitHostPort(p.server); err != nil {
		p.server = net.JoinHostPort(p.server, "53")
	}
	if (p.key == "") != (p.secret == "") {
		return nil, fmt.Errorf("RFC2136_TSIG_KEY and RFC2136_TSIG_SECRET are of use only together")
	}
	switch p.algorithm {
	case dns.HmacSHA1, dns.HmacSHA224, dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512:
	default:
		return nil, fmt.Errorf("RFC2136_TSIG_ALGORITHM is %q: allowed is hmac-sha256, hmac-sha384, hmac-sha512, hmac-sha224 or hmac-sha1", p.algorithm)
	}
	return p, nil
}

// Timeout implements [challenge.ProviderTimeout].
func (p *rfc2136) Timeout() (timeout, interval time.Duration) { return p.timeout, p.interval }

// Present implements [challenge.Provider].
func (p *rfc2136) Present(ctx context.Context, domain, _, keyAuth string) error {
	return p.update(ctx, domain, keyAuth, (*dns.Msg).Insert)
}

// CleanUp implements [challenge.Provider].
func (p *rfc2136) CleanUp(ctx context.Context, domain, _, keyAuth string) error {
	return p.update(ctx, domain, keyAuth, (*dns.Msg).Remove)
}

func (p *rfc2136) update(ctx context.Context, domain, keyAuth string, change func(*dns.Msg, []dns.RR)) error {
	info := dns01.GetChallengeInfo(ctx, domain, keyAuth)
	// The server that is changed knows its zones best: it may be a hidden primary.
	zone, err := dns01.DefaultClient().FindZoneByFqdnCustom(ctx, info.EffectiveFQDN, []string{p.server})
	if err != nil {
		return fmt.Errorf("find the zone of %s at %s: %w", info.EffectiveFQDN, p.server, err)
	}
	m := new(dns.Msg).SetUpdate(zone)
	change(m, []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: info.EffectiveFQDN, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: p.ttl},
		Txt: []string{info.Value},
	}})
	client := &dns.Client{Net: "tcp", Timeout: 2 * queryTimeout}
	if p.key != "" {
		key := dns.CanonicalName(p.key)
		client.TsigSecret = map[string]string{key: p.secret}
		const fudge = 300 // seconds that the two clocks may differ (RFC 8945 section 10)
		m.SetTsig(key, p.algorithm, fudge, time.Now().Unix())
	}
	reply, _, err := client.ExchangeContext(ctx, m, p.server)
	if err != nil {
		return fmt.Errorf("update zone %s at %s: %w", zone, p.server, err)
	}
	if reply.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("update zone %s at %s: the server answers %s", zone, p.server, dns.RcodeToString[reply.Rcode])
	}
	return nil
}
