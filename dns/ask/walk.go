package ask

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	mdns "github.com/miekg/dns"
)

// maxCuts is how many delegations may follow one another.
const maxCuts = 16

// walk goes from the servers of the deepest zone that is known down to those
// that have the answer.
func (c *Client) walk(ctx context.Context, name string, rrtype uint16, turn int) (reply *mdns.Msg, from server, of int, err error) {
	zone, servers, err := c.start(ctx, name)
	if err != nil {
		return nil, server{}, 0, err
	}
	for range maxCuts {
		reply, from, err := c.anyOf(ctx, servers, name, rrtype, turn, false)
		if err != nil {
			return nil, from, 0, err
		}
		below := referral(reply, zone, name)
		if below == "" {
			return reply, from, len(servers), nil
		}
		if zone, servers = below, c.delegated(ctx, reply, below); len(servers) == 0 {
			return nil, from, 0, fmt.Errorf("the addresses of the name servers of %s cannot be found", below)
		}
		c.remember(zone, servers)
	}
	return nil, server{}, 0, fmt.Errorf("more than %d delegations follow one another", maxCuts)
}

// start is the deepest zone above a name whose servers are known. The first
// question about a domain finds it out for those that are asked meanwhile.
func (c *Client) start(ctx context.Context, name string) (string, []server, error) {
	zone, servers := c.known(name)
	if mdns.CountLabel(zone) >= 2 {
		return zone, servers, nil
	}
	labels := mdns.SplitDomainName(name)
	if len(labels) == 0 {
		return "", nil, errors.New("the root has no mail")
	}
	find, domain := c.descend, mdns.Fqdn(strings.Join(labels[max(0, len(labels)-2):], "."))
	if c.o.ByResolvers && len(labels) > 1 {
		find, domain = c.enclosing, mdns.Fqdn(strings.Join(labels[1:], "."))
	}
	_, err, _ := c.walks.Do(domain, func() (any, error) { return nil, find(ctx, domain) })
	if err != nil {
		return "", nil, err
	}
	zone, servers = c.known(name)
	return zone, servers, nil
}

// enclosing finds the servers of the zone that a name is in, as the resolvers have it.
func (c *Client) enclosing(ctx context.Context, name string) error {
	for at, end := 0, false; !end; at, end = mdns.NextLabel(name, at) {
		zone := name[at:]
		reply, err := c.resolve(ctx, zone, mdns.TypeNS)
		if err != nil {
			return fmt.Errorf("find the name servers of %s: %w", name, err)
		}
		names := serving(reply.Answer, zone)
		if len(names) == 0 {
			continue
		}
		servers := c.located(ctx, names)
		if len(servers) == 0 {
			return fmt.Errorf("the addresses of the name servers of %s cannot be found", zone)
		}
		c.remember(zone, servers)
		return nil
	}
	return fmt.Errorf("the zone of %s is not known", name)
}

// serving are the names of a zone's servers in records.
func serving(records []mdns.RR, zone string) (names []string) {
	for _, rr := range records {
		if ns, ok := rr.(*mdns.NS); ok && mdns.CanonicalName(ns.Hdr.Name) == zone {
			names = append(names, mdns.CanonicalName(ns.Ns))
		}
	}
	return names
}

// descend finds the servers of a domain of two labels, where it is a zone.
func (c *Client) descend(ctx context.Context, domain string) error {
	zone, servers := c.known(domain)
	if zone == "" {
		top := mdns.Fqdn(domain[strings.LastIndex(strings.TrimSuffix(domain, "."), ".")+1:])
		var err error
		if servers, err = c.top(ctx, top); err != nil {
			return err
		}
		zone = top
		c.remember(top, servers)
	}
	reply, _, err := c.anyOf(ctx, servers, domain, mdns.TypeNS, 0, false)
	if err != nil {
		return fmt.Errorf("find the name servers of %s: %w", domain, err)
	}
	below := referral(reply, zone, domain)
	if below == "" { // those above serve it themselves
		c.remember(domain, servers)
		return nil
	}
	if servers := c.delegated(ctx, reply, below); len(servers) > 0 {
		c.remember(below, servers)
	}
	return nil
}

