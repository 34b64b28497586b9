package probe

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

var deliveries = []string{"delivery.submission", "delivery.inbound"}

func TestDeliveryTouchesNothingElse(t *testing.T) {
	t.Parallel()
	for _, name := range deliveries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			target := w.start(allKeys...)
			mail := func(m marker, signer *Target) []byte {
				return m.message(signer, signer.User, signer.User, "x", time.Now())
			}
			other := target
			other.Password = "of somebody else"
			over := newMarker(time.Now().Add(-time.Hour))
			twice := mail(over, &target)
			w.arrive([]byte("From: a\r\nSubject: mine\r\n\r\nnot the probe's\r\n"))
			w.arrive(mail(over, &other))                                                              // signed by another
			w.arrive(mail(newMarker(time.Now().Add(time.Hour)), &target))                             // of a run that still goes on
			w.arrive(append([]byte(markerField+": 1 a 2 b\r\n"), twice...))                           // two fields
			w.arrive([]byte(strings.Replace(string(twice), over.token, strings.Repeat("0", 32), -1))) // another token
			keep := w.inbox()
			w.arrive(mail(over, &target)) // a leftover

			got := check(t, target, name, 20*time.Second)
			if got.Status != OK {
				t.Fatalf("%s: %s", got.Status, got.Reason)
			}
			if n := w.inbox(); n != keep {
				t.Errorf("%d messages in the mailbox, want %d", n, keep)
			}
			if steps := strings.Join(stepNames(got.Steps), " "); steps != "accepted imap pop3 removed" {
				t.Errorf("steps %q", steps)
			}
		})
	}
}

func TestDeliveryFailures(t *testing.T) {
	t.Parallel()
	queue := func(held bool, err error) func(w *world) {
		return func(w *world) {
			w.copies = 0
			w.target.Queued = func(_ context.Context, id string) (bool, error) {
				if id != "4bK1xZ" {
					w.t.Errorf("asked for queue id %q", id)
				}
				return held, err
			}
		}
	}
	for _, name := range deliveries {
		for _, c := range []struct {
			name  string
			spoil func(w *world)
			kind  Kind
			step  string
			word  string
		}{
			{"lost", func(w *world) { w.copies = 0 }, KindLost, "imap", "not known"},
			{"lost, not in the queue", queue(false, nil), KindLost, "imap", "nor in the queue"},
			{"lost, queue unreadable", queue(false, errors.New("no postfix")), KindLost, "imap", "no postfix"},
			{"in the queue", queue(true, nil), KindQueued, "imap", "4bK1xZ"},
			{"doubled", func(w *world) { w.copies = 3 }, KindDuplicate, "", "3 copies"},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				c.spoil(w)
				got := check(t, w.start(allKeys...), name, 3*time.Second)
				wantFailure(t, got, c.kind, c.step)
				if !strings.Contains(got.Reason, c.word) {
					t.Errorf("reason %q does not say %q", got.Reason, c.word)
				}
				if n := w.inbox(); n != 0 {
					t.Errorf("%d messages left behind", n)
				}
			})
		}
	}
}

func TestLateIsNotLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.delay = 500 * time.Millisecond
	r := run(t, w.start(allKeys...), Options{
		Only: []string{"delivery.inbound"}, Timeout: 10 * time.Second, Late: 300 * time.Millisecond,
	})
	wantFailure(t, r.Checks[0], KindLate, "imap")
}

// TestPOP3OnlyServer: without IMAP the message is found and removed by POP3.
func TestPOP3OnlyServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("smtp", "pop3s")
	w.arrive([]byte("Subject: mine\r\n\r\nnot the probe's\r\n"))
	if got := check(t, target, "delivery.inbound", 10*time.Second); got.Status != OK {
		t.Errorf("%s: %s", got.Status, got.Reason)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.messages) != 1 {
		t.Errorf("%d messages left, want only the one that is not ours", len(w.messages))
	}
}

// TestPOP3SeesNothing: found by IMAP and not by POP3 is a failure of POP3.
func TestPOP3SeesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("smtp", "imaps")
	w.listen("pop3s", func(conn net.Conn, secure bool) {
		empty := newWorldLike(w)
		empty.servePOP3(conn, secure)
	})
	got := check(t, target, "delivery.inbound", 3*time.Second)
	wantFailure(t, got, KindLost, "pop3")
	if n := w.inbox(); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}

// newWorldLike is a world with an empty mailbox and the same certificate.
func newWorldLike(w *world) *world { return &world{t: w.t, tls: w.tls} }

func TestMailboxFailuresKeepTheirKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("smtp")
	w.listener("imaps").Close()
	wantFailure(t, check(t, target, "delivery.inbound", 5*time.Second), KindRefused, "connect")
}

func TestMarkerRoundTrip(t *testing.T) {
	t.Parallel()
	target := &Target{User: testUser, Password: testPassword, Hostname: testHost}
	m := newMarker(time.Now())
	header, _, _ := strings.Cut(string(m.message(target, target.User, target.User, "delivery.inbound", time.Now())), "\r\n\r\n")
	got, ok := markerIn(target, strings.Split(header, "\r\n"))
	if !ok || got != m {
		t.Errorf("read %+v, %t back for %+v", got, ok, m)
	}
	folded := strings.Replace(header, m.token, "\r\n\t"+m.token, 1)
	if got, ok = markerIn(target, strings.Split(folded, "\r\n")); !ok || got.token != m.token {
		t.Error("a folded field is not recognised")
	}
	for _, line := range strings.Split(header, "\r\n") {
		if len(line) > 120 {
			t.Errorf("header line of %d bytes would be folded on the way: %s", len(line), line)
		}
	}
}
