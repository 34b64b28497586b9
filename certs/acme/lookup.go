package acme

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/miekg/dns"
)

// queryTimeout bounds one question to one name server.
const queryTimeout = 5 * time.Second

// lookup asks name servers without the system's resolver: it may hold an old
// answer, and it need not be the one that was configured.
type lookup struct {
	client    *dns01.Client
	resolvers []string // host:port
	port      string   // of authoritative servers
}

// serves says whether all authoritative servers of a record serve it; seen is
// what they answered otherwise. Where no such server can be asked, because their
// names are not known here or outgoing questions are blocked, the resolvers are.
func (l *lookup) serves(ctx context.Context, fqdn, value string) (there bool, seen string) {
	servers, err := l.authoritative(ctx, fqdn)
	if err == nil {
		answered, complaint := l.ask(ctx, servers, fqdn, value, false)
		if answered > 0 {
			return complaint == "", complaint
		}
		err = fmt.Errorf("no authoritative server of %s answers", fqdn)
	}
	answered, complaint := l.ask(ctx, l.resolvers, fqdn, value, true)
	switch {
	case answered == 0:
		return false, fmt.Sprintf("%v; %s", err, complaint)
	case complaint != "":
		return false, complaint
	}
	return true, ""
}

// ask puts the question to every server. complaint is what the last one without
// the value answered. A server that does not answer is no complaint as long as
// another one does: it cannot serve something else either.
func (l *lookup) ask(ctx context.Context, servers []string, fqdn, value string, recursive bool) (answered int, complaint string) {
	silent := ""
	for _, server := range servers {
		reply, err := l.query(ctx, server, fqdn, dns.TypeTXT, recursive)
		if err != nil {
			silent = fmt.Sprintf("%s: %v", server, plain(err))
			continue
		}
		answered++
		if values := texts(reply); !slices.Contains(values, value) {
			complaint = fmt.Sprintf("%s answers %s %q", server, dns.RcodeToString[reply.Rcode], values)
		}
	}
	if answered == 0 {
		return 0, silent
	}
	return answered, complaint
}

func texts(reply *dns.Msg) []string {
	values := []string{}
	for _, rr := range reply.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			values = append(values, strings.Join(txt.Txt, ""))
		}
	}
	return values
}

// authoritative are the addresses of the name servers of a record's zone.
func (l *lookup) authoritative(ctx context.Context, fqdn string) ([]string, error) {
	zone, err := l.client.FindZoneByFqdn(ctx, fqdn)
	if err != nil {
		return nil, fmt.Errorf("the zone of %s is not known", fqdn)
	}
	var names []string
	for _, rr := range l.resolve(ctx, zone, dns.TypeNS) {
		if ns, ok := rr.(*dns.NS); ok {
			names = append(names, ns.Ns)
		}
	}
	var servers []string
	for _, name := range names {
		for _, rr := range slices.Concat(l.resolve(ctx, name, dns.TypeA), l.resolve(ctx, name, dns.TypeAAAA)) {
			switch rr := rr.(type) {
			case *dns.A:
				servers = append(servers, net.JoinHostPort(rr.A.String(), l.port))
			case *dns.AAAA:
				servers = append(servers, net.JoinHostPort(rr.AAAA.String(), l.port))
			}
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("the name servers of %s are not known", zone)
	}
	return servers, nil
}

// resolve asks the resolvers until one has an answer.
func (l *lookup) resolve(ctx context.Context, name string, rrtype uint16) []dns.RR {
	for _, resolver := range l.resolvers {
		if reply, err := l.query(ctx, resolver, name, rrtype, true); err == nil && len(reply.Answer) > 0 {
			return reply.Answer
		}
	}
	return nil
}

// query asks one server, over TCP where an answer is too long for UDP.
func (l *lookup) query(ctx context.Context, server, name string, rrtype uint16, recursive bool) (*dns.Msg, error) {
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), rrtype)
	question.SetEdns0(1232, false) // https://www.dnsflagday.net/2020/
	question.RecursionDesired = recursive
	client := &dns.Client{Timeout: queryTimeout}
	reply, _, err := client.ExchangeContext(ctx, question, server)
	if err == nil && reply.Truncated {
		client.Net = "tcp"
		reply, _, err = client.ExchangeContext(ctx, question, server)
	}
	return reply, err
}
