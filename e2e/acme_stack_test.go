package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"mailstack/certs/acme/pebble"
)

// byACME has a stack get its certificate from an authority.
func (s *Stack) byACME(t *testing.T, ca *pebble.CA) {
	t.Helper()
	for key, value := range map[string]string{
		"tls.mode":              quote("acme"),
		"tls.acme_terms_agreed": "true",
		"tls.acme_directory":    quote(ca.Directory),
		"tls.acme_ca_file":      quote(ca.CAFile),
		"tls.acme_http_address": quote(pebble.Address(ca.HTTPPort)),
	} {
		s.set(t, key, value)
	}
}

// issued waits until every port serves a certificate that the authority has
// issued, and returns its fingerprint.
func (s *Stack) issued(t *testing.T, ca *pebble.CA) string {
	t.Helper()
	want := s.certificate(t).Certificate.Fingerprint
	s.servesOn(t, listeners, want, s.own())
	conn, err := tls.Dial("tcp", s.addr("imaps"), &tls.Config{RootCAs: ca.Roots(t), ServerName: s.hostname()})
	if err != nil {
		t.Fatalf("a client that trusts the authority: %v", err)
	}
	defer conn.Close()
	for _, name := range []string{s.hostname(), "mta-sts." + s.hostname()} {
		if err := conn.ConnectionState().PeerCertificates[0].VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	return want
}

// maintain is the daily work, which looks for packages and may take minutes.
func (s *Stack) maintain(t *testing.T) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	return program(ctx, nil, os.Getenv(binaryVar), "--config", s.config(), "maintain")
}

// said expects a command's exit status and words of it.
func said(t *testing.T, what string, r result, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("%s: exit status %d, want %d: %v", what, r.code, code, r)
	}
	for _, w := range words {
		if !strings.Contains(r.stdout+r.stderr, w) {
			t.Errorf("%s does not say %q: %v", what, w, r)
		}
	}
}

// TestACME: the authority is away when a stack is brought up, which runs
// nonetheless and says so wherever one looks; then it is there.
func TestACME(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	ca.Stop()
	s := newSmallStack(t)
	s.byACME(t, ca)
	s.set(t, "tls.names", fmt.Sprintf("[%q]", "mta-sts."+s.hostname()))

	standsIn := "a certificate of the stack's own authority stands in for one of " + pebble.Host + ":"
	said(t, "up", s.run(t, "up"), 1, "warning: certificate: obtain certificate: get a certificate for "+s.hostname(), standsIn,
		"✗ cert.imaps", "✓ imaps", "✓ delivery.inbound")
	standIn := s.certificate(t)
	if standIn.Authority != nil || len(standIn.Warnings) != 1 || !strings.Contains(standIn.Warnings[0], "one failure since ") {
		t.Errorf("shown: %+v", standIn)
	}
	s.servesOn(t, listeners, standIn.Certificate.Fingerprint, s.own())
	said(t, "status", s.run(t, "status"), 0, "critical\n  ! "+standsIn)
	reloads := s.reloads(t)
	said(t, "maintain", s.maintain(t), 1, "certificate  ✗ obtain certificate: get a certificate for ")
	if now := s.reloads(t); now != reloads {
		t.Errorf("%d reloads without a new certificate", now-reloads)
	}
	if now := s.certificate(t); now.Certificate.Fingerprint != standIn.Certificate.Fingerprint {
		t.Error("another stand-in, without need")
	}
	started := s.started(t)

	ca.Run(t)
	said(t, "maintain", s.maintain(t), 0, "renewed and installed: it is of the mode \"self-signed\", and \"acme\" is wanted")
	first := s.issued(t, ca)
	if s.reloads(t) == reloads {
		t.Error("a reload is not seen")
	}
	said(t, "status", s.run(t, "status"), 0)
	said(t, "plan", s.run(t, "plan", "--exit-code"), 0)

	t.Run("renewed by hand", func(t *testing.T) { s.testRenewedByHand(t, ca, first) })
	t.Run("refused", func(t *testing.T) { s.testRefusedByAuthority(t, ca) })
	t.Run("advised", func(t *testing.T) { s.testAdvised(t, ca) })
	if now := s.started(t); now != started {
		t.Errorf("a container was restarted:\n%s\n%s", started, now)
	}
}

func (s *Stack) testRenewedByHand(t *testing.T, ca *pebble.CA, first string) {
	orders := ca.Orders()
	said(t, "cert renew", s.run(t, "cert", "renew"), 0, "installed; the services serve it")
	if second := s.issued(t, ca); second == first || ca.Orders() != orders+1 {
		t.Errorf("%s, then %s, with %d orders", first, second, ca.Orders()-orders)
	}
}

// testRefusedByAuthority: what is served stays, and the authority is left alone
// as long as it wants.
func (s *Stack) testRefusedByAuthority(t *testing.T, ca *pebble.CA) {
	served := s.issued(t, ca)
	ca.Front.Intercept(func(w http.ResponseWriter, r *http.Request, _ string, forward http.HandlerFunc) {
		if r.URL.Path == pebble.NewOrder {
			pebble.Refuse(w, http.StatusTooManyRequests, "rateLimited", "too many certificates already issued", "3600")
			return
		}
		forward(w, r)
	})
	defer ca.Front.Intercept(nil)
	said(t, "cert renew", s.run(t, "cert", "renew"), 1, "rateLimited: too many certificates already issued", "hint: Nothing is to be mended.")
	requests := ca.Front.Requests("")
	said(t, "cert renew", s.run(t, "cert", "renew"), 1, pebble.Host+" is not asked before ", "after one failure", "kept also when asked for by hand")
	if n := ca.Front.Requests("") - requests; n != 0 {
		t.Errorf("%d requests although it wants none", n)
	}
	said(t, "up", s.run(t, "up"), 0, "nothing to do")
	said(t, "status", s.run(t, "status"), 0, "one failure since ")
	if now := s.issued(t, ca); now != served {
		t.Errorf("%s is served, was %s", now, served)
	}
}

// testAdvised: the authority wants the certificate gone, and lets an order pass
// that it has advised.
func (s *Stack) testAdvised(t *testing.T, ca *pebble.CA) {
	before := s.issued(t, ca)
	conn, err := tls.Dial("tcp", s.addr("imaps"), &tls.Config{RootCAs: ca.Roots(t), ServerName: s.hostname()})
	if err != nil {
		t.Fatal(err)
	}
	leaf := conn.ConnectionState().PeerCertificates[0]
	conn.Close()
	now := time.Now().UTC()
	ca.Advise(t, leaf, fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`,
		now.Add(-2*time.Hour).Format(time.RFC3339), now.Add(-time.Hour).Format(time.RFC3339)))
	// What was refused for an hour is asked for again under another contact.
	s.set(t, "tls.acme_email", quote("me@example.org"))
	w := s.watch(t)
	w.says(t, "renewed and installed: the authority advises to renew between ")
	w.end(t)
	if after := s.issued(t, ca); after == before {
		t.Error("the certificate that must go is still served")
	}
}
