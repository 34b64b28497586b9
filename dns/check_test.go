package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

// internet answers from a list of records, as two servers that agree, or one
// that lags behind.
type internet struct {
	records  []mdns.RR
	lagging  []mdns.RR // what the first of two servers has; nil: the same
	unsigned bool
	silent   map[string]bool // names about which nobody answers
	late     map[string]bool // names about which nobody answers at the first look
}

func (i internet) Ask(_ context.Context, name string, rrtype uint16, turn int) (Answer, error) {
	if i.silent[name] || turn == 0 && i.late[name] {
		return Answer{}, errors.New("no answer")
	}
	a := Answer{Server: fmt.Sprintf("ns%d.example", 1+turn), Signed: !i.unsigned}
	records := i.records
	if turn == 0 && i.lagging != nil {
		records = i.lagging
	}
	for range records {
		for _, rr := range records {
			if alias, ok := rr.(*mdns.CNAME); ok && same(alias.Hdr.Name, name) {
				name = alias.Target
				a.Aliases = append(a.Aliases, name)
			}
		}
	}
	for _, rr := range records {
		if rr.Header().Rrtype == rrtype && same(rr.Header().Name, name) {
			a.Records = append(a.Records, rr)
		}
	}
	return a, nil
}

// published are the records of a plan, as somebody has set them.
func published(t *testing.T, p Plan) (all []mdns.RR) {
	t.Helper()
	var zone bytes.Buffer
	if err := p.WriteZone(&zone); err != nil {
		t.Fatal(err)
	}
	parser := mdns.NewZoneParser(&zone, "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		all = append(all, rr)
	}
	return all
}

func mustRR(t *testing.T, line string) mdns.RR {
	t.Helper()
	rr, err := mdns.NewRR(line)
	if err != nil || rr == nil {
		t.Fatalf("%s: %v", line, err)
	}
	return rr
}

// notOK are the findings that are not as they should be, by name, type and
// value.
func notOK(r Report) map[string]Finding {
	all := map[string]Finding{}
	for _, f := range r.Findings {
		if f.Status != OK {
			all[f.Record.RR.String()] = f
		}
	}
	return all
}

// TestPublished: what `dns show` prints is what `dns check` wants.
func TestPublished(t *testing.T) {
	p := fullPlan()
	if bad := notOK(Check(t.Context(), p, internet{records: published(t, p)})); len(bad) > 0 {
		t.Errorf("%v", bad)
	}
}

// TestEachRecordCounts: each record that is not there, and each that says
// something else, makes its own line not green, and no other.
func TestEachRecordCounts(t *testing.T) {
	p := fullPlan()
	all := published(t, p)
	for i, r := range p.Records {
		at := slices.IndexFunc(all, func(rr mdns.RR) bool { return rr.String() == r.RR.String() })
		without := slices.Delete(slices.Clone(all), at, at+1)
		for name, records := range map[string][]mdns.RR{
			"removed": without, "changed": append(slices.Clone(without), changed(t, r)), "misspelt": append(slices.Clone(without), misspelt(t, r)),
		} {
			t.Run(fmt.Sprintf("%d %s %s %s", i, r.Name(), r.Type(), name), func(t *testing.T) {
				bad := notOK(Check(t.Context(), p, internet{records: records}))
				f, ok := bad[r.RR.String()]
				if !ok || len(bad) != 1 {
					t.Fatalf("%d lines: %v", len(bad), bad)
				}
				if want := r.missing(); name == "removed" && f.Status != want && r.Kind != KindTLSA {
					t.Errorf("%s, want %s: %s", f.Status, want, f.Text())
				}
			})
		}
	}
}

// changed is a record with another value that somebody could have meant.
func changed(t *testing.T, r Record) mdns.RR {
	t.Helper()
	rr := mdns.Copy(r.RR)
	switch rr := rr.(type) {
	case *mdns.A:
		rr.A = netip.MustParseAddr("192.0.2.99").AsSlice()
	case *mdns.AAAA:
		rr.AAAA = netip.MustParseAddr("2001:db8::99").AsSlice()
	case *mdns.PTR:
		rr.Ptr = "other.example.com."
	case *mdns.MX:
		rr.Mx = "other.example.com."
	case *mdns.CNAME:
		rr.Target = "nowhere.example.com."
	case *mdns.CAA:
		rr.Value = "other.example"
	case *mdns.TLSA:
		rr.Certificate = strings.Repeat("c3", 32)
	case *mdns.SRV:
		if rr.Target = "other.example.com."; rr.Port == 0 {
			rr.Port = 995
		}
	case *mdns.TXT:
		whole := strings.Join(rr.Txt, "")
		for _, change := range [][2]string{
			{"v=spf1 mx -all", "v=spf1 -all"},
			{"v=spf1 a -all", "v=spf1 ~all"},
			{"p=quarantine", "p=nothing"},
			{"p=none", "p=nothing"},
			{"rua=mailto:", "rua=http:"},
			{"id=0", "id=1"},
			{"p=M", "p=N"},
			{"p=1", "p=2"},
		} {
			if strings.Contains(whole, change[0]) {
				return text(rr.Hdr.Name, strings.Replace(whole, change[0], change[1], 1))
			}
		}
		t.Fatalf("nothing to change in %s", whole)
	}
	return rr
}

