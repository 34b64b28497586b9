package dns

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
)

var update = flag.Bool("update", false, "write golden files anew")

// full is a host with everything, and two domains, of which one is signed.
func full() (Host, []Domain) {
	h := Host{
		Name:      "mail.example.org",
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("2001:db8::25")},
		Ports: map[string]uint16{
			"smtp": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993, "managesieve": 4190,
		},
		Keys:   []Key{{SHA256: strings.Repeat("a1", 32), Kind: "ecdsa"}, {SHA256: strings.Repeat("b2", 32), Kind: "ecdsa", Next: true}},
		Issuer: "letsencrypt.org", PolicyID: "0123456789abcdef",
	}
	rsa := strings.Repeat("MIIBIjANBgkqhkiG", 25) // as long as one of 2048 bits
	return h, []Domain{
		{Name: "example.org", Signing: []SigningKey{
			{Selector: "r2026", Type: "rsa", PublicKey: rsa, State: "active"},
			{Selector: "e2027", Type: "ed25519", PublicKey: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", State: "next"},
			{
				Selector: "e2025", Type: "ed25519", PublicKey: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", State: "retiring",
				Until: time.Date(2026, 12, 7, 12, 0, 0, 0, time.UTC),
			},
			{Selector: "e2024", Type: "ed25519", PublicKey: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", State: "retired"},
		}},
		{Name: "example.net"},
	}
}

func fullPlan() Plan { return Needed(full()) }

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	if err := fullPlan().WriteText(&out, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "full.txt", out.Bytes())
}

