package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mailstack/config"
)

// The look outward: what the internet must know and let through before mail
// comes and goes. It asks and advises; it changes nothing and never makes up
// fail, because none of it is this program's to mend.

const outlookTimeout = 8 * time.Second

// finding is one line of the look outward.
type finding struct {
	ok     bool
	what   string
	advice string // what to add or ask for, where it is not ok
}

// showOutlook prints the look outward and the last line of up.
func (a *app) showOutlook(ctx context.Context, cfg *config.Config, local bool) {
	proven := "local: proven"
	if !local {
		proven = "local: not proven, see above"
	}
	if cfg.Loopback() {
		fmt.Fprintf(a.Stdout, "\n%s; internet: not asked for, this stack listens on loopback only\n", proven)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, outlookTimeout)
	defer cancel()
	fmt.Fprintln(a.Stdout, "\nLooking outward")
	findings := lookOutward(ctx, net.DefaultResolver, cfg, a.hostedDomains(ctx))
	var missing []string
	for _, f := range findings {
		mark := "✓"
		if !f.ok {
			mark = "!"
			missing = append(missing, f.what)
		}
		fmt.Fprintf(a.Stdout, "%s %s\n", mark, f.what)
		if !f.ok && f.advice != "" {
			fmt.Fprintf(a.Stdout, "    %s\n", f.advice)
		}
	}
	if len(missing) == 0 {
		fmt.Fprintf(a.Stdout, "\n%s; internet: ready\n", proven)
		return
	}
	fmt.Fprintf(a.Stdout, "\n%s; internet: not ready, because of the %d lines marked !\n", proven, len(missing))
}

// hostedDomains lists the domains that mail is taken for.
func (a *app) hostedDomains(ctx context.Context) []string {
	db, done, err := a.database(ctx)
	if err != nil {
		return nil
	}
	defer done()
	domains, err := db.ListDomains(ctx, false)
	if err != nil {
		return nil
	}
	var names []string
	for _, d := range domains {
		names = append(names, d.Name)
	}
	return names
}

func lookOutward(ctx context.Context, r *net.Resolver, cfg *config.Config, domains []string) []finding {
	findings := []finding{outboundSMTP(ctx, cfg)}
	addresses, err := r.LookupNetIP(ctx, "ip", cfg.Hostname)
	if err != nil {
		findings = append(findings, finding{what: "A/AAAA of " + cfg.Hostname + ": " + dnsText(err), advice: "add an A record with this host's public address"})
	} else {
		findings = append(findings, finding{ok: true, what: "A/AAAA of " + cfg.Hostname + ": " + join(addresses)})
		for _, address := range addresses {
			findings = append(findings, reverse(ctx, r, cfg.Hostname, address))
		}
	}
	for _, d := range domains {
		findings = append(findings, mailExchanger(ctx, r, cfg.Hostname, d), senderPolicy(ctx, r, d))
	}
	return findings
}

// outboundSMTP asks whether port 25 lets mail out, at a large receiver's
// exchanger found by DNS; it connects, reads nothing and says nothing.
func outboundSMTP(ctx context.Context, cfg *config.Config) finding {
	if cfg.Relay.Host != "" {
		return finding{ok: true, what: "outbound mail goes by " + cfg.Relay.Host}
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	mx, err := net.DefaultResolver.LookupMX(ctx, "gmail.com")
	if err != nil || len(mx) == 0 {
		return finding{what: "outbound port 25: could not be tried, no DNS", advice: "check /etc/resolv.conf"}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(strings.TrimSuffix(mx[0].Host, "."), "25"))
	if err != nil {
		return finding{what: "outbound port 25 is closed", advice: "ask the provider to open it, or set [relay] to a smarthost"}
	}
	conn.Close()
	return finding{ok: true, what: "outbound port 25 is open"}
}

func reverse(ctx context.Context, r *net.Resolver, hostname string, address netip.Addr) finding {
	names, err := r.LookupAddr(ctx, address.Unmap().String())
	if err == nil && slices.Contains(names, hostname+".") {
		return finding{ok: true, what: fmt.Sprintf("PTR of %s: %s", address.Unmap(), hostname)}
	}
	seen := strings.Join(names, ", ")
	if err != nil {
		seen = dnsText(err)
	}
	return finding{
		what:   fmt.Sprintf("PTR of %s: %s", address.Unmap(), seen),
		advice: "ask the provider of the address to point it to " + hostname,
	}
}

func mailExchanger(ctx context.Context, r *net.Resolver, hostname, domain string) finding {
	mx, err := r.LookupMX(ctx, domain)
	for _, m := range mx {
		if strings.EqualFold(strings.TrimSuffix(m.Host, "."), hostname) {
			return finding{ok: true, what: "MX of " + domain + ": " + hostname}
		}
	}
	if domain == hostname && len(mx) == 0 {
		return finding{ok: true, what: "MX of " + domain + ": not needed, it has the host's own address"}
	}
	seen := "another host"
	if err != nil {
		seen = dnsText(err)
	}
	return finding{what: "MX of " + domain + ": " + seen, advice: fmt.Sprintf("add: %s. MX 10 %s.", domain, hostname)}
}

func senderPolicy(ctx context.Context, r *net.Resolver, domain string) finding {
	texts, err := r.LookupTXT(ctx, domain)
	for _, t := range texts {
		if strings.HasPrefix(strings.ToLower(t), "v=spf1") {
			return finding{ok: true, what: "SPF of " + domain + ": " + t}
		}
	}
	seen := "none"
	if err != nil {
		seen = dnsText(err)
	}
	return finding{what: "SPF of " + domain + ": " + seen, advice: fmt.Sprintf("add: %s. TXT \"v=spf1 mx -all\"", domain)}
}

// dnsText says what a resolver answered without its address.
func dnsText(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		switch {
		case dns.IsNotFound:
			return "none"
		case dns.IsTimeout:
			return "no answer in time"
		}
		return dns.Err
	}
	return err.Error()
}

func join(addresses []netip.Addr) string {
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.Unmap().String())
	}
	return strings.Join(texts, ", ")
}