// misspelt is a record with its name, or the beginning of its text, written
// wrongly.
func misspelt(t *testing.T, r Record) mdns.RR {
	t.Helper()
	rr := mdns.Copy(r.RR)
	if txt, ok := rr.(*mdns.TXT); ok {
		return text(txt.Hdr.Name, strings.Replace(strings.Join(txt.Txt, ""), "v=", "v:", 1))
	}
	rr.Header().Name = "x" + rr.Header().Name
	return rr
}

// TestEquivalents: what is as good is taken, and what is not is not.
func TestEquivalents(t *testing.T) {
	for _, c := range []struct {
		name   string
		remove string // the records with this name and type
		add    []string
		kind   string
		domain string
		want   Status
		words  string
	}{
		{"SPF that includes us", "example.org. TXT", []string{
			`example.org. TXT "v=spf1 include:_spf.example.com ~all"`,
			`_spf.example.com. TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"`,
		}, KindSPF, "example.org", OK, ""},
		{"SPF by the name", "example.org. TXT", []string{`example.org. TXT "V=SPF1 a:mail.example.org ?all"`}, KindSPF, "example.org", OK, ""},
		{"SPF split into strings, beside another text", "example.org. TXT", []string{
			`example.org. TXT "v=spf1" " mx -all"`, `example.org. TXT "site-verification=v=spf1"`,
		}, KindSPF, "example.org", OK, ""},
		{"SPF for one of two addresses", "example.org. TXT", []string{`example.org. TXT "v=spf1 ip4:192.0.2.25 -all"`}, KindSPF, "example.org", Wrong, "does not permit 2001:db8::25 (fail)"},
		{"SPF twice", "", []string{`example.org. TXT "v=spf1 a:mail.example.org -all"`}, KindSPF, "example.org", Wrong, "2 of them count as none"},
		{"SPF of another domain's", "example.org. TXT", []string{`example.org. TXT "v=spf1 include:_spf.example.com -all"`, `_spf.example.com. TXT "v=spf1 -all"`}, KindSPF, "example.org", Wrong, "does not permit 192.0.2.25 (fail)"},
		{"SPF that nobody can read", "example.org. TXT", []string{`example.org. TXT "v=spf1 mxx -all"`}, KindSPF, "example.org", Wrong, "receivers cannot read it"},
		{"SPF for all the world", "example.org. TXT", []string{`example.org. TXT "v=spf1 +all"`}, KindSPF, "example.org", Warning, "permits everybody"},

		{"another order of MX", "example.org. MX", []string{"example.org. MX 5 backup.example.com.", "example.org. MX 50 mail.example.org."}, KindMX, "example.org", OK, "1 other hosts too"},
		{"MX by an alias", "example.org. MX", []string{"example.org. MX 10 mx.example.org.", "mx.example.org. CNAME mail.example.org."}, KindMX, "example.org", OK, ""},
		{"MX by an address", "example.org. MX", []string{"example.org. MX 10 mx.example.org.", "mx.example.org. A 192.0.2.25"}, KindMX, "example.org", OK, ""},
		{"no mail here (RFC 7505)", "example.org. MX", []string{"example.org. MX 0 ."}, KindMX, "example.org", Wrong, "does not lead to this host"},

		{"DKIM in another order, cut elsewhere", "e2027._domainkey.example.org. TXT", []string{
			`e2027._domainkey.example.org. TXT "k=ed25519; t=s; p=11qYAYKxCrfVS/7TyWQHOg7hcv" "PapiMlrwIaaPcHURo=; v=DKIM1"`,
		}, KindDKIM, "example.org", OK, ""},
		{"DKIM key of another kind", "e2027._domainkey.example.org. TXT", []string{
			`e2027._domainkey.example.org. TXT "v=DKIM1; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`,
		}, KindDKIM, "example.org", Wrong, "another kind of key"},
		{"DKIM revoked", "e2027._domainkey.example.org. TXT", []string{`e2027._domainkey.example.org. TXT "v=DKIM1; k=ed25519; p="`}, KindDKIM, "example.org", Wrong, "revoked"},
		{"other selectors", "", []string{`other._domainkey.example.org. TXT "v=DKIM1; p=AAAA"`}, KindDKIM, "example.org", OK, ""},

		{"a stricter policy", "_dmarc.example.org. TXT", []string{`_dmarc.example.org. TXT "v=DMARC1;p=reject; rua=mailto:a@example.com!10m,mailto:b@example.net; adkim=s"`}, KindDMARC, "example.org", OK, ""},
		{"no reports wanted", "_dmarc.example.org. TXT", []string{`_dmarc.example.org. TXT "v=DMARC1; p=none"`}, KindDMARC, "example.org", OK, ""},
		{"DMARC elsewhere", "_dmarc.example.org. TXT", []string{`_dmarc.example.org. CNAME _dmarc.example.com.`, `_dmarc.example.com. TXT "v=DMARC1; p=reject"`}, KindDMARC, "example.org", OK, ""},
		{"reports to the web", "_smtp._tls.example.org. TXT", []string{`_smtp._tls.example.org. TXT "v=TLSRPTv1;rua=https://example.com/report"`}, KindTLSRPT, "example.org", OK, ""},

		{"an address for the web", "autoconfig.example.org. CNAME", []string{"autoconfig.example.org. AAAA 2001:db8::80"}, KindAutoconfig, "example.org", OK, ""},
		{"a web server elsewhere", "mta-sts.example.org. CNAME", []string{"mta-sts.example.org. CNAME www.example.com.", "www.example.com. A 192.0.2.80"}, KindMTASTS, "example.org", OK, ""},

		{"SRV with other weights", "_imaps._tcp.example.org. SRV", []string{"_imaps._tcp.example.org. SRV 5 50 993 mail.example.org."}, KindSRV, "example.org", OK, ""},
		{"SRV with another port", "_imaps._tcp.example.org. SRV", []string{"_imaps._tcp.example.org. SRV 0 1 143 mail.example.org."}, KindSRV, "example.org", Wrong, "this port"},

		{"an authority with parameters, further above", "mail.example.org. CAA", []string{`example.org. CAA 0 issue "letsencrypt.org; validationmethods=dns-01"`}, KindCAA, "", OK, ""},
		{"another authority, further above", "mail.example.org. CAA", []string{`example.org. CAA 0 issue "other.example"`}, KindCAA, "", Wrong, "letsencrypt.org may not renew"},
		{"who is told alone", "mail.example.org. CAA", []string{`mail.example.org. CAA 0 iodef "mailto:me@example.org"`}, KindCAA, "", Warning, "any authority"},

		{"a key of an authority", "_25._tcp.mail.example.org. TLSA", []string{"_25._tcp.mail.example.org. TLSA 2 1 1 " + strings.Repeat("d4", 32)}, KindTLSA, "", Warning, ""},
		{"a name for the address too", "25.2.0.192.in-addr.arpa. PTR", []string{"25.2.0.192.in-addr.arpa. PTR other.example.com.", "25.2.0.192.in-addr.arpa. PTR MAIL.example.org."}, KindPTR, "", OK, ""},
		{"a second address", "", []string{"mail.example.org. A 192.0.2.99"}, KindAddress, "", Wrong, "192.0.2.99 is not this host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := fullPlan()
			records := slices.DeleteFunc(published(t, p), func(rr mdns.RR) bool {
				return rr.Header().Name+" "+mdns.TypeToString[rr.Header().Rrtype] == c.remove
			})
			for _, line := range c.add {
				records = append(records, mustRR(t, line))
			}
			worst := Finding{}
			for _, f := range Check(t.Context(), p, internet{records: records}).Findings {
				switch ours := f.Record.Kind == c.kind && f.Record.Domain == c.domain; {
				case !ours && f.Status != OK:
					t.Errorf("beside it: %s: %s", f.Status, f.Text())
				case ours && (f.Status != OK && worst.Status != Wrong || worst.Record.RR == nil || f.Words != "" && worst.Status == OK):
					worst = f
				}
			}
			if worst.Status != c.want || !strings.Contains(worst.Words, c.words) {
				t.Errorf("%s: %s, want %s, …%s…", worst.Status, worst.Text(), c.want, c.words)
			}
		})
	}
}

