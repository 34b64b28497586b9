package probe

import (
	"context"
	"errors"
	"strings"
	"testing"

	"mailstack/dns"
)

// TestRecords: what is wrong in the DNS is critical, silence is a warning, and
// what is recommended a note, each in the check of its kind alone.
func TestRecords(t *testing.T) {
	t.Parallel()
	plan := dns.Needed(dns.Host{Name: "mail.example.org", Ports: StandardPorts()}, []dns.Domain{{Name: "example.org"}})
	report := dns.Report{Plan: plan}
	for _, r := range plan.Records {
		f := dns.Finding{Record: r}
		switch r.Kind {
		case dns.KindMX:
			f.Status, f.Seen = dns.Wrong, []string{"10 other.example.\x1b[31m"}
		case dns.KindDMARC:
			f.Status, f.Words = dns.Unknown, "ns1.example: no answer"
		case dns.KindSRV:
			f.Status = dns.Warning
		}
		report.Findings = append(report.Findings, f)
	}
	got := Run(t.Context(), Target{Records: func(context.Context) (dns.Report, error) { return report, nil }}, Options{})
	want := map[string]struct {
		status Status
		text   string // in the reason or a note
	}{
		"dns.mx":    {Critical, "DNS record not as it must be: MX of example.org: 10 other.example..[31m"},
		"dns.dmarc": {Warning, "no answer from the DNS: DMARC of _dmarc.example.org: ns1.example: no answer"},
		"dns.srv":   {OK, "7 recommended records are not there"},
		"dns.spf":   {OK, ""},
		"dns.dkim":  {OK, "no such records are needed"},
	}
	for _, c := range got.Checks {
		w := want[c.Name]
		delete(want, c.Name)
		if c.Status != w.status || !strings.Contains(c.Reason+strings.Join(c.Notes, "\n"), w.text) {
			t.Errorf("%s is %s: %q %q, want %s: %q", c.Name, c.Status, c.Reason, c.Notes, w.status, w.text)
		}
	}
	if len(want) > 0 {
		t.Errorf("no checks %v", want)
	}
}

// TestRecordsUnread: without the list of domains nothing is known, and nothing
// red.
func TestRecordsUnread(t *testing.T) {
	t.Parallel()
	target := Target{Records: func(context.Context) (dns.Report, error) { return dns.Report{}, errors.New("no database") }}
	for _, c := range Run(t.Context(), target, Options{}).Checks {
		if c.Status != Unknown || !strings.Contains(c.Reason, "no database") {
			t.Errorf("%s is %s: %s", c.Name, c.Status, c.Reason)
		}
	}
}
