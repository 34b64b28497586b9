package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestForwardedSurvives: what an alias sends on to a server that obeys DMARC is
// taken there. Its sender is the forwarder's (SRS), so SPF holds; what its own
// domain has signed still is; and where it has signed nothing, a receiver that
// trusts the forwarder believes what that found (ARC).
func TestForwardedSurvives(t *testing.T) {
	t.Parallel()
	p := newNeighbours(t, 2, "")
	a, b := p.all[0], p.all[1]
	p.ns.change(t, zoneFile{name: p.others, records: fmt.Sprintf(senders, p.ip(1))})
	p.publish(t, a, refusing)
	out := p.outsider(t)
	alice, carol, list := "alice@"+a.domain, "carol@"+a.domain, "list@"+b.domain
	alicePassword, carolPassword := a.accountNamed(t, alice), a.accountNamed(t, carol)
	b.mustRun(t, "alias", "add", list, carol)

	// A's own mail comes back to A, which takes no strangers in its name.
	subject := "there and back " + randomHex(4)
	if err := a.submit(t, alice, alicePassword, alice, []string{list}, message(alice, list, subject, "Hello.")); err != nil {
		t.Fatal(err)
	}
	got := a.waitMail(t, carol, carolPassword, "INBOX", subject)
	for _, want := range []string{"dkim=pass", "spf=pass", "dmarc=pass", "arc=pass"} {
		if results := a.results(got); !strings.Contains(results, want) {
			t.Errorf("no %s in %q of\n%s", want, results, got)
		}
	}
	if !strings.Contains(got, "Return-Path: <SRS0=") || !strings.Contains(got, "=alice@mail."+b.domain+">") {
		t.Errorf("the sender is not B's:\n%s", got)
	}
	if words := p.verify(t, "arcverify", got); !strings.Contains(words, "cv=b'pass'") {
		t.Errorf("arcverify: %s", words)
	}
	if words := p.verify(t, "arcverify", strings.Replace(got, "Hello.", "Hallo.", 1)); strings.Contains(words, "pass") {
		t.Errorf("arcverify of a changed message: %s", words)
	}

	// Mail that only SPF shows to be its domain's.
	right := "writer@right.test"
	send := func() string {
		t.Helper()
		subject := "without a signature " + randomHex(4)
		c := p.connect(t, b, "mx.test")
		defer c.Close()
		if err := c.SendMail(right, []string{list}, strings.NewReader(message(right, list, subject, "Hello."))); err != nil {
			t.Fatal(err)
		}
		return subject
	}
	subject = send()
	if got := out.wait(t, subject); got.from != "" || !slices.Equal(got.to, []string{right}) || !strings.Contains(got.message, "DMARC") {
		t.Errorf("what A refuses of B's comes home from <%s> to %v:\n%s", got.from, got.to, got.message)
	}
	a.set(t, "filter.trusted_forwarders", fmt.Sprintf("[%q]", b.domain))
	a.upGreen(t)
	got = a.waitMail(t, carol, carolPassword, "INBOX", send())
	if results := a.results(got); !strings.Contains(results, "arc=pass") || !strings.Contains(results, "dmarc=fail") {
		t.Errorf("the results are %q of\n%s", results, got)
	}

	// A seal says what was found: B is believed in that too.
	c := p.connect(t, b, "mx.test")
	if err := c.SendMail("a@elsewhere.test", []string{list}, strings.NewReader(message(right, list, "forged", "Hello."))); smtpCode(err) != 554 {
		t.Errorf("a forged message at B: %v", err)
	}
	p.testForgedSeal(t, a, got, carol)
	p.testLoop(t, out)
}

// testForgedSeal: a seal is no good for another message. The one that it is for is taken
// with it, also from who has no part in it.
func (p *neighbours) testForgedSeal(t *testing.T, a *neighbour, sealed, to string) {
	t.Helper()
	// B's own fields, which come in any order, and all below.
	begin := len(sealed)
	for _, field := range []string{"ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"} {
		at := strings.Index(sealed, "\r\n"+field+": i=1;")
		if at < 0 {
			t.Fatalf("no first %s in\n%s", field, sealed)
		}
		begin = min(begin, at+len("\r\n"))
	}
	forward := func(message string) error {
		c := p.connect(t, a, "mx.test")
		defer c.Close()
		return c.SendMail("a@elsewhere.test", []string{to}, strings.NewReader(message))
	}
	message := sealed[begin:]
	if err := forward(message); err != nil {
		t.Errorf("the message that B has sealed: %v\n%s", err, message)
	}
	if err := forward(strings.Replace(message, "Hello.", "Pay at once.", 1)); smtpCode(err) != 554 {
		t.Errorf("another message under a seal of B's: %v", err)
	}
}

// testLoop: aliases that lead to each other end in one message to who wrote.
func (p *neighbours) testLoop(t *testing.T, out *outsider) {
	t.Helper()
	a, b := p.all[0], p.all[1]
	a.mustRun(t, "alias", "add", "ring@"+a.domain, "ring@"+b.domain)
	b.mustRun(t, "alias", "add", "ring@"+b.domain, "ring@"+a.domain)
	subject, sender := "round and round "+randomHex(4), "writer@elsewhere.test"
	c := p.connect(t, b, "mx.test")
	if err := c.SendMail(sender, []string{"ring@" + b.domain}, strings.NewReader(message(sender, "ring@"+b.domain, subject, "Hello."))); err != nil {
		t.Fatal(err)
	}
	if got := out.wait(t, subject); got.from != "" || !slices.Equal(got.to, []string{sender}) || !strings.Contains(got.message, "too many hops") {
		t.Errorf("a loop ends with <%s> to %v:\n%s", got.from, got.to, got.message)
	}
	for _, s := range p.all {
		waitUntil(t, bounded, "an empty queue", func() (bool, string) {
			text, code := s.exec(t, "postfix", "mailstack-queue")
			return code == 0 && text == "", text
		})
	}
	if n := len(out.find(subject)); n != 1 {
		t.Errorf("%d messages about one", n)
	}
}
