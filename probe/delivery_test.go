package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
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

// TestLoginNameThatIsNoAddress: mail is sent from and to the address of the
// account, whatever it logs in as.
func TestLoginNameThatIsNoAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.knowAs("joe")
	w.target.User, w.target.Address = "joe", testUser
	target := w.start("submissions", "imaps", "pop3s", "smtp")
	r := Run(t.Context(), target, Options{Timeout: 20 * time.Second, Only: []string{"delivery", "imaps", "refusal.submission", "refusal.smtp"}})
	if len(r.Checks) < 5 {
		t.Errorf("%d checks", len(r.Checks))
	}
	for _, c := range r.Checks {
		if c.Status != OK {
			t.Errorf("%s: %s: %s", c.Name, c.Status, c.Reason)
		}
	}
	target.Address = "joe@elsewhere.test" // not its own
	if got := check(t, target, "delivery.submission", 10*time.Second); got.Status != Critical {
		t.Errorf("sent as somebody else: %s", got.Status)
	}
}

func TestDeliveryFailures(t *testing.T) {
	t.Parallel()
	queue := func(waits QueuedMessage, err error) func(w *world) {
		return func(w *world) {
			w.copies = 0
			w.target.Queued = func(_ context.Context, id string) (QueuedMessage, error) {
				if id != "4bK1xZ" {
					w.t.Errorf("asked for queue id %q", id)
				}
				return waits, err
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
			{"no room", func(w *world) { w.full = true }, KindNoRoom, "send", "452 4.3.1"},
			{"gone", func(w *world) { w.copies = 0 }, KindMissing, "imap", "not known"},
			{"lost", queue(QueuedMessage{}, nil), KindLost, "imap", "neither in INBOX nor in the queue"},
			{"queue unreadable", queue(QueuedMessage{}, errors.New("no postfix")), KindMissing, "imap", "no postfix"},
			{"under way", queue(QueuedMessage{Queue: "active"}, nil), KindQueued, "imap", "4bK1xZ, active"},
			{"deferred", queue(QueuedMessage{Queue: "deferred", Reason: "connect to x: refused"}, nil), KindQueued, "imap", "4bK1xZ, deferred: connect to x: refused"},
			{"on hold", queue(QueuedMessage{Queue: "hold"}, nil), KindQueued, "imap", "4bK1xZ, on hold"},
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

// TestQueueIsAskedInTime: a queue that can no longer be read at the end has been
// read before.
func TestQueueIsAskedInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.copies = 0
	var asked atomic.Int32
	w.target.Queued = func(ctx context.Context, _ string) (QueuedMessage, error) {
		if asked.Add(1) == 1 {
			return QueuedMessage{Queue: "deferred", Reason: "away"}, nil
		}
		<-ctx.Done()
		return QueuedMessage{}, ctx.Err()
	}
	got := check(t, w.start(allKeys...), "delivery.inbound", 3*time.Second)
	wantFailure(t, got, KindQueued, "imap")
	if !strings.Contains(got.Reason, "4bK1xZ, deferred: away") {
		t.Errorf("reason %q", got.Reason)
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

// TestLateCanBeSeen: a try waits for a message for longer than what makes it
// late, or late would look like lost. A later try with less time changes nothing.
func TestLateCanBeSeen(t *testing.T) {
	t.Parallel()
	for _, whole := range []time.Duration{2 * time.Second, DefaultTimeout, time.Minute} {
		for retries := range 4 {
			o := Options{Timeout: whole}.withDefaults().share(0, retries)
			if look := patient(o.Timeout * 19 / 20); o.Late > look*4/5 {
				t.Errorf("%s with %d retries: late after %s, and waited for %s", whole, retries, o.Late, look)
			}
		}
	}
	late := newReport("x", []Result{newResult("delivery.inbound", failf(KindLate, ""), nil, 0)}, 0)
	for kind, want := range map[Kind]Status{KindMissing: Warning, KindQueued: Warning, KindLost: Critical, KindRefused: Critical} {
		later := newReport("x", []Result{newResult("delivery.inbound", failf(kind, ""), nil, 0)}, 0)
		if got := late.merge(later); got.Status != want {
			t.Errorf("late, and then %s: %s, want %s", kind, got.Status, want)
		}
	}
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
	got := check(t, target, "delivery.inbound", 8*time.Second)
	wantFailure(t, got, KindMissing, "pop3")
	if n := w.inbox(); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}

// newWorldLike is a world with an empty mailbox and the same certificate.
func newWorldLike(w *world) *world { return &world{t: w.t, tls: w.tls, login: w.login} }

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

// TestNobodyIsNotified: a message that is not delivered bounces nowhere.
func TestNobodyIsNotified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := check(t, w.start("submissions", "imaps"), "delivery.submission", 10*time.Second); got.Status != OK {
		t.Fatal(got.Reason)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.notify != "[NEVER]" {
		t.Errorf("NOTIFY is %s", w.notify)
	}
}

func TestHelloName(t *testing.T) {
	t.Parallel()
	for local, want := range map[string]string{
		"192.0.2.7:5000":          "[192.0.2.7]",
		"[2001:db8::7]:5000":      "[IPv6:2001:db8::7]",
		"[fe80::1%eth0]:5000":     "[IPv6:fe80::1]",
		"[::ffff:192.0.2.7]:5000": "[192.0.2.7]",
	} {
		addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
		if got := (&Target{Hostname: testHost, Foreign: true}).helloName(addr); got != want {
			t.Errorf("from %s to a server of others: %s, want %s", local, got, want)
		}
		if got := (&Target{Hostname: testHost}).helloName(addr); got != "mailstack-probe."+testHost {
			t.Errorf("to an own stack: %s", got)
		}
	}
}
