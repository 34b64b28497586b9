package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// senders are domains elsewhere, in the zone of others: %s is the address that the
// test sends from.
const senders = `
mx         A    %[1]s
elsewhere  MX   10 mx
elsewhere  TXT  "v=spf1 ip4:%[1]s -all"
outside    MX   10 mx
outside    TXT  "v=spf1 ip4:%[1]s -all"
soft       TXT  "v=spf1 ~all"
hard       TXT  "v=spf1 -all"
right      MX   10 mx
right      TXT  "v=spf1 ip4:%[1]s -all"
_dmarc.right   TXT "v=DMARC1; p=reject"
refuse     TXT  "v=spf1 -all"
_dmarc.refuse  TXT "v=DMARC1; p=reject"
later      TXT  "v=spf1 -all"
_dmarc.later   TXT "v=DMARC1; p=reject"
mark       TXT  "v=spf1 -all"
_dmarc.mark    TXT "v=DMARC1; p=quarantine"
watch      TXT  "v=spf1 -all"
_dmarc.watch   TXT "v=DMARC1; p=none"
`

// TestDMARC: mail in a domain's name that is not the domain's is treated as the
// domain asks, while whoever hands it over still waits.
func TestDMARC(t *testing.T) {
	t.Parallel()
	// Points have no part in it.
	p := newNeighbours(t, 1, "filter.mark = 100\nfilter.reject = 200\n")
	b := p.all[0]
	p.ns.change(t, zoneFile{name: p.others, records: fmt.Sprintf(senders, p.ip(1))})
	for name, alignment := range map[string]string{"example.org": "", "example.net": "; aspf=s; adkim=s"} {
		p.ns.change(t, zoneFile{name: name, records: fmt.Sprintf("@ TXT \"v=spf1 ip4:%s -all\"\n_dmarc TXT \"v=DMARC1; p=reject%s\"\n", p.ip(1), alignment)})
	}
	user := "user@" + b.domain
	password := b.accountNamed(t, user)
	send := func(t *testing.T, envelope, from string) (subject string, err error) {
		t.Helper()
		subject = "as " + from + " " + randomHex(4)
		c := p.connect(t, b, "mx.test")
		defer c.Close()
		return subject, c.SendMail(envelope, []string{user}, strings.NewReader(message(from, user, subject, "Hello.")))
	}
	for _, c := range []struct {
		what, envelope, from string
		code                 int
		marked               bool
		results              string
	}{
		{what: "forged, p=reject", envelope: "ceo@refuse.test", from: "ceo@refuse.test", code: 554},
		{what: "forged, with a sender of its own", envelope: "a@elsewhere.test", from: "ceo@refuse.test", code: 554},
		{what: "forged, of a subdomain", envelope: "a@elsewhere.test", from: "ceo@board.example.org", code: 554},
		{what: "forged, without a sender", envelope: "", from: "ceo@refuse.test", code: 554},
		{what: "of the domain", envelope: "a@right.test", from: "a@right.test", results: "spf=pass dmarc=pass"},
		{what: "of a subdomain, relaxed", envelope: "a@example.org", from: "a@sub.example.org", results: "spf=pass dmarc=pass"},
		{what: "of the domain, strict", envelope: "a@example.net", from: "a@example.net", results: "spf=pass dmarc=pass"},
		{what: "of a subdomain, strict", envelope: "a@example.net", from: "a@sub.example.net", code: 554},
		{what: "forged, p=quarantine", envelope: "a@mark.test", from: "a@mark.test", marked: true, results: "spf=fail dmarc=fail"},
		{what: "forged, p=none", envelope: "a@watch.test", from: "a@watch.test", results: "spf=fail dmarc=fail"},
		{what: "softfail without a policy", envelope: "a@soft.test", from: "a@soft.test", results: "spf=softfail"},
		{what: "fail without a policy", envelope: "a@hard.test", from: "a@hard.test", results: "spf=fail"},
		{what: "a domain that says nothing", envelope: "a@nothing.test", from: "a@nothing.test", results: "spf=none"},
	} {
		t.Run(c.what, func(t *testing.T) {
			subject, err := send(t, c.envelope, c.from)
			if smtpCode(err) != c.code || (c.code == 0) != (err == nil) {
				t.Fatalf("%v, want %d", err, c.code)
			}
			if c.code != 0 {
				if !strings.Contains(err.Error(), "DMARC") {
					t.Errorf("the refusal does not say why: %v", err)
				}
				return
			}
			got := b.findMail(t, user, password, subject)
			results := b.results(got)
			for want := range strings.FieldsSeq(c.results) {
				if !strings.Contains(results, want) {
					t.Errorf("no %s in %q", want, results)
				}
			}
			if marked := strings.Contains(got, "\r\nX-Spam: Yes\r\n"); marked != c.marked {
				t.Errorf("marked: %v, of\n%s", marked, got)
			}
		})
	}
	t.Run("no name server", func(t *testing.T) {
		docker(t, "pause", p.resolver.Name)
		_, err := send(t, "ceo@later.test", "ceo@later.test")
		docker(t, "unpause", p.resolver.Name)
		if smtpCode(err)/100 == 5 {
			t.Errorf("a name server that is away has mail refused: %v", err)
		}
		if _, err = send(t, "ceo@later.test", "ceo@later.test"); smtpCode(err) != 554 {
			t.Errorf("the name server is back: %v", err)
		}
	})
}

// findMail waits for a message in INBOX or Junk.
func (s *Stack) findMail(t *testing.T, user, password, subject string) string {
	t.Helper()
	var found []string
	waitUntil(t, bounded, "mail "+subject, func() (bool, string) {
		var errs []error
		for _, mailbox := range []string{"INBOX", "Junk"} {
			list, err := s.look(t, user, password, mailbox, subject)
			errs, found = append(errs, err), append(found, list...)
		}
		return len(found) > 0, fmt.Sprint(errs)
	})
	return found[0]
}
