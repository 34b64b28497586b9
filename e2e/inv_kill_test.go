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
	s.testFirstProcesses(t)
	s.testLogRotation(t)
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

// testFirstProcesses: the daemons are PID 1, so they inherit what a health check or
// a docker exec leaves behind, and nobody else would reap it; and they end when
// they are asked to.
func (s *Stack) testFirstProcesses(t *testing.T) {
	t.Helper()
	for _, service := range services {
		const orphans = 20
		command := fmt.Sprintf("for i in $(seq %d); do sleep 0.5 & done", orphans)
		if out, code := s.exec(t, service, "sh", "-c", command); code != 0 {
			t.Fatalf("leave orphans in %s: %s", service, out)
		}
		waitUntil(t, 10*time.Second, "PID 1 of "+service+" reaps its orphans", func() (bool, string) {
			processes := docker(t, "top", s.container(service), "-eo", "pid,stat,args")
			return !strings.Contains(processes, "sleep 0.5") && !strings.Contains(processes, "<defunct>"), processes
		})
	}
	for _, service := range services {
		docker(t, "stop", "-t", "20", s.container(service))
		if code := docker(t, "inspect", "--format", "{{.State.ExitCode}}", s.container(service)); code != "0" {
			t.Errorf("%s was asked to stop and ended with status %s", service, code)
		}
	}
	for _, service := range services {
		docker(t, "start", s.container(service))
		s.ready(t, service)
	}
}

// testLogRotation: whatever a service logs, the host's disk keeps its room. (How
// every container's log is kept: TestContainersAreHardened.)
func (s *Stack) testLogRotation(t *testing.T) {
	t.Helper()
	const written = 40 << 20
	command := fmt.Sprintf("yes 'a line of a log that somebody makes longer and longer, until the disk is full' | head -c %d >/proc/1/fd/1", written)
	docker(t, "exec", s.container("mysql"), "sh", "-c", command)
	files, err := filepath.Glob(docker(t, "inspect", "--format", "{{.LogPath}}", s.container("mysql")) + "*")
	var kept int64
	for _, file := range files {
		if info, err := os.Stat(file); err == nil { // else it was rotated away
			kept += info.Size()
		}
	}
	if err != nil || kept == 0 || kept > written {
		t.Errorf("of %d MiB that mysql logs, %d MiB are kept in %v (%v)", written>>20, kept>>20, files, err)
	}
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
		acknowledged := func() int { tr.mu.Lock(); defer tr.mu.Unlock(); return len(tr.ledger) }
		before := acknowledged()
		waitUntil(t, bounded, "a load", func() (bool, string) {
			n := acknowledged() - before
			return n >= 20, fmt.Sprintf("%d messages acknowledged", n)
		})
		docker(t, append([]string{"kill"}, s.containers(t)...)...)
		pause(ctx, 200*time.Millisecond)
		stop()
		wg.Wait()
		if round == 0 {
			docker(t, append([]string{"start"}, s.containers(t)...)...) // as the engine does after a crash
		} else {
			s.up(t, "--no-probe")
		}
		returned := time.Now()
		for _, service := range services {
			returned = s.ready(t, service)
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
	docker(t, append([]string{"rm", "-f"}, s.containers(t)...)...)
	s.up(t, "--no-probe")
	tr.allDelivered(t, "docker rm -f of everything", time.Now())
}

// testRestarts restarts the containers alone and in different orders; nothing
// else is done, and the probe gets green by itself. That a removed mailbox is still
// kept, which Dovecot's user may not look into, is no trouble at the start.
func (s *Stack) testRestarts(t *testing.T) {
	t.Helper()
	gone, password := s.account(t)
	s.waitMail(t, gone, password, "INBOX", s.deliver(t, stranger, gone))
	s.mustRun(t, "account", "remove", gone, "--yes")
	defer func() {
		if log := docker(t, "logs", s.container("dovecot")); strings.Contains(log, "stale locks") {
			t.Errorf("Dovecot's start warns of locks:\n%s", log)
		}
	}()
	last := len(services) - 1
	orders := [][]string{services, slices.Concat(services[last:], services[:last])}
	for _, service := range services {
		orders = append(orders, []string{service})
	}
	for _, order := range orders {
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
