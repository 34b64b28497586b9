package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailstack/config"
	"mailstack/probe"
	"mailstack/stack"
)

func TestQueueState(t *testing.T) {
	now := time.Unix(1_700_000_600, 0)
	entries := []stack.Queued{
		{ID: "4bA", Queue: "deferred", Arrival: 1_700_000_000, Recipients: []stack.QueuedRecipient{{Address: "a@b"}, {Address: "c@d", Delay: "connect to x: refused"}}},
		{ID: "4bB", Queue: "active", Arrival: 1_700_000_590},
		{ID: "4bC", Queue: "hold", Arrival: 1_700_000_590},
	}
	want := probe.QueueState{Messages: 3, Deferred: 1, Held: 1, Oldest: 10 * time.Minute}
	if diff := cmp.Diff(want, queueState(entries, config.Relay{}, now)); diff != "" {
		t.Error(diff)
	}
	for id, want := range map[string]probe.QueuedMessage{
		"4bA": {Queue: "deferred", Reason: "connect to x: refused"}, "4bC": {Queue: "hold"}, "4bD": {},
	} {
		if got := queuedMessage(entries, id); got != want {
			t.Errorf("%s waits %+v, want %+v", id, got, want)
		}
	}
	if diff := cmp.Diff(probe.QueueState{}, queueState(nil, config.Relay{}, now)); diff != "" {
		t.Error(diff)
	}
}

// TestWaitingForSmarthosts: mail waits for the smarthost of its sender's domain,
// unless it is for an account here or goes straight.
func TestWaitingForSmarthosts(t *testing.T) {
	queued := func(sender string, reasons ...string) stack.Queued {
		m := stack.Queued{Sender: sender}
		for _, reason := range reasons {
			m.Recipients = append(m.Recipients, stack.QueuedRecipient{Address: "a@b.example", Delay: reason})
		}
		return m
	}
	relay := config.Relay{Host: "smtp.example.net", Domains: map[string]config.Relay{
		"own.example": {Host: "smtp.own.example"}, "quiet.example": {Host: "smtp.quiet.example"}, "straight.example": {},
	}}
	const away = "connect to mx.example.org[192.0.2.9]:25: Connection timed out"
	got := waitingFor([]stack.Queued{
		queued("ann@straight.example", away),
		queued("ann@Own.example", "", "Server certificate not verified"),
		queued("ann@own.example", away),
		queued("ann@quiet.example", "connect to mail.example.org[/socket/dovecot/lmtp]: No such file or directory"),
		queued("ann@quiet.example", ""), queued("ann@quiet.example"),
		queued("", "SASL authentication failed"), queued("ann@sub.own.example", away),
	}, relay)
	want := []waiting{
		{"smtp.example.net", 2, "SASL authentication failed"},
		{"smtp.own.example", 2, "Server certificate not verified"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := waitingFor([]stack.Queued{queued("ann@x.example", away)}, config.Relay{}); got != nil {
		t.Errorf("without a smarthost %v", got)
	}
}

// TestLostDisk: a volume that is not there any more is not passed over.
func TestLostDisk(t *testing.T) {
	cfg := &config.Config{}
	cfg.Data.Dir = t.TempDir()
	g, err := graph(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, volume := range []string{"mysql", "vmail"} {
		if err := os.Mkdir(layout(cfg).Volume(volume), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	all, err := (&facts{cfg: cfg, graph: g}).disks(t.Context())
	if err != nil || len(all) != 2 || !slices.Equal(all[0].Volumes, []string{"mysql", "vmail"}) || !slices.Equal(all[1].Volumes, []string{"queue"}) || !errors.Is(all[1].Err, fs.ErrNotExist) {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestPeerIn(t *testing.T) {
	log := `postfix/smtpd[77]: connect from unknown[172.18.0.1]
postfix/smtpd[77]: NOQUEUE: reject: RCPT from unknown[172.18.0.9]: 454 4.7.1 <other@example.com>: Relay access denied; to=<other@example.com>
postfix/smtpd[78]: NOQUEUE: reject: RCPT from localhost[::ffff:172.18.0.1]: 554 5.7.1 <mailstack-probe-abc@example.com>: Relay access denied; from=<> to=<mailstack-probe-abc@example.com>
`
	if got := peerIn(log, "abc").String(); got != "172.18.0.1" {
		t.Errorf("peer %s", got)
	}
	if got := peerIn(log, "xyz"); got.IsValid() {
		t.Errorf("peer %s of nobody", got)
	}
	// A log that is followed comes in pieces of any size, and is left at the line.
	for size := 1; size <= len(log); size++ {
		found := 0
		p := &peerFinder{token: "abc", found: func() { found++ }}
		for piece := range slices.Chunk([]byte(log+log), size) {
			if n, err := p.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		if p.peer.String() != "172.18.0.1" || found != 1 {
			t.Fatalf("in pieces of %d: peer %s, found %d times", size, p.peer, found)
		}
	}
}
