package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/miekg/dns"
)

// dnsProver answers dns-01 with TXT records in the zone of each name, or in the
// zone that a CNAME at _acme-challenge.<name> leads to.
type dnsProver struct {
	name     string // of the provider
	provider challenge.Provider
	lookup   *lookup

	timeout, interval time.Duration // of the wait until name servers serve a record
}

func (s *Source) dnsProver() (*dnsProver, error) {
	resolvers, err := s.resolvers()
	if err != nil {
		return nil, err
	}
	// Providers find zones, and targets of CNAMEs, with the library's client.
	dns01.SetDefaultClient(dns01.NewClient(&dns01.Options{RecursiveNameservers: resolvers, Timeout: queryTimeout}))
	p := &dnsProver{
		name:    s.cfg.DNSProvider,
		lookup:  newLookup(resolvers, s.authoritativePort),
		timeout: dns01.DefaultPropagationTimeout, interval: dns01.DefaultPollingInterval,
	}
	if p.provider, err = s.provider(); err != nil {
		return nil, err
	}
	if timed, ok := p.provider.(challenge.ProviderTimeout); ok {
		p.timeout, p.interval = timed.Timeout()
	}
	return p, nil
}

// resolvers are the recursive name servers to ask, host:port.
func (s *Source) resolvers() ([]string, error) {
	if len(s.cfg.Resolvers) > 0 {
		return s.cfg.Resolvers, nil
	}
	const file = "/etc/resolv.conf"
	config, err := dns.ClientConfigFromFile(file)
	if err == nil && len(config.Servers) == 0 {
		err = errors.New("it names no server")
	}
	if err != nil {
		return nil, &hintedError{fmt.Errorf("find a resolver in %s: %w", file, plain(err)), "Name one in tls.acme_dns_resolvers."}
	}
	var servers []string
	for _, server := range config.Servers {
		servers = append(servers, net.JoinHostPort(server, config.Port))
	}
	return servers, nil
}

// batches keeps answers of one name, which a wildcard and the name below it
// share, apart where the provider can hold only one at a time.
func (p *dnsProver) batches(ctx context.Context, answers []answer) (split [][]answer, pause time.Duration) {
	single, ok := p.provider.(interface{ Sequential() time.Duration })
	if !ok {
		return [][]answer{answers}, 0
	}
	taken := map[string]int{}
	for _, a := range answers {
		fqdn := dns01.GetChallengeInfo(ctx, a.name, a.keyAuth).EffectiveFQDN
		if n := taken[fqdn]; n < len(split) {
			split[n] = append(split[n], a)
		} else {
			split = append(split, []answer{a})
		}
		taken[fqdn]++
	}
	return split, single.Sequential()
}

func (p *dnsProver) present(ctx context.Context, answers []answer) error {
	var records []dns01.ChallengeInfo
	for _, a := range answers {
		info := dns01.GetChallengeInfo(ctx, a.name, a.keyAuth)
		if err := p.provider.Present(ctx, a.name, a.token, a.keyAuth); err != nil {
			return &hintedError{
				fmt.Errorf("set the record %s for dns-01: %w", info.EffectiveFQDN, plain(err)),
				fmt.Sprintf("Look at the settings of the provider %q in tls.acme_dns_env_file.", p.name),
			}
		}
		records = append(records, info)
	}
	return p.wait(ctx, records)
}

// wait returns when every name server serves every record. An authority that
// looked too early would refuse the order, and count it.
func (p *dnsProver) wait(ctx context.Context, records []dns01.ChallengeInfo) error {
	deadline := time.Now().Add(p.timeout)
	seen := ""
	for {
		records = slices.DeleteFunc(records, func(record dns01.ChallengeInfo) bool {
			var there bool
			there, seen = p.lookup.serves(ctx, record.EffectiveFQDN, record.Value)
			return there
		})
		if len(records) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return &hintedError{
				fmt.Errorf("wait for the record %s: not served within %v; last seen: %s", records[0].EffectiveFQDN, p.timeout, seen),
				"Does the provider serve this zone, and do all name servers that the zone is delegated to answer alike?",
			}
		}
		if err := sleep(ctx, p.interval); err != nil {
			return err
		}
	}
}

func (p *dnsProver) withdraw(ctx context.Context, answers []answer) error {
	var failed []error
	for _, a := range answers {
		failed = append(failed, p.provider.CleanUp(ctx, a.name, a.token, a.keyAuth))
	}
	return errors.Join(failed...)
}
