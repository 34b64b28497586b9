package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailstack/certs"
	"mailstack/stack"
)

var postfixListeners = []string{"smtp", "submission", "submissions"}

// TestReloadedButNotServed: that every reload reports success proves nothing. A
// port that goes on with the old certificate is found out all the same.
func TestReloadedButNotServed(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	t.Run("is put back", s.testNotServedIsPutBack)
	t.Run("nothing to put back", s.testNotServedAndNothingToPutBack)
	t.Run("with nothing due", s.testNotServedIsMended)
	t.Run("services are away", s.testServedWhenServicesRun)
	t.Run("left behind", s.testLeftBehindIsRemoved)
}

// hold has a service go on seeing the certificates that it has now: its mount is
// of the directory, not of what comes to have its name. let undoes it.
func (s *Stack) hold(t *testing.T, service string) (let func()) {
	t.Helper()
	dir := s.layout().RunDir(service, "tls")
	held := dir + "-held"
	if err := os.Rename(dir, held); err != nil {
		t.Fatal(err)
	}
	if r := tool(t, "", "cp", "-a", held, dir); r.code != 0 {
		t.Fatal(r)
	}
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(held, dir); err != nil {
			t.Fatal(err)
		}
	}
}

// refusedFor renews, which must fail because of Postfix's ports and no others, and
// not because of a reload.
func (s *Stack) refusedFor(t *testing.T, which, served string) result {
	t.Helper()
	r := s.run(t, "cert", "renew")
	if r.code != 1 || !strings.HasPrefix(r.stderr, "mailstack: install certificate: "+which+" is not served everywhere: ") {
		t.Fatalf("not refused for what the ports serve: %v", r)
	}
	for _, key := range listeners {
		blamed := fmt.Sprintf("%s on 127.0.0.1:%d for %s, key ecdsa: another certificate, SHA-256 %s", key, s.port(key), s.hostname(), served)
		if got := strings.Contains(r.stderr, blamed); got != slices.Contains(postfixListeners, key) {
			t.Errorf("%s is blamed: %v, in %v", key, got, r)
		}
	}
	return r
}

func (s *Stack) testNotServedIsPutBack(t *testing.T) {
	before := s.certificate(t).Certificate.Fingerprint
	let := s.hold(t, "postfix")
	if r := s.refusedFor(t, "the new one", before); !strings.Contains(r.stderr, "; the old one was put back\n") {
		t.Errorf("not put back: %v", r)
	}
	state := s.certificate(t)
	if state.Certificate.Fingerprint != before || state.Pending == nil {
		t.Fatalf("on disk is %+v", state)
	}
	s.servesOn(t, listeners, before, s.own())

	let()
	s.up(t, "--no-probe")
	s.servesOn(t, listeners, state.Pending.Fingerprint, s.own())
	if now := s.certificate(t); now.Certificate.Fingerprint != state.Pending.Fingerprint || now.Pending != nil {
		t.Errorf("on disk is %+v", now)
	}
}

// testNotServedAndNothingToPutBack: a certificate that takes its place on disk at
// once is looked for at the ports too.
func (s *Stack) testNotServedAndNothingToPutBack(t *testing.T) {
	before := s.certificate(t).Certificate.Fingerprint
	let := s.hold(t, "postfix")
	if err := os.Remove(filepath.Join(s.layout().CADir(), certs.ServerFile)); err != nil {
		t.Fatal(err)
	}
	if r := s.refusedFor(t, "the one on disk", before); strings.Contains(r.stderr, "put back") {
		t.Errorf("there was nothing: %v", r)
	}
	let()
	s.up(t, "--no-probe")
	now := s.certificate(t).Certificate.Fingerprint
	if now == before {
		t.Error("the lost one is back")
	}
	s.servesOn(t, listeners, now, s.own())
}

// testNotServedIsMended: nothing on disk tells that a port serves something else;
// whoever looks after certificates looks at the ports.
func (s *Stack) testNotServedIsMended(t *testing.T) {
	file := filepath.Join(s.layout().RunDir("dovecot", "tls"), certs.ServerFile)
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	was := s.certificate(t).Certificate.Fingerprint
	s.mustRun(t, "cert", "renew")
	current, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(old), 0o600)
	if out, code := s.exec(t, "dovecot", stack.ReloadCmd); code != 0 {
		t.Fatal(out)
	}
	s.servesOn(t, []string{"imap", "imaps"}, was, s.own()) // it is read a little after the reload
	write(t, file, string(current), 0o600)
	s.servesOn(t, []string{"imap", "imaps"}, was, s.own())
	if p := s.run(t, "plan", "--exit-code"); p.code != 0 {
		t.Fatalf("something else is due: %v", p)
	}

	w := s.watch(t)
	w.says(t, "renewed and installed: imap serves another one")
	w.end(t)
	s.servesOn(t, listeners, s.certificate(t).Certificate.Fingerprint, s.own())
}

// testServedWhenServicesRun: nobody is told that services serve what they cannot.
func (s *Stack) testServedWhenServicesRun(t *testing.T) {
	docker(t, "stop", s.container("postfix"))
	said(t, "cert renew", s.run(t, "cert", "renew"), 0, "installed; the services serve it when they run: mailstack up\n")
	waiting := s.certificate(t).Pending
	if waiting == nil {
		t.Fatal("taken for proven")
	}
	s.up(t, "--no-probe")
	s.servesOn(t, listeners, waiting.Fingerprint, s.own())
	if now := s.certificate(t); now.Pending != nil || now.Certificate.Fingerprint != waiting.Fingerprint {
		t.Errorf("on disk is %+v", now)
	}
}

// testLeftBehindIsRemoved: what a run left that was killed after the certificate
// was proven, or while the first one was being written, is not there for ever.
func (s *Stack) testLeftBehindIsRemoved(t *testing.T) {
	for _, name := range []string{"extra-0123456789abcdef.pem", ".server.pem.tmp-x"} {
		write(t, filepath.Join(s.layout().RunDir("dovecot", "tls"), name), "left", 0o600)
	}
	s.up(t, "--no-probe")
	if p := s.run(t, "plan", "--exit-code"); p.code != 0 {
		t.Errorf("something is left to do: %v", p)
	}
}
