package probe

import (
	"strings"
	"testing"
	"time"
)

func TestWhatMustBeRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		check string
		spoil func(w *world)
		kind  Kind
		step  string
		word  string
	}{
		{"imap any password", "refusal.imap", func(w *world) { w.anyPassword = true }, KindInsecure, "wrong password", "logged in"},
		{"imap backend down", "refusal.imap", func(w *world) { w.backendDown = true }, KindBackend, "wrong password", "UNAVAILABLE"},
		{"imap no code", "refusal.imap", func(w *world) { w.vagueRefusal = true }, KindAnswer, "wrong password", "without the code"},
		{"imap in clear", "refusal.imap", func(w *world) { w.clearLogins = true }, KindInsecure, "login before TLS", "without TLS"},
		{"pop3 any password", "refusal.pop3", func(w *world) { w.anyPassword = true }, KindInsecure, "wrong password", "logged in"},
		{"pop3 backend down", "refusal.pop3", func(w *world) { w.backendDown = true }, KindBackend, "wrong password", "SYS/TEMP"},
		{"pop3 no code", "refusal.pop3", func(w *world) { w.vagueRefusal = true }, KindAnswer, "wrong password", "without the code"},
		{"pop3 in clear", "refusal.pop3", func(w *world) { w.clearLogins = true }, KindInsecure, "login before TLS", "USER"},
		{"sieve any password", "refusal.managesieve", func(w *world) { w.anyPassword = true }, KindInsecure, "wrong password", "logged in"},
		{"sieve backend down", "refusal.managesieve", func(w *world) { w.backendDown = true }, KindBackend, "wrong password", "TRYLATER"},
		{"sieve other code", "refusal.managesieve", func(w *world) { w.vagueRefusal = true }, KindAnswer, "wrong password", "without the code"},
		{"sieve in clear", "refusal.managesieve", func(w *world) { w.clearLogins = true }, KindInsecure, "login before TLS", "without TLS"},
		{"submission any password", "refusal.submission", func(w *world) { w.anyPassword = true }, KindInsecure, "wrong password", "logged in"},
		{"submission backend down", "refusal.submission", func(w *world) { w.backendDown = true }, KindBackend, "wrong password", "454"},
		{"submission other code", "refusal.submission", func(w *world) { w.vagueRefusal = true }, KindAnswer, "wrong password", "550"},
		{"submission in clear", "refusal.submission", func(w *world) { w.clearLogins = true }, KindInsecure, "login before TLS", "AUTH"},
		{"submission open relay", "refusal.submission", func(w *world) { w.openRelay = true }, KindInsecure, "relay", "example.com"},
		{"submission relay for bounces", "refusal.submission", func(w *world) { w.trusts = "<>" }, KindInsecure, "relay", "taken from <>"},
		{"submission any sender", "refusal.submission", func(w *world) { w.anySender = true }, KindInsecure, "sender", "postmaster@mail.test"},
		{"submission any author", "refusal.submission", func(w *world) { w.anyAuthor = true }, KindInsecure, "author", "in the name of <postmaster@mail.test>"},
		{"submission null sender", "refusal.submission", func(w *world) { w.nullSender = true }, KindInsecure, "null sender", "null sender"},
		{"submission any recipient", "refusal.submission", func(w *world) { w.worldRecipient = true }, KindInsecure, "recipient", "example.com"},
		{"smtp login", "refusal.smtp", func(w *world) { w.authOn25 = true }, KindInsecure, "login", "AUTH PLAIN"},
		{"smtp open relay", "refusal.smtp", func(w *world) { w.openRelay = true }, KindInsecure, "relay", "example.com"},
		{"smtp relay for bounces", "refusal.smtp", func(w *world) { w.trusts = "<>" }, KindInsecure, "relay", "taken from <>"},
		{"smtp relay for its own", "refusal.smtp", func(w *world) { w.trusts = "<postmaster@" + testHost + ">" }, KindInsecure, "relay", "taken from <postmaster@mail.test>"},
		{"smtp VRFY", "refusal.smtp", func(w *world) { w.verifies = true }, KindInsecure, "vrfy", "VRFY tells"},
		{"smtp smuggling", "refusal.smtp", func(w *world) { w.lax = true }, KindInsecure, "smuggling", "end of data"},
		{"smtp hosted sender", "refusal.smtp", func(w *world) { w.hostedSender = true }, KindInsecure, "sender", testUser},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.spoil(w)
			got := check(t, w.start(allKeys...), c.check, 10*time.Second)
			wantFailure(t, got, c.kind, c.step)
			if !strings.Contains(got.Reason, c.word) {
				t.Errorf("reason %q does not say %q", got.Reason, c.word)
			}
		})
	}
}

// TestRefusalsNeverSendTheRealPasswordInClear listens in on the plain ports.
func TestRefusalsNeverSendThePasswordInClear(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clearLogins = true // so that a careless client would be let in
	heard := w.tap("imap", "pop3", "submission", "smtp", "managesieve")
	r := run(t, w.target, Options{Only: []string{"refusal"}, Timeout: 10 * time.Second})
	if len(r.Checks) == 0 {
		t.Fatal("nothing was run")
	}
	if text := heard(); len(text) == 0 || containsPassword(text) {
		t.Errorf("heard on the wire:\n%s", text)
	}
}

func TestRefusalWithoutAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start(allKeys...)
	target.User, target.Password = "", ""
	for _, c := range run(t, target, Options{Only: []string{"refusal"}, Timeout: 20 * time.Second, Slow: time.Minute}).Checks {
		if c.Status != OK {
			t.Errorf("%s: %s", c.Name, c.Reason)
		}
	}
}

// TestRefusalsUnderABadCertificate: it hides nothing that can be tried without a
// secret, and no secret is sent.
func TestRefusalsUnderABadCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve(w.ca.leaf(t, testHost, -time.Hour))
	w.openRelay = true
	r := run(t, w.start(allKeys...), Options{Only: []string{"refusal"}, Timeout: 10 * time.Second})
	seen := map[string]string{}
	for _, c := range r.Checks {
		for _, f := range c.Failures {
			seen[c.Name] += f.Step + ": " + f.Kind.String() + "; "
		}
	}
	for name, want := range map[string]string{
		"refusal.imap": "", "refusal.pop3": "", "refusal.managesieve": "",
		"refusal.submission": "relay: taken, must be refused; tls: TLS trouble; tls: TLS trouble; tls: TLS trouble; tls: TLS trouble; ",
		"refusal.smtp":       "relay: taken, must be refused; tls: TLS trouble; tls: TLS trouble; tls: TLS trouble; ",
	} {
		if seen[name] != want {
			t.Errorf("%s: %q, want %q", name, seen[name], want)
		}
	}
}
