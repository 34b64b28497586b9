package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// known returns a function that knows something, or fails.
func known[T any](v T, err error) func(context.Context) (T, error) {
	return func(context.Context) (T, error) { return v, err }
}

func TestFacts(t *testing.T) {
	t.Parallel()
	const gb = 1e9
	disks := func(free int64) func(context.Context) ([]DiskState, error) {
		return known([]DiskState{{Volumes: []string{"mysql"}, FreeBytes: 50 * gb, TotalBytes: 100 * gb}, {Volumes: []string{"vmail", "queue"}, FreeBytes: free, TotalBytes: 100 * gb}}, nil)
	}
	container := func(c ContainerState) func(context.Context) ([]ContainerState, error) {
		c.Service = "dovecot"
		return known([]ContainerState{{Service: "mysql", State: "running", Health: "healthy"}, c}, nil)
	}
	now := time.Now()
	for _, c := range []struct {
		name   string
		target Target
		check  string
		kind   Kind // 0: ok
		word   string
	}{
		{"empty queue", Target{Queue: known(QueueState{}, nil)}, "queue", 0, ""},
		{"long queue", Target{Queue: known(QueueState{Messages: 101, Deferred: 7, Oldest: time.Hour}, nil)}, "queue", KindWarningLimit, "101 messages wait, 7 of them deferred, the oldest for 1h0m0s"},
		{"on hold", Target{Queue: known(QueueState{Messages: 2, Held: 2}, nil)}, "queue", KindWarningLimit, "2 messages are on hold"},
		{
			"smarthost away",
			Target{Queue: known(QueueState{Messages: 2, Smarthosts: []SmarthostState{{"smtp.example.net", 2, "wrong password"}}}, nil)},
			"queue", KindWarningLimit, `smtp.example.net: past the warning limit: 2 messages wait for the smarthost smtp.example.net: wrong password (2, limit 0)`,
		},
		{"endless queue", Target{Queue: known(QueueState{Messages: 1001}, nil)}, "queue", KindCriticalLimit, "limit 1000"},
		{"unreadable queue", Target{Queue: known(QueueState{}, errors.New("no postfix"))}, "queue", KindNotRun, "no postfix"},
		{"room", Target{Disks: disks(11 * gb)}, "disk", 0, ""},
		{"little room", Target{Disks: disks(9 * gb)}, "disk", KindWarningLimit, "vmail+queue: past the warning limit: 9.0 of 100.0 GB"},
		{"no room on a small disk", Target{Disks: known([]DiskState{{Volumes: []string{"queue"}, FreeBytes: 1e5, TotalBytes: 5e6}}, nil)}, "disk", KindCriticalLimit, "0.1 of 5.0 MB free for queue"},
		{"a lost disk", Target{Disks: known([]DiskState{{Volumes: []string{"queue"}, FreeBytes: 5e6, TotalBytes: 5e6}, {Volumes: []string{"vmail"}, Err: errors.New("stat: gone")}}, nil)}, "disk", KindNotRun, "vmail: not run: stat: gone"},
		{"no room", Target{Disks: disks(1)}, "disk", KindCriticalLimit, "limit 5:"},
		{"mailboxes", Target{Mailboxes: known(MailboxState{Inhabited: true}, nil)}, "mailboxes", 0, ""},
		{"mailboxes of nobody", Target{Mailboxes: known(MailboxState{Unclaimed: []string{"a@x", "b@x", "c@x", "d@x"}, Inhabited: true}, nil)}, "mailboxes", KindWarningLimit, "mailboxes without an account: a@x, b@x, c@x and 1 more; mail for them is refused (4, limit 0)"},
		{"no accounts", Target{Mailboxes: known(MailboxState{Unclaimed: []string{"a@x"}}, nil)}, "mailboxes", KindCriticalLimit, "a@x; mail for them is refused"},
		{"steady", Target{Containers: container(ContainerState{State: "running", Health: "healthy", Restarts: 3, Up: 2 * time.Hour})}, "containers", 0, ""},
		{"stopped", Target{Containers: container(ContainerState{State: "exited"})}, "containers", KindContainer, "dovecot: container not as it must be: exited"},
		{"killed", Target{Containers: container(ContainerState{State: "exited", Condition: "exited with status 137, out of memory"})}, "containers", KindContainer, "dovecot: container not as it must be: exited with status 137, out of memory"},
		{"several", Target{Containers: known([]ContainerState{{Service: "mysql", State: "exited"}, {Service: "dovecot", State: "paused"}}, nil)}, "containers", KindContainer, "mysql: container not as it must be: exited; dovecot: container not as it must be: paused"},
		{"missing", Target{Containers: container(ContainerState{State: "missing"})}, "containers", KindContainer, "dovecot: container not as it must be: there is none"},
		{"check hangs", Target{Containers: container(ContainerState{State: "running", Health: "unhealthy"})}, "containers", KindContainer, "unhealthy: its health check does not end in time"},
		{"unhealthy", Target{Containers: container(ContainerState{State: "running", Health: "unhealthy", HealthOutput: "no banner"})}, "containers", KindContainer, "no banner"},
		{"restarted", Target{Containers: container(ContainerState{State: "running", Restarts: 3, Up: time.Second})}, "containers", KindRestarted, "3 times, the last 1s ago"},
		{"restarted once", Target{Containers: container(ContainerState{State: "running", Restarts: 1, Up: time.Second})}, "containers", 0, ""},
		{"clock kept", Target{Clock: known(ClockState{Now: now, Synchronised: true, MaxError: time.Second}, nil)}, "clock", 0, ""},
		{"clock not kept", Target{Clock: known(ClockState{Now: now}, nil)}, "clock", 0, ""},
		{"clock off", Target{Clock: known(ClockState{Now: now, Synchronised: true, MaxError: 3 * time.Second}, nil)}, "clock", KindWarningLimit, "up to 3s"},
		{"clock in the past", Target{Clock: known(ClockState{Now: now, NotBefore: now.Add(time.Hour), Witness: "the certificate"}, nil)}, "clock", KindClock, "the certificate"},
		{"exact rights", Target{Rights: known[[]string](nil, nil)}, "mysql.rights", 0, ""},
		{"other rights", Target{Rights: known([]string{"database user x has FILE ON *.*", "y"}, nil)}, "mysql.rights", KindRights, "wrong rights: database user x has FILE ON *.*; wrong rights: y"},
		{"slow database", Target{Rights: known[[]string](nil, fmt.Errorf("connect: %w", os.ErrDeadlineExceeded))}, "mysql.rights", KindTimeout, "connect: "},
		{"rights not known", Target{Rights: known[[]string](nil, errors.New("away"))}, "mysql.rights", KindNotRun, "away"},
	} {
		got := check(t, c.target, c.check, 10*time.Second)
		if c.kind == 0 {
			if got.Status != OK {
				t.Errorf("%s: %s", c.name, got.Reason)
			}
			continue
		}
		if len(got.Failures) == 0 || got.Failures[0].Kind != c.kind || !strings.Contains(got.Reason, c.word) {
			t.Errorf("%s: %s, want %s and %q", c.name, got.Reason, c.kind, c.word)
		}
	}
}

