package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type fakeResolver struct {
	addrs []netip.Addr
	err   error
}

func (f fakeResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return f.addrs, f.err
}

func TestResolve(t *testing.T) {
	t.Parallel()
	local := netip.MustParseAddr("127.0.0.1")
	for _, c := range []struct {
		host string
		by   fakeResolver
		kind Kind
		word string
	}{
		{"mail.test", fakeResolver{addrs: []netip.Addr{local}}, 0, ""},
		{"127.0.0.1", fakeResolver{err: errors.New("asked")}, 0, ""},
		{"mail.test", fakeResolver{err: &net.DNSError{Err: "no such host", IsNotFound: true}}, KindName, "mail.test: no such host"},
		{"mail.test", fakeResolver{err: &net.DNSError{Err: "i/o timeout", IsTimeout: true}}, KindName, "do not answer"},
		{"mail.test", fakeResolver{}, KindUnreachable, "any address"},
	} {
		var target Target
		got := Resolve(context.Background(), &target, c.host, c.by)
		if c.kind == 0 {
			if got.Status != OK || len(target.Addresses) != 1 || target.Addresses[0] != local {
				t.Errorf("%s: %s, %v", c.host, got.Reason, target.Addresses)
			}
			continue
		}
		wantFailure(t, got, c.kind, "dns")
		if !strings.Contains(got.Reason, c.word) || got.Status != Critical {
			t.Errorf("%s: %s %q", c.host, got.Status, got.Reason)
		}
	}
}

// forgetful is a resolver that finds nothing so many times.
type forgetful struct {
	times int
	fakeResolver
}

func (f *forgetful) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if f.times--; f.times >= 0 {
		return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	}
	return f.fakeResolver.LookupNetIP(ctx, network, host)
}

// TestResolveRetrying: a name server's bad moment is no alarm.
func TestResolveRetrying(t *testing.T) {
	t.Parallel()
	for retries, want := range map[int]Status{0: Critical, 1: OK} {
		var target Target
		by := &forgetful{1, fakeResolver{addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}
		if got := ResolveRetrying(context.Background(), &target, "mail.test", by, retries); got.Status != want {
			t.Errorf("with %d retries: %s: %s", retries, got.Status, got.Reason)
		}
	}
}

// TestForeignServer: no hint speaks of this program's own stacks, and what only
// those promise is not demanded.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hostedSender, w.worldRecipient = true, true
	target := w.start(allKeys...)
	target.Foreign, target.Confined = true, false
	if r := run(t, target, Options{Only: []string{"refusal"}, Timeout: 10 * time.Second}); r.Status != OK {
		t.Errorf("%+v", r.Checks)
	}
	for kind := range kinds {
		own := &Failure{Kind: kind}
		if hint := own.foreign().Hint(); strings.Contains(hint, "mailstack") {
			t.Errorf("%s: hint %q", kind, hint)
		}
	}
	limits := Options{Only: []string{"cert.pop3s"}, Timeout: 10 * time.Second, Warning: []Limit{{Check: "cert", Range: AtLeast(99)}}}
	if r := run(t, target, limits); r.Status != Warning || !strings.HasPrefix(r.Checks[0].Hint, "renew it") {
		t.Errorf("little of a certificate's life is left: %s, hint %q", r.Status, r.Checks[0].Hint)
	}
	w.listener("imaps").Close()
	got := check(t, target, "imaps", 10*time.Second)
	wantFailure(t, got, KindRefused, "connect")
	target.Password = "wrong"
	for _, r := range []Result{got, check(t, target, "pop3s", 10*time.Second)} {
		if strings.Contains(r.Hint, "mailstack") || r.Hint == "" {
			t.Errorf("%s: hint %q", r.Name, r.Hint)
		}
	}
}

// TestForeignServerFromOutside: without a user a server is greeted at every
// port, and what needs a login is not asked for.
func TestForeignServerFromOutside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start(allKeys...)
	target.Foreign, target.User, target.Password, target.Confined = true, "", "", false
	r := run(t, target, Options{Timeout: 20 * time.Second, Slow: time.Minute})
	if r.Status != OK || len(r.Checks) != 2*len(allKeys)+5 {
		t.Errorf("%d checks: %s", len(r.Checks), r.Summary())
	}
	got := check(t, target, "imap", 10*time.Second)
	if steps := strings.Join(stepNames(got.Steps), " "); steps != "connect banner tls quit" || len(got.Notes) != 1 {
		t.Errorf("steps %q, notes %q", steps, got.Notes)
	}
}

