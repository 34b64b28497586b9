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
	entries, err := parseQueue([]byte(`{"queue_name": "deferred", "queue_id": "4bA", "arrival_time": 1700000000, "recipients": [{"address": "a@b"}, {"address": "c@d", "delay_reason": "connect to x: refused"}]}
{"queue_name": "active", "queue_id": "4bB", "arrival_time": 1700000590}
{"queue_name": "hold", "queue_id": "4bC", "arrival_time": 1700000590}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := probe.QueueState{Messages: 3, Deferred: 1, Held: 1, Oldest: 10 * time.Minute}
	if diff := cmp.Diff(want, queueState(entries, now)); diff != "" {
		t.Error(diff)
	}
	for id, want := range map[string]probe.QueuedMessage{
		"4bA": {Queue: "deferred", Reason: "connect to x: refused"}, "4bC": {Queue: "hold"}, "4bD": {},
	} {
		if got := queuedMessage(entries, id); got != want {
			t.Errorf("%s waits %+v, want %+v", id, got, want)
		}
	}
	if entries, err := parseQueue(nil); err != nil || queueState(entries, now) != (probe.QueueState{}) {
		t.Errorf("an empty queue: %v, %v", entries, err)
	}
	if _, err := parseQueue([]byte("postqueue: fatal: no queue\n")); err == nil {
		t.Error("garbage is taken for a queue")
	}
}

// TestLostDisk: a volume that is not there any more is not passed over.
func TestLostDisk(t *testing.T) {
	cfg := &config.Config{}
	cfg.Data.Dir = t.TempDir()
	g, err := stack.NewGraph(stack.Catalog())
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
}
