package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"mailstack/config"
	"mailstack/dns"
)

// The look outward: what the internet must know and let through before mail
// comes and goes. It asks and advises; it changes nothing and never makes up
// fail, because none of it is this program's to mend.

// sight is one line of the look outward.
type sight struct {
	ok     bool
	what   string
	advice string // what to ask for, where it is not ok
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
	fmt.Fprintln(a.Stdout, "\nLooking outward")
	missing := 0
	if way := outboundSMTP(ctx, cfg); way.ok {
		fmt.Fprintf(a.Stdout, "✓ %s\n", way.what)
	} else {
		missing++
		fmt.Fprintf(a.Stdout, "✗ %s\n    %s\n", way.what, way.advice)
	}
	missing += a.showRecords(ctx, cfg)
	if missing == 0 {
		fmt.Fprintf(a.Stdout, "\n%s; internet: ready\n", proven)
		return
	}
	fmt.Fprintf(a.Stdout, "\n%s; internet: not ready, because of the %d lines marked ✗\n", proven, missing)
}

// showRecords prints the records that have to be mended, and how many there are;
// those that could be are counted.
func (a *app) showRecords(ctx context.Context, cfg *config.Config) (missing int) {
	report, err := a.glanceDNS(ctx, cfg)
	if err != nil {
		fmt.Fprintf(a.Stdout, "✗ the DNS could not be compared: %v\n", err)
		return 1
	}
	for _, f := range report.Findings {
		if f.Status == dns.Wrong {
			missing++
			_ = f.Write(a.Stdout, dns.TextOptions{Colour: colour(a.Stdout)}) // as for all lines here
		}
	}
	if n := report.Count(dns.Unknown); n > 0 {
		missing++
		fmt.Fprintf(a.Stdout, "✗ no answer about %d records: `mailstack dns check` says why\n", n)
	}
	if n := report.Count(dns.Warning); n > 0 {
		fmt.Fprintf(a.Stdout, "! %d recommended records are not there, or not as they could be: `mailstack dns check`\n", n)
	}
	if n := report.Count(dns.OK); n > 0 {
		fmt.Fprintf(a.Stdout, "✓ %d of %d DNS records are as they should be\n", n, len(report.Findings))
	}
	return missing
}

// outboundSMTP asks whether port 25 lets mail out, at a large receiver's
// exchanger found by DNS; it connects, reads nothing and says nothing.
func outboundSMTP(ctx context.Context, cfg *config.Config) sight {
	if cfg.Relay.Host != "" {
		what := "outbound mail goes by " + cfg.Relay.Host
		if len(cfg.Relay.Domains) > 0 {
			what += fmt.Sprintf(", that of %d domains another way", len(cfg.Relay.Domains))
		}
		return sight{ok: true, what: what}
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	mx, err := net.DefaultResolver.LookupMX(ctx, "gmail.com")
	if err != nil || len(mx) == 0 {
		return sight{what: "outbound port 25: could not be tried, no DNS", advice: "check /etc/resolv.conf"}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(strings.TrimSuffix(mx[0].Host, "."), "25"))
	if err != nil {
		return sight{what: "outbound port 25 is closed", advice: "ask the provider to open it, or set [relay] to a smarthost"}
	}
	conn.Close()
	return sight{ok: true, what: "outbound port 25 is open"}
}
