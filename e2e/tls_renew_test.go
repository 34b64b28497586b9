package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRenewalKeepsFiftySessions: a certificate is renewed while 50 sessions are
// in IDLE. All stay, and every new connection on every port sees the new one.
// It runs alone: a login that is under way while Dovecot reloads does fail.
func TestRenewalKeepsFiftySessions(t *testing.T) {
	s := shared(t)
	sessions := s.idle(t, 50)
	before, started := s.certificate(t), s.started(t)
	s.mustRun(t, "cert", "renew")
	after := s.certificate(t)
	if after.Certificate.Fingerprint == before.Certificate.Fingerprint || after.Pending != nil {
		t.Fatalf("not renewed: %+v", after)
	}
	s.servesOn(t, listeners, after.Certificate.Fingerprint, s.own())
	sessions.live(t)
	if now := s.started(t); now != started {
		t.Errorf("a container was restarted:\n%s\n%s", started, now)
	}
	if p := s.run(t, "plan", "--exit-code"); p.code != 0 {
		t.Errorf("something is left to do: %v", p)
	}
}

// TestUnreadCertificateIsPutBack: a daemon that does not take a new certificate
// is found out, by port, and everything serves the old one again. When the daemon
// is well, the certificate that waited is served, and no other is made.
func TestUnreadCertificateIsPutBack(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	// IMAP keeps a process ready that goes on without Dovecot's master.
	off := []string{"pop3", "pop3s", "managesieve"}
	for _, key := range off {
		s.set(t, "listen."+key, "0")
	}
	s.up(t, "--no-probe")
	var on []string
	for _, key := range listeners {
		if !strings.Contains(strings.Join(off, " "), key) {
			on = append(on, key)
		}
	}
	before := s.certificate(t).Certificate.Fingerprint
	s.servesOn(t, on, before, s.own())

	var master int
	if _, err := fmt.Sscan(docker(t, "inspect", "--format", "{{.State.Pid}}", s.container("dovecot")), &master); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(master, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := func() { _ = syscall.Kill(master, syscall.SIGCONT) }
	t.Cleanup(goOn)

	r := s.run(t, "cert", "renew")
	for _, words := range []string{
		"install certificate: the new one is not served everywhere: ",
		fmt.Sprintf("imaps on 127.0.0.1:%d", s.port("imaps")), "another certificate, SHA-256 " + before,
		"the old one was put back",
	} {
		if r.code != 1 || !strings.Contains(r.stderr, words) {
			t.Errorf("%q is not in %v", words, r)
		}
	}
	if strings.Contains(r.stderr, fmt.Sprintf("smtp on 127.0.0.1:%d", s.port("smtp"))) {
		t.Errorf("a port that took the new one is blamed: %v", r)
	}
	state := s.certificate(t)
	if state.Certificate.Fingerprint != before || state.Pending == nil {
		t.Errorf("on disk is %+v", state)
	}
	s.servesOn(t, on, before, s.own())

	goOn()
	s.up(t, "--no-probe")
	s.servesOn(t, on, state.Pending.Fingerprint, s.own())
	if now := s.certificate(t); now.Certificate.Fingerprint != state.Pending.Fingerprint || now.Pending != nil {
		t.Errorf("on disk is %+v", now)
	}
	entries, err := os.ReadDir(s.layout().RunDir("dovecot", "tls"))
	if err != nil || len(entries) != 2 {
		t.Errorf("left beside the certificate: %v, %v", entries, err)
	}
}

// TestRenewalKilled kills a renewal at points it does not choose, between the
// authority and the last port: what is on disk is served then or after the next
// run, and nothing half is left.
func TestRenewalKilled(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.set(t, "tls.reuse_key", "true")
	s.up(t, "--no-probe")
	key := s.tlsa(t).served
	whole := 0
	for round := range 6 {
		cmd := exec.CommandContext(t.Context(), os.Getenv(binaryVar), "--config", s.config(), "cert", "renew")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The moment is the test: a little later in each round.
		timer := time.AfterFunc(time.Duration(50+round*150)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		if cmd.Wait() == nil {
			whole++
		}
		timer.Stop()

		s.up(t, "--no-probe")
		state := s.certificate(t)
		if state.Pending != nil {
			t.Errorf("round %d: %s still waits", round, state.Pending.Fingerprint)
		}
		s.servesOn(t, listeners, state.Certificate.Fingerprint, s.own())
		for _, service := range []string{"dovecot", "postfix"} {
			entries, err := os.ReadDir(s.layout().RunDir(service, "tls"))
			if err != nil || len(entries) != 2 {
				t.Errorf("round %d: %s has %v, %v", round, service, entries, err)
			}
		}
		if p := s.run(t, "plan", "--exit-code"); p.code != 0 {
			t.Errorf("round %d left something to do: %v", round, p)
		}
	}
	if s.tlsa(t).served != key {
		t.Error("the key changed although it is reused")
	}
	t.Logf("%d of 6 renewals ended before they were killed", whole)
}
