package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReloadDuringDelivery: a message whose delivery was under way at a reload, and
// then failed, is tried again within what is promised after an outage. Nothing else
// comes in meanwhile, which would have the queue manager look at it.
func TestReloadDuringDelivery(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	address, password := s.account(t)
	docker(t, "pause", s.container("dovecot"))
	subject := s.deliver(t, stranger, address)
	queue := func(dir string) string {
		out, code := s.exec(t, "postfix", "find", "/var/spool/postfix/"+dir, "-type", "f", "-perm", "/0100")
		if code != 0 {
			t.Fatal(out)
		}
		return out
	}
	waitUntil(t, 30*time.Second, "the message is being delivered", func() (bool, string) {
		active := queue("active")
		return active != "", active
	})
	if out, code := s.exec(t, "postfix", "mailstack-reload"); code != 0 {
		t.Fatal(out)
	}
	waitUntil(t, 30*time.Second, "the new queue manager puts it aside", func() (bool, string) {
		log := docker(t, "logs", s.container("postfix"))
		return strings.Contains(log, "skipped, still being delivered"), log
	})
	docker(t, "kill", s.container("dovecot"))
	s.expectAfterReturn(t, address, password, subject)
}

// TestDeferredWithoutARecord: Postfix could not write down why it deferred a
// message, as after a moment without any room for the queue. It is tried again
// within what is promised.
func TestDeferredWithoutARecord(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	address, password := s.account(t)
	docker(t, "stop", s.container("dovecot"))
	subject := s.deliver(t, stranger, address)
	waitUntil(t, time.Minute, "the record of a deferral", func() (bool, string) {
		records, err := filepath.Glob(filepath.Join(s.data(), "queue/data/defer/*/*"))
		return len(records) == 1, fmt.Sprint(records, err)
	})
	if out, code := s.exec(t, "postfix", "find", "/var/spool/postfix/defer", "-type", "f", "-delete"); code != 0 {
		t.Fatal(out)
	}
	s.expectAfterReturn(t, address, password, subject)
}

// expectAfterReturn starts Dovecot and waits for a letter as long as is promised.
func (s *Stack) expectAfterReturn(t *testing.T, address, password, subject string) {
	t.Helper()
	docker(t, "start", s.container("dovecot"))
	returned := time.Now()
	waitUntil(t, deferredUntil, "it is in its mailbox", func() (bool, string) {
		found, err := s.look(t, address, password, "INBOX", subject)
		return len(found) > 0, fmt.Sprintf("no such message (%v)", err)
	})
	t.Logf("in its mailbox %v after the return", time.Since(returned).Round(100*time.Millisecond))
}