func TestJSON(t *testing.T) {
	got, err := json.MarshalIndent(fullPlan(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "full.json", append(got, '\n'))
}

// TestZone: what is written is what is meant, read by a parser of zone files.
func TestZone(t *testing.T) {
	p := fullPlan()
	var out bytes.Buffer
	if err := p.WriteZone(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "full.zone", out.Bytes())
	var read []string
	parser := mdns.NewZoneParser(&out, "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		read = append(read, rr.String())
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	var meant []string
	for _, r := range p.Records {
		meant = append(meant, r.RR.String())
	}
	slices.Sort(read)
	slices.Sort(meant)
	if diff := cmp.Diff(meant, read); diff != "" {
		t.Errorf("(-meant +read):\n%s", diff)
	}
}

// TestOneZone: the records of a domain alone are all in its zone.
func TestOneZone(t *testing.T) {
	p := fullPlan()
	count := 0
	for _, zone := range p.Zones() {
		for _, r := range p.Of(zone).Records {
			if !mdns.IsSubDomain(zone, r.Name()) {
				t.Errorf("%s is not in %s", r.Name(), zone)
			}
			count++
		}
	}
	if count != len(p.Records) {
		t.Errorf("%d records in zones, %d in all", count, len(p.Records))
	}
	if got := p.Zones(); !slices.Equal(got, []string{
		"example.org.", "example.net.", "2.0.192.in-addr.arpa.", "0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
	}) {
		t.Errorf("zones %q", got)
	}
	if got := len(p.Of("example.net").Records); got != 15 {
		t.Errorf("%d records in example.net", got)
	}
}

// TestKeysOfOtherListener: where port 25 is handed on to a listener with another one,
// servers ask for the keys of port 25 all the same.
func TestKeysOfOtherListener(t *testing.T) {
	h, domains := full()
	for port, want := range map[uint16]int{25: 2, 2525: 2, 0: 0} {
		h.Ports["smtp"] = port
		found := 0
		for _, r := range Needed(h, domains).Records {
			if r.Kind != KindTLSA {
				continue
			}
			if r.Name() != "_25._tcp.mail.example.org." {
				t.Errorf("smtp = %d: %s", port, r.Name())
			}
			found++
		}
		if found != want {
			t.Errorf("smtp = %d: %d TLSA records, want %d", port, found, want)
		}
	}
}

// TestZoneOfHost: a host in none of its domains is in the zone above it.
func TestZoneOfHost(t *testing.T) {
	for host, zone := range map[string]string{
		"mail.example.com": "example.com.", "mx.mail.example.com": "mail.example.com.", "example.com": "example.com.",
		"mail.example.org": "example.org.", "example.net": "example.net.",
	} {
		h, domains := full()
		h.Name = host
		p := Needed(h, domains)
		if got := p.Zone(p.Records[0]); got != zone {
			t.Errorf("%s is in zone %s, want %s", host, got, zone)
		}
	}
}

func (p Plan) values(kind, domain string) (values []string) {
	for _, r := range p.Records {
		if r.Kind == kind && r.Domain == domain {
			values = append(values, r.Name()+" "+r.Type()+" "+r.Value())
		}
	}
	return values
}

// TestNeeded: what is not there is not asked for, and that is said.
func TestNeeded(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h *Host)
		kind   string
		domain string
		want   []string
		note   string
	}{
		{
			"what is off is said to be off", func(h *Host) { h.Ports["imap"] = 0 }, KindSRV, "example.net",
			[]string{
				"_imaps._tcp.example.net. SRV 0 1 993 mail.example.org.", "_imap._tcp.example.net. SRV 0 0 0 .",
				"_pop3s._tcp.example.net. SRV 0 0 0 .", "_pop3._tcp.example.net. SRV 0 0 0 .",
				"_submissions._tcp.example.net. SRV 0 1 465 mail.example.org.", "_submission._tcp.example.net. SRV 10 1 587 mail.example.org.",
				"_sieve._tcp.example.net. SRV 0 1 4190 mail.example.org.",
			},
			"",
		},
		{"no mail from outside", func(h *Host) { h.Ports["smtp"] = 0 }, KindMX, "example.org", nil, "example.org: no MX record, as port 25 is off"},
		{"no keys", func(h *Host) { h.Keys = nil }, KindTLSA, "", nil, "no TLSA records: there is no certificate yet"},
		{"no public authority", func(h *Host) { h.PolicyID = "" }, KindMTASTS, "example.org", nil, "no MTA-STS records"},
		{"no issuer", func(h *Host) { h.Issuer = "" }, KindCAA, "", nil, ""},
		{"no address", func(h *Host) { h.Addresses = nil }, KindPTR, "", nil, "no A, AAAA and PTR records"},
		{"not signed", func(*Host) {}, KindDKIM, "example.net", nil, "example.net: no DKIM record, as its mail is not signed yet"},
		{"switched off", func(h *Host) { h.SigningOff = true }, KindDKIM, "example.org", nil, "example.org: no DKIM record, as nothing signs mail while"},
		{
			"switched off, not forbidden", func(h *Host) { h.SigningOff = true }, KindDMARC, "example.org",
			[]string{`_dmarc.example.org. TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.org"`},
			"",
		},
		{
			"not signed, not forbidden", func(*Host) {}, KindDMARC, "example.net",
			[]string{`_dmarc.example.net. TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.net"`},
			"",
		},
		{
			"by a smarthost", func(h *Host) { h.Smarthost = "smtp.example.com" }, KindSPF, "example.net",
			[]string{`example.net. TXT "v=spf1 mx ~all"`},
			"",
		},
		{"the host greets nobody", func(h *Host) { h.Smarthost = "smtp.example.com" }, KindSPF, "", nil, ""},
		{"the host is a domain", func(h *Host) { h.Name = "example.net" }, KindSPF, "", nil, ""},
		{
			"the files are elsewhere", func(h *Host) { h.Web = "www.example.com" }, KindAutoconfig, "example.org",
			[]string{"autoconfig.example.org. CNAME www.example.com.", "autodiscover.example.org. CNAME www.example.com."},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, domains := full()
			c.change(&h)
			p := Needed(h, domains)
			if got := p.values(c.kind, c.domain); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.kind, got, c.want)
			}
			if c.note != "" && !slices.ContainsFunc(p.Notes, func(n string) bool { return strings.HasPrefix(n, c.note) }) {
				t.Errorf("no note %q in %q", c.note, p.Notes)
			}
		})
	}
}

// TestKindsAreAll: every record is of a kind that is listed.
func TestKindsAreAll(t *testing.T) {
	used := map[string]bool{}
	for _, r := range fullPlan().Records {
		used[r.Kind] = true
	}
	for _, kind := range Kinds() {
		if !used[kind[0]] {
			t.Errorf("no record is of kind %s", kind[0])
		}
		delete(used, kind[0])
	}
	if len(used) > 0 {
		t.Errorf("kinds that are not listed: %v", used)
	}
}
