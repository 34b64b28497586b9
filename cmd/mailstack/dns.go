package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mailstack/accounts"
	"mailstack/clientconfig"
	"mailstack/config"
	"mailstack/dns"
)

func newDNSCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Show the DNS records that are needed, and compare them with what is there",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDNSShowCmd(a), newDNSCheckCmd(a))
	return cmd
}

// dnsFormats are the values of --format.
var dnsFormats = []string{"text", "zone", "json", "terraform"}

func newDNSShowCmd(a *app) *cobra.Command {
	var flags dnsFlags
	var format, provider string
	cmd := &cobra.Command{
		Use:   "show [DOMAIN]",
		Short: "Show which DNS records are needed, and why",
		Long: "show prints the records that this host and its mail domains need, each with a\n" +
			"reason: for one domain, added or not, or for all. As zone it prints lines of\n" +
			"zone files, and for a domain only those of its zone. As terraform it prints\n" +
			"resources for --provider route53 or cloudflare. It asks nobody.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(dnsFormats, format) {
				return usageError(fmt.Errorf("--format %q: not one of %s", format, strings.Join(dnsFormats, ", ")))
			}
			if given := cmd.Flags().Changed("provider"); given != (format == "terraform") || given && !slices.Contains(dns.Providers, provider) {
				return usageError(fmt.Errorf("--provider: one of %s, with --format terraform and only there", strings.Join(dns.Providers, ", ")))
			}
			return a.dnsShow(cmd.Context(), flags, format, provider, args)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT`: "+strings.Join(dnsFormats, ", "))
	cmd.Flags().StringVar(&provider, "provider", "", "`PROVIDER` of --format terraform: "+strings.Join(dns.Providers, ", "))
	flags.add(cmd)
	return cmd
}

// dnsFlags say of the host what only its owner can know.
type dnsFlags struct {
	addresses []string
	web       string
}

func (f *dnsFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.addresses, "address", nil,
		"`ADDRESS` by which the internet reaches this host (default its own, where they are public)")
	cmd.Flags().StringVar(&f.web, "web", "", "`NAME` of the web server with the files of mailstack clientconfig (default the host's)")
}

func (a *app) dnsShow(ctx context.Context, flags dnsFlags, format, provider string, args []string) error {
	plan, err := a.dnsPlan(ctx, flags, args)
	if err != nil {
		return err
	}
	if len(args) > 0 && format == "zone" {
		plan = plan.Of(plan.Domains[0])
	}
	switch format {
	case "json":
		return a.printJSON(plan)
	case "zone":
		return plan.WriteZone(a.Stdout)
	case "terraform":
		return plan.WriteTerraform(a.Stdout, provider)
	}
	return plan.WriteText(a.Stdout, dns.TextOptions{Colour: colour(a.Stdout)})
}

// dnsPlan says what one domain needs, if one is named, or all that are hosted.
func (a *app) dnsPlan(ctx context.Context, flags dnsFlags, args []string) (dns.Plan, error) {
	cfg, err := a.config()
	if err != nil {
		return dns.Plan{}, err
	}
	host, err := a.dnsHost(ctx, cfg, flags)
	if err != nil {
		return dns.Plan{}, err
	}
	var names []string
	if len(args) > 0 {
		domain, err := accounts.ParseDomain(args[0])
		if err != nil {
			return dns.Plan{}, usageError(err)
		}
		names = []string{domain}
	} else if names, err = a.hostedDomains(ctx); err != nil {
		return dns.Plan{}, err
	}
	domains, err := dnsDomains(cfg, names)
	if err != nil {
		return dns.Plan{}, err
	}
	return dns.Needed(host, domains), nil
}

// dnsHost is what the internet should know of this host.
func (a *app) dnsHost(ctx context.Context, cfg *config.Config, flags dnsFlags) (dns.Host, error) {
	h := dns.Host{
		Name: cfg.Hostname, Ports: cfg.Listen.Ports(), Smarthost: cfg.Relay.Host, Smarthosts: map[string]string{}, Issuer: issuer(cfg),
		Addresses: publicAddresses(ctx, cfg),
	}
	for domain, relay := range cfg.Relay.Domains {
		h.Smarthosts[domain] = relay.Host
	}
	g, err := graph(cfg)
	if err != nil {
		return h, err
	}
	h.SigningOff = len(signers(g)) == 0
	if flags.addresses != nil {
		h.Addresses = nil
	}
	var problems []error
	for _, text := range flags.addresses {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			problems = append(problems, fmt.Errorf("--address %q: not an IP address", text))
		}
		h.Addresses = append(h.Addresses, address.Unmap())
	}
	if flags.web != "" {
		web, err := accounts.ParseDomain(flags.web)
		if err != nil {
			problems = append(problems, fmt.Errorf("--web: %w", err))
		}
		h.Web = web
	}
	if err := errors.Join(problems...); err != nil {
		return h, usageError(err)
	}
	switch state, err := a.certState(cfg); {
	case errors.Is(err, errNoCertificate):
	case err != nil:
		return h, err
	default:
		h.Keys = daneKeys(state)
	}
	server, err := clientServer(cfg)
	h.PolicyID = clientconfig.PolicyFor(server).ID()
	return h, err
}

// hostedDomains lists the domains that mail is taken for.
func (a *app) hostedDomains(ctx context.Context) ([]string, error) {
	db, done, err := a.database(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	domains, err := db.ListDomains(ctx, false)
	var names []string
	for _, d := range domains {
		names = append(names, d.Name)
	}
	return names, err
}

// issuers are what authorities call themselves in CAA records, by the host of
// their directory; each documents it.
var issuers = map[string]string{
	"acme-v02.api.letsencrypt.org":         "letsencrypt.org",
	"acme-staging-v02.api.letsencrypt.org": "letsencrypt.org",
	"acme.zerossl.com":                     "sectigo.com",
	"dv.acme-v02.api.pki.goog":             "pki.goog",
	"acme.ssl.com":                         "ssl.com",
}

// issuer is the authority's name in CAA records; "" where it is not known.
func issuer(cfg *config.Config) string {
	if cfg.TLS.Mode != "acme" {
		return ""
	}
	u, err := url.Parse(cfg.TLS.ACMEDirectory)
	if err != nil {
		return ""
	}
	return issuers[u.Hostname()]
}

// sharedSpace is for networks of providers (RFC 6598): nobody outside reaches it.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a)
}

// publicAddresses are those that the configuration names or, where it says all,
// that this host has towards the internet; none behind a router that translates.
func publicAddresses(ctx context.Context, cfg *config.Config) []netip.Addr {
	var all []netip.Addr
	own := outwardAddresses(ctx)
	for _, listen := range cfg.Listen.Addresses {
		if !listen.IsUnspecified() {
			all = append(all, listen)
			continue
		}
		for _, a := range own {
			if a.Is4() == listen.Is4() {
				all = append(all, a)
			}
		}
	}
	all = slices.DeleteFunc(all, func(a netip.Addr) bool { return !public(a) })
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}
