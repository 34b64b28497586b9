package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Invariants 6 and 7, and what else is done to running containers. The steps
// share a stack: each leaves it healthy.
func TestContainersMayDieAnyTime(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.upGreen(t)
	s.testKilledUnderLoad(t)
	s.testQueueIsKept(t)
	s.testRestarts(t)
	s.testStaleLock(t)
	s.testWritableSocket(t)
}

// testStaleLock: a lock that a killed Dovecot has left holds up nobody, also
// where its holder's number is now another process's.
func (s *Stack) testStaleLock(t *testing.T) {
	t.Helper()
	user, password := s.account(t)
	s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, user))
	name, domain, _ := strings.Cut(user, "@")
	lock := filepath.Join(s.layout().Content("vmail"), domain, name, "Maildir", "dovecot-uidlist.lock")
	docker(t, "kill", s.container("dovecot"))
	err := errors.Join(os.WriteFile(lock, fmt.Appendf(nil, "1:%s", s.hostname()), 0o600), os.Chown(lock, 5302, 5302))
	if err != nil {
		t.Fatal(err)
	}
	docker(t, "start", s.container("dovecot"))
	s.ready(t, "dovecot")
	s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, user))
}

// testKilledUnderLoad: every message with a 250 is there after a SIGKILL of all
// containers at once, twice.
func (s *Stack) testKilledUnderLoad(t *testing.T) {
	t.Helper()
	tr := newTraffic(t, s)
	for round := range 2 {
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					// Errors are what a kill looks like from outside.
					_, _ = tr.mail(t)
				}
			})
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = tr.submission(t)
			}
		})
		pause(ctx, 2500*time.Millisecond)
		docker(t, append([]string{"kill"}, s.containers()...)...)
		pause(ctx, 200*time.Millisecond)
		stop()
		wg.Wait()
		if round == 0 {
			docker(t, append([]string{"start"}, s.containers()...)...) // as the engine does after a crash
		} else {
			s.up(t, "--no-probe")
		}
		returned := time.Now()
		for _, service := range services {
			returned = s.ready(t, service)
		}
		if len(tr.ledger) < 10 {
			t.Errorf("a load of %d messages is none", len(tr.ledger))
		}
		tr.allDelivered(t, fmt.Sprintf("SIGKILL %d", round+1), returned)
	}
	have := tr.mailbox(t)
	slices.Sort(have)
	twice := len(have) - len(slices.Compact(slices.Clone(have)))
	t.Logf("%d messages acknowledged, %d in the mailbox, %d of them twice", len(tr.ledger), len(have), twice)
	if twice > 2*20 { // Postfix delivers 20 at a time: what was in flight at two kills
		t.Errorf("%d messages are there twice", twice)
	}
	s.healed(t, bounded, "SIGKILL of everything")
}

// testQueueIsKept: mail that waits in the queue survives the containers.
func (s *Stack) testQueueIsKept(t *testing.T) {
	t.Helper()
	tr := newTraffic(t, s)
	held := tr.hold(t, 3)
	docker(t, "stop", s.container("dovecot"))
	held.release(t, "with Dovecot stopped")
	if len(tr.ledger) != 3 {
		t.Fatalf("%d of 3 messages are in the queue", len(tr.ledger))
	}
	docker(t, append([]string{"rm", "-f"}, s.containers()...)...)
	s.up(t, "--no-probe")
	tr.allDelivered(t, "docker rm -f of everything", time.Now())
}

// testRestarts restarts the containers alone and in different orders; nothing
// else is done, and the probe gets green by itself.
func (s *Stack) testRestarts(t *testing.T) {
	t.Helper()
	for _, order := range [][]string{{"mysql"}, {"dovecot"}, {"postfix"}, {"mysql", "dovecot", "postfix"}, {"postfix", "mysql", "dovecot"}} {
		began := time.Now()
		for _, service := range order {
			docker(t, "restart", "-t", "10", s.container(service))
		}
		s.healed(t, bounded, "docker restart "+strings.Join(order, ", "))
		t.Logf("restart of %v: green after %v", order, time.Since(began).Round(100*time.Millisecond))
	}
	// A crash of the daemon itself: the engine starts it again.
	for _, service := range services {
		before := inspect(t, s.container(service))
		if err := syscall.Kill(before.State.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, bounded, service+" is started again by the engine", func() (bool, string) {
			now := inspect(t, s.container(service))
			return now.State.Status == "running" && now.State.StartedAt.After(before.State.StartedAt), now.State.Status
		})
		s.healed(t, bounded, "SIGKILL of the main process of "+service)
	}
}

// A renewed certificate is served on every port, and a session that is open
// lives on.
func (s *Stack) testCertificateRenewal(t *testing.T) {
	t.Helper()
	address, password := s.account(t)
	session := s.imap(t, address, password)
	before := s.servedEverywhere(t)
	s.mustRun(t, "cert", "renew")
	waitUntil(t, 10*time.Second, "the new certificate on every port", func() (bool, string) {
		now := s.servedEverywhere(t)
		for key, fingerprint := range now {
			if fingerprint == before[key] {
				return false, key + " serves the old one"
			}
		}
		return true, ""
	})
	if err := session.Noop().Wait(); err != nil {
		t.Errorf("the open session has ended: %v", err)
	}
	if _, err := session.Select("INBOX", nil).Wait(); err != nil {
		t.Errorf("the open session has ended: %v", err)
	}
	s.mustRun(t, "cert", "show", "--served")
}

// servedEverywhere gives the certificate of every port, after STARTTLS where
// that comes first.
func (s *Stack) servedEverywhere(t *testing.T) map[string]string {
	t.Helper()
	served := map[string]string{}
	starttls := map[string]string{"imap": "a STARTTLS", "pop3": "STLS", "smtp": "STARTTLS", "submission": "STARTTLS", "managesieve": "STARTTLS"}
	for _, key := range listeners {
		d := s.line(t, key)
		if command, ok := starttls[key]; ok {
			switch key {
			case "smtp", "submission":
				d.smtp(t, "")
				d.smtp(t, "EHLO client.example")
			case "managesieve":
				d.until(t, "", func(l string) bool { return strings.HasPrefix(l, "OK") })
			default:
				d.say(t, "")
			}
			d.say(t, command)
			d.startTLS(t, s)
		}
		served[key] = fmt.Sprintf("%x", sha256.Sum256(d.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw))
		d.conn.Close()
	}
	return served
}
