package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mailstack/e2e/monitors"
)

// TestTwoStacks: two stacks that know nothing of each other but what the DNS says
// send each other mail, and each finds that it is the other's; so do others.
func TestTwoStacks(t *testing.T) {
	t.Parallel()
	p := newNeighbours(t, 2, "")
	a, b := p.all[0], p.all[1]
	p.publish(t, a, refusing)
	alice, bob := "alice@"+a.domain, "bob@"+b.domain
	alicePassword, bobPassword := a.accountNamed(t, alice), b.accountNamed(t, bob)

	subject := "hello " + randomHex(4)
	if err := a.submit(t, alice, alicePassword, alice, []string{bob}, message(alice, bob, subject, "Hello.")); err != nil {
		t.Fatal(err)
	}
	got := b.waitMail(t, bob, bobPassword, "INBOX", subject)
	if want := fmt.Sprintf("Received: from mail.%s (unknown [%s])", a.domain, a.address); !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
	results := b.results(got)
	for _, want := range []string{"dkim=pass", "spf=pass", "dmarc=pass"} {
		if !strings.Contains(results, want) {
			t.Errorf("no %s in %q of\n%s", want, results, got)
		}
	}
	checks, err := dkim.VerifyWithOptions(strings.NewReader(got), &dkim.VerifyOptions{LookupTXT: p.lookupTXT(t)})
	if err != nil || len(checks) != 2 {
		t.Errorf("signatures: %v, %v", checks, err)
	}
	for _, c := range checks {
		if c.Err != nil || c.Domain != a.domain {
			t.Errorf("a signature of %s: %v", c.Domain, c.Err)
		}
	}
	if words := p.verify(t, "dkimverify", got); !strings.Contains(words, "signature ok") {
		t.Errorf("dkimverify: %s", words)
	}
	if words := p.verify(t, "dkimverify", strings.Replace(got, "Hello.", "Hallo.", 1)); strings.Contains(words, "signature ok") {
		t.Errorf("dkimverify of a changed message: %s", words)
	}

	// Who takes A's name at B is turned away, as A's records ask.
	c := p.connect(t, b, "mx.test")
	if err := c.SendMail("a@elsewhere.test", []string{bob}, strings.NewReader(message(alice, bob, "forged", "Hello."))); smtpCode(err) != 554 {
		t.Errorf("a forged message: %v", err)
	}
	p.testSignatureCounts(t, b, got, bob, bobPassword)
	mail := correspondence{net: p, a: a, b: b, from: alice, to: bob, fromPassword: alicePassword, toPassword: bobPassword}
	mail.testDANE(t)
}

// testSignatureCounts: what is signed is its domain's, wherever it comes from; and if it
// was changed, it is not.
func (p *neighbours) testSignatureCounts(t *testing.T, b *neighbour, signed, to, password string) {
	t.Helper()
	// As A has sent it: without what B has put before it.
	_, rest, found := strings.Cut(signed, "\r\nDKIM-Signature:")
	if !found {
		t.Fatalf("no signature in\n%s", signed)
	}
	forward := func(message string) error {
		c := p.connect(t, b, "mx.test")
		defer c.Close()
		return c.SendMail("a@elsewhere.test", []string{to}, strings.NewReader(message))
	}
	mark := randomHex(4)
	message := "X-Forwarded-As: " + mark + "\r\nDKIM-Signature:" + rest
	if err := forward(message); err != nil {
		t.Fatalf("a signed message by another server: %v\n%s", err, message)
	}
	var got string
	waitUntil(t, bounded, "the signed message by another server", func() (bool, string) {
		inbox, err := b.look(t, to, password, "INBOX", "hello")
		junk, also := b.look(t, to, password, "Junk", "hello")
		letters := slices.Concat(inbox, junk)
		i := slices.IndexFunc(letters, func(letter string) bool { return strings.Contains(letter, "X-Forwarded-As: "+mark) })
		if i >= 0 {
			got = letters[i]
		}
		return i >= 0, fmt.Sprint(len(letters), err, also)
	})
	results := b.results(got)
	for _, want := range []string{"dkim=pass", "dmarc=pass"} {
		if !strings.Contains(results, want) || strings.Contains(results, "spf=pass") {
			t.Errorf("no %s, or it is for SPF, in %q of\n%s", want, results, got)
		}
	}
	if err := forward(strings.Replace(message, "Hello.", "Pay at once.", 1)); smtpCode(err) != 554 {
		t.Errorf("a changed message under a signature: %v", err)
	}
}

// refusing has others refuse what is forged.
func refusing(line string) string { return strings.Replace(line, "; p=quarantine", "; p=reject", 1) }

// lookupTXT asks the neighbours' resolver.
func (p *neighbours) lookupTXT(t *testing.T) func(string) ([]string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(p.ip(1), "53"))
	}}
	return func(name string) ([]string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return resolver.LookupTXT(ctx, name)
	}
}

// verify has one of dkimpy's programs (https://launchpad.net/dkimpy) verify a
// message: dkimverify, arcverify. Their exit status says nothing.
func (p *neighbours) verify(t *testing.T, tool, message string) (words string) {
	t.Helper()
	if p.verifier == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		conf := filepath.Join(t.TempDir(), "resolv.conf")
		write(t, conf, "nameserver "+p.ip(1)+"\n", 0o644)
		var err error
		p.verifier, err = monitors.Start(ctx, monitors.Options{
			Name: namePrefix(os.Getenv(runVar)) + "dkimpy-" + randomHex(2), Image: p.ns.image,
			Mounts: []string{conf + ":/etc/resolv.conf:ro"}, Command: []string{"sleep", "infinity"},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.verifier.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := p.verifier.Command(ctx, "/usr/bin/"+tool)
	cmd.Stdin = strings.NewReader(message)
	out, _ := cmd.CombinedOutput()
	return string(out)
}
