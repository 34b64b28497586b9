package e2e

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mailstack/e2e/monitors"
)

// neighbours are stacks on one network of the test's own, each with a domain and an
// address there, to which their mail servers find the way by the DNS: what the
// internet is to servers elsewhere. Port 25 of an address is Postfix itself, so
// each sees the true address of who connects. The network has addresses for
// documentation (RFC 5737) and leads nowhere else.
//
// The zones are signed; what the stacks ask is a resolver that validates them.
type neighbours struct {
	all      []*neighbour
	ns       *nameServer
	others   string // zone of most others: "test"
	resolver *monitors.Container
	verifier *monitors.Container // see verify
	network  string
	first    int // of its addresses, 203.0.113.x
}

// neighbour is one of the stacks.
type neighbour struct {
	*Stack
	domain  string
	address string
}

// newNeighbours makes n stacks and starts them. extraTOML is as in
// newStack.
func newNeighbours(t *testing.T, n int, extraTOML string) *neighbours {
	t.Helper()
	shared(t) // makes the base image
	p := &neighbours{others: "test"}
	p.makeNetwork(t)
	var zones []zoneFile
	for _, name := range p.zones() {
		zones = append(zones, zoneFile{name: name})
	}
	for i := range n {
		s := newStack(t, extraTOML)
		one := &neighbour{Stack: s, domain: s.name + ".test", address: p.ip(2 + i)}
		s.host = "mail." + one.domain
		for key, value := range map[string]string{
			"hostname": quote(s.host), "postmaster": quote("me@" + one.domain),
			"network.resolvers": fmt.Sprintf("[%q]", p.ip(1)),
		} {
			s.set(t, key, value)
		}
		p.all = append(p.all, one)
		zones = append(zones, zoneFile{name: one.domain, options: knotSigned})
	}
	p.ns = startKnot(t, "", zones...)
	var signed []string
	for _, one := range p.all {
		signed = append(signed, one.domain)
	}
	p.resolver = p.ns.resolver(t, p.ip(1), signed, p.zones())
	for _, one := range p.all {
		one.upGreen(t)
		p.join(t, one)
	}
	return p
}

// zones are those of nobody's stack. Whoever asks for the domain above a name knows of
// "test" only that it is no public suffix, and so has two of another kind.
func (p *neighbours) zones() []string {
	return []string{p.others, "example.org", "example.net", "113.0.203.in-addr.arpa"}
}

// ip is an address of the network: 1 is this machine's, where the resolver listens
// and the test's own clients come from.
func (p *neighbours) ip(i int) string { return fmt.Sprintf("203.0.113.%d", p.first+i) }

// makeNetwork takes a part of the addresses that nobody has.
func (p *neighbours) makeNetwork(t *testing.T) {
	t.Helper()
	p.network = namePrefix(os.Getenv(runVar)) + "neighbours-" + randomHex(2)
	var last result
	for _, i := range mrand.Perm(16) {
		p.first = 16 * i
		// Internal: it becomes nobody's way out.
		last = tryDocker(t, "network", "create", "--internal", "--label", "mailstack.stack="+p.network,
			"--subnet", p.ip(0)+"/28", "--gateway", p.ip(1), p.network)
		if last.code == 0 {
			t.Cleanup(func() {
				if r := program(context.WithoutCancel(t.Context()), nil, "docker", "network", "rm", p.network); r.code != 0 {
					t.Errorf("network %s stays: %v", p.network, r)
				}
			})
			return
		}
	}
	t.Fatalf("no network: %v", last)
}

// join gives a stack's Postfix its address, which it keeps until its container is
// made anew, and publishes what `dns show` prints.
func (p *neighbours) join(t *testing.T, one *neighbour) {
	t.Helper()
	docker(t, "network", "connect", "--ip", one.address, p.network, one.container("postfix"))
	p.publish(t, one, func(line string) string { return line })
}

// publish serves a stack's records, each as change has it; "" leaves it out.
func (p *neighbours) publish(t *testing.T, one *neighbour, change func(line string) string) {
	t.Helper()
	lines := zoneLines(one.mustRun(t, "dns", "show", "--format", "zone", "--address", one.address))[one.domain]
	if len(lines) == 0 {
		t.Fatalf("dns show has nothing for %s", one.domain)
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(change(line))
	}
	p.ns.change(t, zoneFile{name: one.domain, records: b.String()})
}

// connect begins a session with a stack's port 25 as a server elsewhere does, from
// this machine's address in the network.
func (p *neighbours) connect(t *testing.T, to *neighbour, helo string) *smtp.Client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", to.address+":25", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := smtp.NewClient(conn)
	if err := c.Hello(helo); err != nil {
		t.Fatal(err)
	}
	return c
}

// results is the Authentication-Results of a message by a stack, in one line.
func (one *neighbour) results(message string) string {
	header, _, _ := strings.Cut(message, "\r\n\r\n")
	header = strings.ReplaceAll(strings.ReplaceAll(header, "\r\n\t", " "), "\r\n ", " ")
	for line := range strings.Lines(header) {
		if rest, ok := strings.CutPrefix(line, "Authentication-Results: mail."+one.domain+";"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
