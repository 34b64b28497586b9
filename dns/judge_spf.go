package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"
	mdns "github.com/miekg/dns"
)

// judgeSPF takes every record that permits this host, in whatever way: what a
// receiver would find is found out.
func judgeSPF(ctx context.Context, v *view, r Record, a Answer) (Status, string, error) {
	text, status, words := one(r, a, "v=spf1")
	if status != OK {
		return status, words, nil
	}
	senders := v.plan.Host.Addresses
	if len(senders) == 0 { // not known: then those that the name has
		for _, rrtype := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
			found, err := v.ask(ctx, v.plan.Host.Name, rrtype)
			if err != nil {
				return Unknown, "", err
			}
			senders = append(senders, addresses(found.Records)...)
		}
	}
	by := &spfResolver{v, r}
	for _, sender := range senders {
		result, why := by.evaluate(ctx, sender)
		switch {
		case result == spf.TempError:
			return Unknown, "", fmt.Errorf("evaluate %q: %w", text, why)
		case result == spf.PermError:
			return Wrong, "receivers cannot read it: " + why.Error(), nil
		case v.plan.Host.smarthost(bare(r.Name())) != "": // who sends in the end is not known here
		case result != spf.Pass:
			return Wrong, fmt.Sprintf("it does not permit %s (%s)", sender, result), nil
		}
	}
	// An address for documentation (RFC 5737), nobody's.
	if result, _ := by.evaluate(ctx, netip.MustParseAddr("203.0.113.77")); result == spf.Pass {
		return Warning, "it permits everybody", nil
	}
	return OK, "", nil
}

func (s *spfResolver) evaluate(ctx context.Context, sender netip.Addr) (spf.Result, error) {
	name := bare(s.record.Name())
	return spf.CheckHostWithSender(sender.AsSlice(), s.v.plan.Host.Name, "postmaster@"+name, spf.WithContext(ctx), spf.WithResolver(s))
}

// spfResolver answers the questions of an evaluation. That the host has its
// addresses, and the domain the host as its mail server, is taken for granted:
// other records say whether it is so.
type spfResolver struct {
	v      *view
	record Record
}

// LookupTXT implements spf.DNSResolver.
func (s *spfResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := s.ask(ctx, name, mdns.TypeTXT)
	if err == nil && len(a.Records) == 0 {
		err = none(name)
	}
	return texts(a), err
}

// LookupMX implements spf.DNSResolver.
func (s *spfResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a, err := s.ask(ctx, name, mdns.TypeMX)
	if err != nil {
		return nil, err
	}
	var all []*net.MX
	if s.record.Domain != "" && same(name, s.record.Domain) {
		all = append(all, &net.MX{Host: mdns.Fqdn(s.v.plan.Host.Name)})
	}
	for _, rr := range a.Records {
		mx := rr.(*mdns.MX)
		if len(all) == 0 || !same(mx.Mx, all[0].Host) {
			all = append(all, &net.MX{Host: mx.Mx, Pref: mx.Preference})
		}
	}
	if len(all) == 0 {
		return nil, none(name)
	}
	return all, nil
}

// LookupIPAddr implements spf.DNSResolver.
func (s *spfResolver) LookupIPAddr(ctx context.Context, name string) (all []net.IPAddr, err error) {
	if host := s.v.plan.Host; same(name, host.Name) && len(host.Addresses) > 0 {
		for _, address := range host.Addresses {
			all = append(all, net.IPAddr{IP: address.AsSlice()})
		}
		return all, nil
	}
	for _, rrtype := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
		a, err := s.ask(ctx, name, rrtype)
		if err != nil {
			return nil, err
		}
		for _, address := range addresses(a.Records) {
			all = append(all, net.IPAddr{IP: address.AsSlice()})
		}
	}
	if len(all) == 0 {
		return nil, none(name)
	}
	return all, nil
}

// LookupAddr implements spf.DNSResolver.
func (s *spfResolver) LookupAddr(ctx context.Context, address string) (names []string, err error) {
	reversed, err := mdns.ReverseAddr(address)
	if err != nil {
		return nil, err
	}
	a, err := s.ask(ctx, reversed, mdns.TypePTR)
	for _, rr := range a.Records {
		names = append(names, rr.(*mdns.PTR).Ptr)
	}
	if err == nil && len(names) == 0 {
		err = none(address)
	}
	return names, err
}

// ask puts a question; that nobody answered may be over soon.
func (s *spfResolver) ask(ctx context.Context, name string, rrtype uint16) (Answer, error) {
	a, err := s.v.ask(ctx, name, rrtype)
	if err != nil {
		return a, &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
	}
	return a, nil
}

func none(name string) error {
	return &net.DNSError{Err: "no such record", Name: strings.TrimSuffix(name, "."), IsNotFound: true}
}
