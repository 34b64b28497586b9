package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Resolver finds the addresses of a name; net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// dnsCheck is the name under which the look-up of a foreign server is reported.
const dnsCheck = "dns"

// Resolve fills in t.Addresses from a host's name or address, and reports that
// as a check of its own, with the step "dns". Addresses of a family that this
// host has no way out in are left out, with a note. A name that cannot be
// resolved is critical, as the guidelines for plugins want it, and t must then
// not be run.
func Resolve(ctx context.Context, t *Target, host string, by Resolver) Result {
	began := time.Now()
	tr := newTrace()
	if a, err := netip.ParseAddr(host); err == nil {
		t.Addresses = []netip.Addr{a.Unmap()}
		r := newResult(dnsCheck, nil, nil, 0)
		r.Notes = []string{"an address was given: nothing to look up"}
		return r
	}
	err := tr.step(ctx, "dns", func() error {
		all, err := by.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nameFailure(ctx, host, err)
		}
		for _, a := range all {
			a = a.Unmap()
			if hasRoute(ctx, a) {
				t.Addresses = append(t.Addresses, a)
			} else {
				tr.note("this host has no way to " + a.String() + ": not looked at")
			}
		}
		if len(t.Addresses) == 0 {
			return failf(KindUnreachable, "this host has no way to any address of %s", host)
		}
		return nil
	})
	r := outcome{name: dnsCheck, finished: finished{err, time.Since(began)}, steps: tr.snapshot(), findings: tr.found()}
	return r.result(t, Options{}.withDefaults())
}

// ResolveRetrying is Resolve, again up to so many times if nothing is found.
func ResolveRetrying(ctx context.Context, t *Target, host string, by Resolver, retries int) Result {
	r := Resolve(ctx, t, host, by)
	for ; retries > 0 && r.Status != OK && pause(ctx, breath); retries-- {
		r = Resolve(ctx, t, host, by)
	}
	return r
}

func nameFailure(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	detail := err.Error()
	var dns *net.DNSError
	if errors.As(err, &dns) {
		detail = dns.Err
		if dns.IsTimeout {
			detail = "the name servers do not answer"
		}
	}
	return &Failure{
		Kind: KindName, Detail: printable(host + ": " + detail), Err: err,
		Advice: "look it up by hand: `getent ahosts " + printable(host) + "`; /etc/resolv.conf names the servers that are asked",
	}
}

// hasRoute says whether there is a way out to an address. Nothing is sent.
func hasRoute(ctx context.Context, a netip.Addr) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", netip.AddrPortFrom(a, 9).String())
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// foreignHints are the hints for a server that this program did not make.
var foreignHints = map[Kind]string{
	KindRefused:     "nothing listens there: is the service up, and is a firewall in the way? --ports says which are looked at",
	KindUnreachable: "this host has no way to that address",
	KindTimeout:     "the service hangs, or a firewall drops what is sent to it; --timeout gives more time",
	KindClosed:      "the server hung up: its log says why",
	KindTLS:         "look with `openssl s_client`; --ca names the authority of a certificate that is not from a public one",
	KindDiffers:     "a service has not taken the new certificate: reload it",
	KindCredentials: "the server does not take this user name and password",
	KindNeedsTLS:    "the server wants TLS where it already has it: its log says why",
	KindBackend:     "the server answers but cannot look things up",
	KindNoRoom:      "the server's disk, or the mailbox, is full",
	KindAnswer:      "the server's log says more",
	KindInsecure:    "mend the server's configuration; --skip leaves a check out that does not apply",
	KindMissing:     "look for it in the server's log, and in the spam folder",
	KindLate:        "the server was slow, or the message was deferred: its log says why",
	KindDuplicate:   "the server's log says how the message came twice",
	KindSlow:        "the server or the way to it is overloaded",
	KindGarbage:     "something else listens on this port: --ports says which are looked at",

	KindCriticalLimit: "the server or the way to it is overloaded",
	KindWarningLimit:  "the server or the way to it is overloaded",
}

// foreign puts a hint that fits in the place of one about this program's own
// stacks.
func (f *Failure) foreign() *Failure {
	g := *f
	hint, ok := foreignHints[f.Kind]
	if ok && f.Advice == "" || strings.Contains(f.Hint(), "mailstack") {
		g.foreignHint, g.isForeign = hint, true
	}
	return &g
}