func TestSendElsewhere(t *testing.T) {
	t.Parallel()
	here, there := newWorld(t), newWorld(t)
	here.worldRecipient = true
	from, to := here.start("submissions"), there.start("imaps", "pop3s")
	from.Elsewhere = &Elsewhere{Address: "box@there.test", Mailbox: &to}
	here.forward = there
	got := check(t, from, "delivery.elsewhere", 20*time.Second)
	if got.Status != OK {
		t.Fatalf("%s: %s", got.Status, got.Reason)
	}
	if steps := strings.Join(stepNames(got.Steps), " "); steps != "accepted imap pop3 removed" || there.inbox() != 0 || here.inbox() != 0 {
		t.Errorf("steps %q, %d and %d messages left", steps, here.inbox(), there.inbox())
	}
	from.Elsewhere.Mailbox = nil
	if got = check(t, from, "delivery.elsewhere", 20*time.Second); got.Status != OK || len(got.Notes) != 1 {
		t.Errorf("%s: %s %v", got.Status, got.Reason, got.Notes)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	failing := func(times int32) Target {
		calls.Store(0)
		return Target{
			Database: func(context.Context) error {
				if calls.Add(1) <= times {
					return errors.New("away")
				}
				return nil
			},
			Queue: known(QueueState{}, nil),
		}
	}
	o := Options{Timeout: 20 * time.Second}
	for _, c := range []struct {
		fails   int32
		retries int
		want    Status
		calls   int32
	}{{0, 1, OK, 1}, {1, 0, Critical, 1}, {1, 1, OK, 2}, {2, 1, Critical, 2}, {2, 3, OK, 3}} {
		r := RunRetrying(context.Background(), failing(c.fails), o, c.retries)
		if r.Status != c.want || calls.Load() != c.calls || len(r.Checks) != 2 {
			t.Errorf("%+v: %s after %d calls: %+v", c, r.Status, calls.Load(), r.Checks)
		}
		if c.fails == 1 && c.want == OK && !strings.Contains(fmt.Sprint(r.Checks[0].Notes), "critical: query: backend down: away") {
			t.Errorf("notes %q", r.Checks[0].Notes)
		}
	}
	hangs := Target{Database: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	if r := RunRetrying(context.Background(), hangs, Options{Timeout: 3 * time.Second}, 1); r.Duration > 5*time.Second || r.Status != Critical {
		t.Errorf("%s after %s", r.Status, r.Duration)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	before := newReport("x", []Result{newResult("imap", nil, nil, 0), newResult("pop3", failf(KindRefused, ""), nil, 0), newResult("gone", nil, nil, 0)}, 0)
	now := newReport("x", []Result{newResult("imap", failf(KindRefused, ""), nil, 0), newResult("pop3", failf(KindTimeout, ""), nil, 0), newResult("queue", nil, nil, 0)}, 0)
	var b strings.Builder
	must(t, WriteChanges(&b, Changes(before, now), TextOptions{}))
	want := "✗ imap   critical, was ok\n    connection refused\n    hint: "
	if !strings.HasPrefix(b.String(), want) || !strings.Contains(b.String(), "✓ queue  ok, was new\n") || !strings.Contains(b.String(), "? gone   unknown, was ok\n    no longer checked\n") || strings.Contains(b.String(), "pop3") {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	down := newReport("x", []Result{newResult("imap", failf(KindRefused, ""), nil, 0), newResult("pop3", failf(KindRefused, ""), nil, 0)}, 0)
	must(t, WriteChanges(&b, Changes(Report{}, down), TextOptions{}))
	if n := strings.Count(b.String(), "hint: "); n != 1 {
		t.Errorf("the same hint %d times:\n%s", n, b.String())
	}
	// A run of one check says nothing about the others.
	one := newReport("x", []Result{newResult("imap", failf(KindRefused, ""), nil, 0)}, 0)
	for _, only := range []string{"imap", "cert.143"} {
		known, changes := one.Over(before, []string{only}, nil)
		if len(changes) != 1 || changes[0].Now.Name != "imap" || changes[0].Was != "ok" || len(known.Checks) != 3 || known.Status != Critical {
			t.Errorf("after one check: %+v, %+v", changes, known)
		}
	}
	if len(Changes(now, now)) != 0 {
		t.Error("a report differs from itself")
	}
}