// known is the deepest zone above a name whose servers are known; "" for none.
func (c *Client) known(name string) (string, []server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, end := 0, false; !end; at, end = mdns.NextLabel(name, at) {
		if servers, ok := c.zones[name[at:]]; ok {
			return name[at:], servers
		}
	}
	return "", nil
}

func (c *Client) remember(zone string, servers []server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.zones[zone] = servers
}

// referral is the zone that a reply sends us to, below the one that was asked;
// "" where it is an answer.
func referral(reply *mdns.Msg, zone, name string) string {
	if reply.Authoritative || len(reply.Answer) > 0 {
		return ""
	}
	for _, rr := range reply.Ns {
		if ns, ok := rr.(*mdns.NS); ok {
			below := mdns.CanonicalName(ns.Hdr.Name)
			if below != zone && mdns.IsSubDomain(zone, below) && mdns.IsSubDomain(below, name) {
				return below
			}
		}
	}
	return ""
}

// delegated are the servers of a zone, by the addresses that came along with
// their names or, without such, by those that the resolver knows.
func (c *Client) delegated(ctx context.Context, reply *mdns.Msg, zone string) []server {
	names := serving(reply.Ns, zone)
	if along := c.addressed(names, reply.Extra); len(along) > 0 {
		return along
	}
	return c.located(ctx, names)
}

// located finds the addresses of name servers.
func (c *Client) located(ctx context.Context, names []string) []server {
	var found []mdns.RR
	for _, name := range names {
		for _, rrtype := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
			if reply, err := c.resolve(ctx, name, rrtype); err == nil {
				found = append(found, reply.Answer...)
			}
		}
	}
	return c.addressed(names, found)
}

// addressed joins names and their addresses; those of IPv4 come first, as every
// host has it.
func (c *Client) addressed(names []string, records []mdns.RR) []server {
	var four, six []server
	for _, name := range names {
		for _, rr := range records {
			if mdns.CanonicalName(rr.Header().Name) != name {
				continue
			}
			switch rr := rr.(type) {
			case *mdns.A:
				four = append(four, server{name, net.JoinHostPort(rr.A.String(), c.o.Port)})
			case *mdns.AAAA:
				six = append(six, server{name, net.JoinHostPort(rr.AAAA.String(), c.o.Port)})
			}
		}
	}
	return append(four, six...)
}

// top finds the servers of a top-level domain. They exist, so that this leaves
// nothing bad in the resolver's memory.
func (c *Client) top(ctx context.Context, zone string) ([]server, error) {
	reply, err := c.resolve(ctx, zone, mdns.TypeNS)
	if err != nil {
		return nil, fmt.Errorf("find the name servers of %s: %w", zone, err)
	}
	names := serving(reply.Answer, zone)
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no top-level domain %s", zone)
	}
	servers := c.addressed(names, reply.Extra)
	if len(servers) == 0 {
		servers = c.located(ctx, names[:min(len(names), tries)])
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("the addresses of the name servers of %s cannot be found", zone)
	}
	return servers, nil
}

// resolve asks the resolvers.
func (c *Client) resolve(ctx context.Context, name string, rrtype uint16) (*mdns.Msg, error) {
	resolvers := c.o.Resolvers
	if len(resolvers) == 0 {
		system, err := mdns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, fmt.Errorf("find the resolvers: %w", err)
		}
		for _, address := range system.Servers {
			resolvers = append(resolvers, net.JoinHostPort(address, system.Port))
		}
	}
	if len(resolvers) == 0 {
		return nil, errors.New("/etc/resolv.conf names no resolver")
	}
	var servers []server
	for _, address := range resolvers {
		servers = append(servers, server{address: address})
	}
	reply, _, err := c.anyOf(ctx, servers, name, rrtype, 0, true)
	return reply, err
}

// plain takes the addresses out of errors of the network: whom we asked is said
// anyway.
func plain(err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Timeout():
		return errors.New("no answer")
	case errors.As(err, &op):
		return op.Err
	}
	return err
}