// TestClockIsMeasured: whether something keeps the clock is always known, how
// wrong it is only then.
func TestClockIsMeasured(t *testing.T) {
	t.Parallel()
	for kept, want := range map[bool]string{
		true:  `[{error  s 1} {synchronised   1}]`,
		false: `[{synchronised   0}]`,
	} {
		state := ClockState{Now: time.Now(), Synchronised: kept, MaxError: time.Second}
		target := Target{Clock: func(context.Context) (ClockState, error) { return state, nil }}
		type value struct {
			Name, Label, Unit string
			Amount            float64
		}
		var got []value
		for _, v := range check(t, target, "clock", 10*time.Second).Values {
			got = append(got, value{v.Name, v.Label, v.Unit, v.Amount})
		}
		if fmt.Sprint(got) != want {
			t.Errorf("synchronised %v: %v, want %s", kept, got, want)
		}
	}
}

func TestSourceAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("smtp")
	gateway := netip.MustParseAddr("172.18.0.1")
	calls := 0
	target.Logged = func(_ context.Context, since time.Time, token string) (PeerView, error) {
		if len(token) != 32 || time.Since(since) > time.Minute {
			t.Errorf("asked for %q since %s", token, since)
		}
		if calls++; calls < 3 {
			return PeerView{}, nil // not written yet
		}
		return PeerView{gateway, true}, nil
	}
	got := check(t, target, "source-address", 10*time.Second)
	if notes := strings.Join(got.Notes, "\n"); got.Status != OK || !strings.Contains(notes, "127.0.0.1 is seen as 172.18.0.1, the bridge gateway\nclients") {
		t.Errorf("%s: %s\n%s", got.Status, got.Reason, notes)
	}

	target.Logged = func(context.Context, time.Time, string) (PeerView, error) { return PeerView{}, nil }
	wantFailure(t, check(t, target, "source-address", 3*time.Second), KindTimeout, "seen")

	w.full = true
	began := time.Now()
	got = check(t, target, "source-address", 20*time.Second)
	wantFailure(t, got, KindNotRun, "seen")
	if took := time.Since(began); took > 10*time.Second || !strings.Contains(got.Reason, "452 4.3.1") {
		t.Errorf("a server that takes no mail: after %s: %s", took, got.Reason)
	}

	target.Addresses = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	target.Own = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	var all []string
	for _, a := range target.sourceAddresses() {
		all = append(all, a.Addr().String())
	}
	if got := strings.Join(all, " "); got != "127.0.0.1 ::1 192.0.2.7" {
		t.Errorf("addresses %s", got)
	}
}
