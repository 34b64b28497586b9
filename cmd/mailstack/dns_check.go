package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"mailstack/config"
	"mailstack/dns"
	"mailstack/dns/ask"
)

// dnsTimeout bounds a look at all records: dnsPatience for one that somebody
// waits for, dnsGlance for one that is part of something else.
const (
	dnsPatience = 10 * time.Second
	dnsGlance   = 4 * time.Second
)

func newDNSCheckCmd(a *app) *cobra.Command {
	var flags dnsFlags
	var format, server string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "check [DOMAIN]",
		Short: "Compare the DNS with what is needed",
		Long: "check asks the name servers of each zone themselves for what `dns show` prints,\n" +
			"and compares: ✓ is as it should be, or as good; ! could be better; ✗ is wrong,\n" +
			"or missing and required. What is not ✓ is asked again, of another server. The\n" +
			"resolvers that find the name servers are this host's, or acme_dns_resolvers in\n" +
			"[tls]; they are not asked for what may not be there yet.\n\n" +
			"Exit codes: 0 nothing is ✗, 1 something is, or nobody answered.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if timeout < time.Second {
				return usageError(fmt.Errorf("--timeout %s: less than a second proves nothing", timeout))
			}
			address, err := nameServer(server)
			if err != nil {
				return usageError(err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return a.dnsCheck(ctx, flags, format, address, args)
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "ask `ADDRESS[:PORT]` alone: a name server that is not in charge yet, for example")
	cmd.Flags().DurationVar(&timeout, "timeout", dnsPatience, "`DURATION` that all questions together may take")
	flags.add(cmd)
	addFormat(cmd, &format)
	return cmd
}

// nameServer reads an address, with port 53 where none is named.
func nameServer(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if both, err := netip.ParseAddrPort(text); err == nil && both.Port() != 0 {
		return both.String(), nil
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return "", fmt.Errorf("--server %q: neither an IP address nor one with a port, like 192.0.2.53 or [2001:db8::53]:5353", text)
	}
	return netip.AddrPortFrom(address, 53).String(), nil
}

func (a *app) dnsCheck(ctx context.Context, flags dnsFlags, format, server string, args []string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	if cfg.Loopback() && server == "" && flags.addresses == nil {
		_, err := fmt.Fprintln(a.Stderr, "not asked: this stack listens on loopback only (--address says how the internet reaches it)")
		return err
	}
	plan, err := a.dnsPlan(ctx, flags, args)
	if err != nil {
		return err
	}
	report := dns.Check(ctx, plan, asker(cfg, server))
	if format == "json" {
		err = a.printJSON(report)
	} else {
		err = report.WriteText(a.Stdout, dns.TextOptions{Colour: colour(a.Stdout)})
	}
	if err == nil && report.Count(dns.Wrong)+report.Count(dns.Unknown) > 0 {
		err = &exitError{code: exitFailed}
	}
	return err
}

// asker asks one server, or those in charge.
func asker(cfg *config.Config, server string) *ask.Client {
	return ask.New(ask.Options{Server: server, Resolvers: cfg.TLS.ACMEResolvers})
}

// dnsFresh is how long a look without a fault is good for: an exporter that is
// asked every few seconds must not ask other people's name servers as often.
const dnsFresh = 5 * time.Minute

// dnsLook is the last one without a fault.
type dnsLook struct {
	mu     sync.Mutex
	report dns.Report
	when   time.Time
}

// recentDNS is the last look, if there was no fault and it is fresh, or else a
// new one.
func (a *app) recentDNS(ctx context.Context, cfg *config.Config) (dns.Report, error) {
	a.dns.mu.Lock()
	defer a.dns.mu.Unlock()
	if !a.dns.when.IsZero() && time.Since(a.dns.when) < dnsFresh {
		return a.dns.report, nil
	}
	report, err := a.glanceDNS(ctx, cfg)
	a.dns.when = time.Time{}
	if err == nil && report.Count(dns.Wrong)+report.Count(dns.Unknown) == 0 {
		a.dns.report, a.dns.when = report, time.Now()
	}
	return report, err
}

// glanceDNS is a look at all records that is part of something else. A stack on
// loopback has none to look at.
func (a *app) glanceDNS(ctx context.Context, cfg *config.Config) (dns.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsGlance)
	defer cancel()
	plan, err := a.dnsPlan(ctx, dnsFlags{}, nil)
	if err != nil {
		return dns.Report{}, err
	}
	return dns.Check(ctx, plan, asker(cfg, "")), nil
}
