package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailstack/stack"
)

// exchangers are mail servers of others on port 25 of the bridge's gateway: one
// with TLS and, in its place while stripped is set, one that does not offer it, as it
// is seen through somebody on the way who takes STARTTLS out.
type exchangers struct {
	secure, clear *smarthost
	stripped      atomic.Bool
}

func newExchangers(t *testing.T, gateway string, certificate func(name string) tls.Certificate) *exchangers {
	t.Helper()
	x := &exchangers{secure: &smarthost{open: true, certificate: certificate}, clear: &smarthost{open: true, noTLS: true}}
	secure, stripped := x.secure.start(t, gateway), x.clear.start(t, gateway)
	movingDoor(t, net.JoinHostPort(gateway, "25"), func() string {
		if x.stripped.Load() {
			return fmt.Sprintf("%s:%d", gateway, stripped)
		}
		return fmt.Sprintf("%s:%d", gateway, secure)
	})
	return x
}

// got says whether a message has come, and whether with TLS.
func (x *exchangers) got(subject string) (found, secure bool) {
	for _, h := range []*smarthost{x.secure, x.clear} {
		if e, ok := h.find(subject); ok {
			return true, e.tls
		}
	}
	return false, false
}

// outgoing sends to other domains as one account.
type outgoing struct {
	*Stack
	*exchangers
	user, password string
}

func (o *outgoing) send(t *testing.T, domain string) (subject string) {
	t.Helper()
	subject = domain + " " + randomHex(4)
	to := "friend@" + domain
	if err := o.submit(t, o.user, o.password, o.user, []string{to}, message(o.user, to, subject, "x")); err != nil {
		t.Fatal(err)
	}
	return subject
}

// arrives sends a message that has to come, with TLS or without.
func (o *outgoing) arrives(t *testing.T, domain string, secure bool) {
	t.Helper()
	subject := o.send(t, domain)
	waitUntil(t, 30*time.Second, subject+" at its server", func() (bool, string) {
		found, _ := o.got(subject)
		return found, fmt.Sprint(o.delays(t))
	})
	if _, is := o.got(subject); is != secure {
		t.Errorf("%s came with TLS: %v, want %v", subject, is, secure)
	}
}

// waits sends a message that has to wait, for a reason with these words, and not to
// have come.
func (o *outgoing) waits(t *testing.T, domain, words string) (subject string) {
	t.Helper()
	subject = o.send(t, domain)
	waitUntil(t, 30*time.Second, subject+" waits", func() (bool, string) {
		reason := o.delays(t)["friend@"+domain]
		return reason != "" && strings.Contains(reason, words), fmt.Sprint(o.delays(t))
	})
	if found, secure := o.got(subject); found {
		t.Errorf("%s came, with TLS: %v", subject, secure)
	}
	return subject
}

// delays are the reasons for which mail waits, by recipient.
func (s *Stack) delays(t *testing.T) map[string]string {
	t.Helper()
	out, code := s.exec(t, "postfix", stack.QueueCmd)
	if code != 0 {
		t.Fatal(out)
	}
	reasons := map[string]string{}
	for line := range strings.Lines(out) {
		for _, r := range decode[stack.Queued](t, line).Recipients {
			reasons[r.Address] = r.Delay
		}
	}
	return reasons
}

// tlsaOf is the record "3 1 1" of a certificate's key.
func tlsaOf(host string, certificate tls.Certificate) string {
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("_25._tcp.%s TLSA 3 1 1 %x\n", host, sha256.Sum256(leaf.RawSubjectPublicKeyInfo))
}

// TestOutgoingDANE: with a resolver that validates, mail for a domain with signed TLSA
// records goes to a server with one of these keys only: it waits where the key is
// another one, and where TLS is not offered any more. Others get it as they can. With a
// resolver that does not validate all is as without records, and status says which it
// is.
func TestOutgoingDANE(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	gateway := s.gateway(t)
	good, other := throwaway(t, "mx.good.example"), throwaway(t, "other.example")
	records := tlsaOf("mx.good.example.", good) + tlsaOf("mx.bad.example.", other)
	for _, domain := range []string{"good", "bad", "plain"} {
		records += fmt.Sprintf("%s.example. MX 10 mx.%[1]s.example.\nmx.%[1]s.example. A %[2]s\n", domain, gateway)
	}
	knot := startKnot(t, "", zoneFile{name: ".", options: knotSigned, records: records})
	validator := knot.resolver(t, gateway, []string{"."}, nil)
	s.resolveBy(t, gateway)
	o := &outgoing{Stack: s, exchangers: newExchangers(t, gateway, func(string) tls.Certificate { return good })}
	o.user, o.password = s.account(t)

	says := func(dane bool, words string) {
		t.Helper()
		got := decode[struct{ DANE *bool }](t, s.mustRun(t, "status", "--format", "json")).DANE
		if got == nil || *got != dane {
			t.Errorf("status: dane is %v, want %v", got, dane)
		}
		if text := s.mustRun(t, "status"); !strings.Contains(text, words) {
			t.Errorf("status does not say %q:\n%s", words, text)
		}
	}
	says(true, "outgoing     TLS where it is offered, and DANE")
	o.arrives(t, "good.example", true)
	if log := docker(t, "logs", s.container("postfix")); !strings.Contains(log, "Verified TLS connection established to mx.good.example[") {
		t.Error("the key was not verified")
	}
	o.arrives(t, "plain.example", true)
	mismatch := o.waits(t, "bad.example", "Server certificate not ")
	o.stripped.Store(true)
	stripped := o.waits(t, "good.example", "TLS is required, but was not offered")
	o.arrives(t, "plain.example", false)
	o.stripped.Store(false)
	s.flush(t)
	waitUntil(t, 30*time.Second, "what waited for TLS", func() (bool, string) {
		found, secure := o.got(stripped)
		return found && secure, fmt.Sprint(s.delays(t))
	})
	if found, _ := o.got(mismatch); found {
		t.Error("after another try the wrong key was good enough")
	}

	docker(t, "stop", "-t", "1", validator.Name)
	serveDNS(t, gateway, ". NS a.root.example.", "bad.example. MX 10 mx.bad.example.", "mx.bad.example. A "+gateway)
	says(false, "no DANE: the resolver does not validate")
	o.arrives(t, "bad.example", true)
}