// TestSmarthost: who sends in the end is not known, so any SPF that can be read
// will do.
func TestSmarthost(t *testing.T) {
	h, domains := full()
	h.Smarthost = "smtp.example.com"
	p := Needed(h, domains)
	records := published(t, p)
	for i, rr := range records {
		if txt, ok := rr.(*mdns.TXT); ok && strings.HasPrefix(txt.Txt[0], "v=spf1") {
			records[i] = text(rr.Header().Name, "v=spf1 ip4:198.51.100.0/24 -all")
		}
	}
	if bad := notOK(Check(t.Context(), p, internet{records: records})); len(bad) > 0 {
		t.Errorf("%v", bad)
	}
}

// TestUnsigned: without DNSSEC nobody looks at TLSA records.
func TestUnsigned(t *testing.T) {
	p := fullPlan()
	all := published(t, p)
	for _, f := range Check(t.Context(), p, internet{records: all, unsigned: true}).Of(KindTLSA) {
		if f.Status != OK || !strings.Contains(f.Words, "of no effect") {
			t.Errorf("%s: %s", f.Status, f.Text())
		}
	}
	without := slices.DeleteFunc(all, func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypeTLSA })
	for _, f := range Check(t.Context(), p, internet{records: without, unsigned: true}).Of(KindTLSA) {
		if f.Status != OK || !strings.Contains(f.Words, "not needed") {
			t.Errorf("%s: %s", f.Status, f.Text())
		}
	}
}

