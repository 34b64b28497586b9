// Package ask asks the internet's name servers for what package dns compares.
//
// It asks the authoritative servers of a name themselves. The resolver of this
// host is asked for no more than who serves a top-level domain and where a name
// server is: what does not exist yet is not asked of it, or it would remember
// for hours that it does not (RFC 2308).
package ask

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"mailstack/dns"
)

// Options say whom to ask. The zero value asks as this host is set up.
type Options struct {
	// Server is asked everything, and nobody else is: host:port. Empty: the
	// authoritative servers.
	Server string
	// Resolvers are recursive servers, host:port. Empty: those in /etc/resolv.conf.
	Resolvers []string
	// ByResolvers leaves it to the resolvers who serves a zone: their view of the DNS
	// counts, where it is another than the internet's. They are asked for the zones
	// above a name, and not for the name.
	ByResolvers bool
	// Port of the authoritative servers; empty: 53.
	Port string
	// Timeout of one question to one server; 0: DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout is how long a server gets for one answer. A lost datagram costs
// as much.
const DefaultTimeout = 1500 * time.Millisecond

// Client asks, and remembers who serves what for as long as it lives.
type Client struct {
	o Options

	mu    sync.Mutex
	zones map[string][]server // by fully qualified name
	walks singleflight.Group
}

// server is one address of a name server.
type server struct{ name, address string }

func (s server) String() string {
	if s.name == "" {
		return s.address
	}
	return s.name + " (" + s.address + ")"
}

// New makes a client. That the system names no resolver is an error of the first
// question.
func New(o Options) *Client {
	if o.Port == "" {
		o.Port = "53"
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return &Client{o: o, zones: map[string][]server{}}
}

var _ dns.Asker = (*Client)(nil)

// maxAliases is how many CNAME records may follow one another.
const maxAliases = 8

// Ask implements dns.Asker.
func (c *Client) Ask(ctx context.Context, name string, rrtype uint16, turn int) (dns.Answer, error) {
	answer := dns.Answer{}
	name = mdns.CanonicalName(name)
	for range maxAliases {
		reply, from, of, err := c.question(ctx, name, rrtype, turn)
		if err != nil {
			return answer, fmt.Errorf("ask for %s %s: %w", name, mdns.TypeToString[rrtype], err)
		}
		if answer.Server == "" {
			answer.Server, answer.Signed = from.String(), signed(reply)
		}
		answer.Servers = max(answer.Servers, of)
		end := follow(reply, name, &answer)
		answer.Records = slices.DeleteFunc(slices.Clone(reply.Answer), func(rr mdns.RR) bool {
			return rr.Header().Rrtype != rrtype || mdns.CanonicalName(rr.Header().Name) != end
		})
		if end == name || len(answer.Records) > 0 {
			return answer, nil
		}
		name = end
	}
	return answer, fmt.Errorf("ask for %s: more than %d aliases (CNAME) follow one another", name, maxAliases)
}

var _ dns.AllAsker = (*Client)(nil)

// AskAll implements dns.AllAsker: by as many turns as there are servers. In the turn
// of one that does not answer, the next one does.
func (c *Client) AskAll(ctx context.Context, name string, rrtype uint16) (all []dns.Answer, err error) {
	for turn, of := 0, 1; turn < of; turn++ {
		answer, err := c.Ask(ctx, name, rrtype, turn)
		if err != nil {
			return nil, err
		}
		of = answer.Servers
		if !slices.ContainsFunc(all, func(a dns.Answer) bool { return a.Server == answer.Server }) {
			all = append(all, answer)
		}
	}
	return all, nil
}

// follow notes the aliases in a reply and returns where they lead.
func follow(reply *mdns.Msg, name string, answer *dns.Answer) string {
	for range reply.Answer {
		for _, rr := range reply.Answer {
			if alias, ok := rr.(*mdns.CNAME); ok && mdns.CanonicalName(alias.Hdr.Name) == name {
				name = mdns.CanonicalName(alias.Target)
				answer.Aliases = append(answer.Aliases, name)
			}
		}
	}
	return name
}

// signed says whether signatures came along (RFC 4035 section 3.1).
func signed(reply *mdns.Msg) bool {
	return slices.ContainsFunc(slices.Concat(reply.Answer, reply.Ns), func(rr mdns.RR) bool {
		return rr.Header().Rrtype == mdns.TypeRRSIG
	})
}

// question asks who knows. of is how many do.
func (c *Client) question(ctx context.Context, name string, rrtype uint16, turn int) (reply *mdns.Msg, from server, of int, err error) {
	if c.o.Server != "" {
		reply, from, err = c.anyOf(ctx, []server{{address: c.o.Server}}, name, rrtype, 0, true)
		return reply, from, 1, err
	}
	return c.walk(ctx, name, rrtype, turn)
}

// tries is how many servers are asked for one answer, the same one again where
// there is no other.
const tries = 3

// anyOf asks one server after another until one answers.
func (c *Client) anyOf(ctx context.Context, servers []server, name string, rrtype uint16, turn int, recursive bool) (*mdns.Msg, server, error) {
	var last error
	for i := range max(tries, min(len(servers), 2*tries)) {
		s := servers[(turn+i)%len(servers)]
		reply, err := c.exchange(ctx, s.address, name, rrtype, recursive)
		switch {
		case err != nil && over(ctx):
			return nil, s, errors.New("no answer in time")
		case err != nil:
			last = fmt.Errorf("%s: %w", s, plain(err))
		case reply.Rcode == mdns.RcodeSuccess || reply.Rcode == mdns.RcodeNameError:
			return reply, s, nil
		default:
			last = fmt.Errorf("%s answers %s", s, mdns.RcodeToString[reply.Rcode])
		}
	}
	return nil, server{}, last
}

// over says whether the time of a context has passed. Its deadline is that of
// connections too, which may notice it first.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// exchange asks one server, over TCP where an answer is too long for UDP.
func (c *Client) exchange(ctx context.Context, address, name string, rrtype uint16, recursive bool) (*mdns.Msg, error) {
	question := new(mdns.Msg)
	question.SetQuestion(name, rrtype)
	question.SetEdns0(1232, true) // https://www.dnsflagday.net/2020/, and with signatures
	question.RecursionDesired = recursive
	client := &mdns.Client{Timeout: c.o.Timeout}
	reply, _, err := client.ExchangeContext(ctx, question, address)
	if err == nil && reply.Truncated {
		client.Net = "tcp"
		reply, _, err = client.ExchangeContext(ctx, question, address)
	}
	return reply, err
}
