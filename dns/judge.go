package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// judgeAddress: a name that leads elsewhere too loses what goes there.
func judgeAddress(_ context.Context, v *view, r Record, a Answer) (Status, string, error) {
	all := addresses(a.Records)
	for _, address := range all {
		if !slices.Contains(v.plan.Host.Addresses, address) {
			return Wrong, fmt.Sprintf("%s is not this host", address), nil
		}
	}
	if !slices.Contains(all, addresses([]mdns.RR{r.RR})[0]) {
		return r.missing(), "", nil
	}
	return OK, "", nil
}

func addresses(records []mdns.RR) (all []netip.Addr) {
	for _, rr := range records {
		var ip []byte
		switch rr := rr.(type) {
		case *mdns.A:
			ip = rr.A
		case *mdns.AAAA:
			ip = rr.AAAA
		}
		if address, ok := netip.AddrFromSlice(ip); ok {
			all = append(all, address.Unmap())
		}
	}
	return all
}

// same says whether two names are one.
func same(a, b string) bool { return mdns.CanonicalName(a) == mdns.CanonicalName(b) }

func judgePTR(_ context.Context, _ *view, r Record, a Answer) (Status, string, error) {
	for _, rr := range a.Records {
		if same(rr.(*mdns.PTR).Ptr, r.RR.(*mdns.PTR).Ptr) {
			return OK, "", nil
		}
	}
	return r.missing(), "", nil
}

// leadsHere says whether a name is the host's, or an alias of it, or has one of
// its addresses.
func (v *view) leadsHere(ctx context.Context, name string) (bool, error) {
	host := v.plan.Host.Name
	if same(name, host) {
		return true, nil
	}
	if same(name, ".") {
		return false, nil
	}
	for _, rrtype := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
		a, err := v.ask(ctx, name, rrtype)
		if err != nil {
			return false, err
		}
		if slices.Contains(a.Aliases, mdns.CanonicalName(host)) {
			return true, nil
		}
		for _, address := range addresses(a.Records) {
			if slices.Contains(v.plan.Host.Addresses, address) {
				return true, nil
			}
		}
	}
	return false, nil
}

// judgeMX takes any preference, and other servers beside this one.
func judgeMX(ctx context.Context, v *view, r Record, a Answer) (Status, string, error) {
	others := 0
	here := false
	for _, rr := range a.Records {
		leads, err := v.leadsHere(ctx, rr.(*mdns.MX).Mx)
		if err != nil {
			return Unknown, "", err
		}
		if here = here || leads; !leads {
			others++
		}
	}
	switch {
	case here && others > 0:
		return OK, fmt.Sprintf("mail goes to %d other hosts too", others), nil
	case here:
		return OK, "", nil
	case len(a.Records) == 0 && same(r.Domain, v.plan.Host.Name):
		return OK, "not needed: the domain is the host itself", nil // RFC 5321 section 5.1
	case len(a.Records) > 0:
		return Wrong, "it does not lead to this host", nil
	}
	return r.missing(), "", nil
}

// judgeSRV takes any priority and weight, and other servers beside this one.
func judgeSRV(ctx context.Context, v *view, r Record, a Answer) (Status, string, error) {
	want := r.RR.(*mdns.SRV)
	if len(a.Records) == 0 {
		return r.missing(), "", nil
	}
	for _, rr := range a.Records {
		got := rr.(*mdns.SRV)
		if same(want.Target, ".") {
			if !same(got.Target, ".") {
				return Wrong, "it announces what is off", nil
			}
			continue
		}
		leads, err := v.leadsHere(ctx, got.Target)
		if err != nil {
			return Unknown, "", err
		}
		if leads && got.Port == want.Port {
			return OK, "", nil
		}
	}
	if same(want.Target, ".") {
		return OK, "", nil
	}
	return Wrong, "it does not lead to this port of this host", nil
}

// judgeAlias takes any way that leads to an address: the web server may be
// anywhere. Whether the host's own name has one is another record's to say.
func judgeAlias(ctx context.Context, v *view, r Record, a Answer) (Status, string, error) {
	if len(a.Records) > 0 || slices.Contains(a.Aliases, mdns.CanonicalName(v.plan.Host.Name)) {
		return OK, "", nil
	}
	six, err := v.ask(ctx, r.Name(), mdns.TypeAAAA)
	switch {
	case err != nil:
		return Unknown, "", err
	case len(six.Records) > 0:
		return OK, "", nil
	case len(a.Aliases) > 0:
		return Wrong, fmt.Sprintf("it leads to %s, which has no address", a.Aliases[len(a.Aliases)-1]), nil
	}
	return r.missing(), "", nil
}

// judgeTLSA: where the zone is not signed nobody looks at these records. Where
// it is, and they are of other keys, those who look send nothing.
func judgeTLSA(_ context.Context, v *view, r Record, a Answer) (Status, string, error) {
	want := r.RR.(*mdns.TLSA)
	ofKeys := false
	for _, rr := range a.Records {
		got := rr.(*mdns.TLSA)
		if got.Usage != want.Usage || got.Selector != want.Selector || got.MatchingType != want.MatchingType {
			continue
		}
		ofKeys = true
		if !strings.EqualFold(got.Certificate, want.Certificate) {
			continue
		}
		if !a.Signed {
			return OK, "of no effect: the zone is not signed (DNSSEC)", nil
		}
		return OK, "", nil
	}
	next := slices.ContainsFunc(v.plan.Host.Keys, func(k Key) bool { return k.Next && k.SHA256 == want.Certificate })
	switch {
	case len(a.Records) == 0 && !a.Signed:
		return OK, "not needed: the zone is not signed (DNSSEC)", nil
	case len(a.Records) == 0 || next:
		return r.missing(), "", nil
	case !ofKeys:
		return Warning, "those that are there are of other kinds, which cannot be judged here", nil
	case !a.Signed:
		return Warning, "of another key, and of no effect: the zone is not signed (DNSSEC)", nil
	}
	return Wrong, "of other keys: servers that know DANE send no mail here", nil
}

// judgeCAA looks at the names above too, as authorities do (RFC 8659 section 3).
func judgeCAA(ctx context.Context, v *view, r Record, a Answer) (Status, string, error) {
	for name := r.Name(); len(a.Records) == 0; {
		at, end := mdns.NextLabel(name, 0)
		if end || mdns.CountLabel(name[at:]) < 2 {
			return r.missing(), "", nil
		}
		name = name[at:]
		var err error
		if a, err = v.ask(ctx, name, mdns.TypeCAA); err != nil {
			return r.missing(), "", nil // what is above is perhaps not this server's
		}
	}
	issue := false
	for _, rr := range a.Records {
		got := rr.(*mdns.CAA)
		if !strings.EqualFold(got.Tag, "issue") {
			continue
		}
		issue = true
		if who, _, _ := strings.Cut(got.Value, ";"); strings.EqualFold(strings.TrimSpace(who), v.plan.Host.Issuer) {
			return OK, "", nil
		}
	}
	if !issue {
		return r.missing(), "any authority may make a certificate", nil
	}
	return Wrong, fmt.Sprintf("%s may not renew the certificate", v.plan.Host.Issuer), nil
}