// TestUnknownAddress: a host that does not know its address takes that of its
// name, which has to be there.
func TestUnknownAddress(t *testing.T) {
	h, domains := full()
	records := published(t, Needed(h, domains))
	h.Addresses = nil
	r := Check(t.Context(), Needed(h, domains), internet{records: records})
	if bad := notOK(r); len(bad) > 0 || len(r.Of(KindAddress)) != 2 || len(r.Of(KindPTR)) != 2 {
		t.Errorf("%v of %d", bad, len(r.Findings))
	}
	elsewhere := slices.DeleteFunc(slices.Clone(records), func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypePTR })
	if bad := Check(t.Context(), Needed(h, domains), internet{records: elsewhere}).Count(Wrong); bad != 2 {
		t.Errorf("without names for the addresses: %d wrong", bad)
	}
	nowhere := slices.DeleteFunc(slices.Clone(records), func(rr mdns.RR) bool {
		return rr.Header().Rrtype == mdns.TypeA || rr.Header().Rrtype == mdns.TypeAAAA
	})
	var out bytes.Buffer
	r = Check(t.Context(), Needed(h, domains), internet{records: nowhere})
	if err := r.WriteText(&out, TextOptions{}); err != nil || !strings.HasPrefix(out.String(), "✗ A of mail.example.org: none\n    expected: the public address of this host\n") || r.Count(Wrong) != 1 {
		t.Errorf("without an address, %v:\n%s", err, out.String())
	}
	if r := Check(t.Context(), Needed(h, domains), internet{silent: map[string]bool{h.Name: true}}); r.Findings[0].Status != Unknown {
		t.Errorf("without an answer: %s", r.Findings[0].Text())
	}
}

// TestLagging: a server that is behind the others is a warning, and no alarm.
func TestLagging(t *testing.T) {
	p := fullPlan()
	all := published(t, p)
	old := slices.DeleteFunc(slices.Clone(all), func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypeMX })
	for _, f := range Check(t.Context(), p, internet{records: all, lagging: old}).Of(KindMX) {
		if f.Status != Warning || !strings.Contains(f.Words, "ns2.example has it, and ns1.example does not") {
			t.Errorf("%s: %s", f.Status, f.Text())
		}
	}
}

// TestSilence: that nobody answers is said, and is no record that is missing.
func TestSilence(t *testing.T) {
	p := fullPlan()
	r := Check(t.Context(), p, internet{records: published(t, p), silent: map[string]bool{"_dmarc.example.org.": true}})
	if got := r.Summary(); r.Count(Unknown) != 1 || r.Count(Wrong) != 0 || !strings.HasSuffix(got, ", 1 not answered") {
		t.Errorf("%s", got)
	}
}

// TestSecondLook: silence at first is nothing to speak of, if there is an answer then;
// and what that says counts.
func TestSecondLook(t *testing.T) {
	p := fullPlan()
	late := map[string]bool{"_dmarc.example.org.": true}
	all := published(t, p)
	if bad := notOK(Check(t.Context(), p, internet{records: all, late: late})); len(bad) > 0 {
		t.Errorf("there at the second look: %v", bad)
	}
	without := slices.DeleteFunc(all, func(rr mdns.RR) bool { return late[rr.Header().Name] })
	for _, f := range Check(t.Context(), p, internet{records: without, late: late}).Of(KindDMARC) {
		if want := map[bool]Status{true: f.Record.missing(), false: OK}[late[f.Record.Name()]]; f.Status != want {
			t.Errorf("%s: %s, want %s", f.Status, f.Text(), want)
		}
	}
}

// TestReport: what others said is safe for a terminal, and what was expected is
// there.
func TestReport(t *testing.T) {
	p := fullPlan()
	records := published(t, p)
	for i, rr := range records {
		if rr.Header().Name == "_dmarc.example.org." {
			records[i] = &mdns.TXT{Hdr: *rr.Header(), Txt: []string{"v=DMARC1; p=\x1b[2J" + strings.Repeat("x", 240)}}
		}
	}
	var out bytes.Buffer
	if err := Check(t.Context(), p, internet{records: records}).WriteText(&out, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", out.Bytes())
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Error("an escape sequence of somebody else's")
	}
}
