package stack

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQueue(t *testing.T) {
	e := newFakeEngine()
	e.containers["demo-postfix"] = &fakeContainer{Container: Container{Name: "demo-postfix", State: "running"}}
	say := func(code int, out string) {
		e.exec = func(string, []string) *ExecResult { return &ExecResult{ExitCode: code, Stdout: []byte(out)} }
	}
	say(0, `{"queue_name": "deferred", "queue_id": "4bA", "arrival_time": 1700000000, "sender": "e@f", "recipients": [{"address": "a@b"}, {"address": "c@d", "delay_reason": "connect to x: refused"}]}
{"queue_name": "active", "queue_id": "4bB", "arrival_time": 1700000590}
`)
	want := []Queued{
		{ID: "4bA", Queue: "deferred", Arrival: 1_700_000_000, Sender: "e@f", Recipients: []QueuedRecipient{{Address: "a@b"}, {"c@d", "connect to x: refused"}}},
		{ID: "4bB", Queue: "active", Arrival: 1_700_000_590},
	}
	got, err := Queue(t.Context(), e, "demo-postfix")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	say(0, "")
	if all, err := Queue(t.Context(), e, "demo-postfix"); err != nil || all == nil || len(all) != 0 {
		t.Errorf("of an empty queue: %v, %v", all, err)
	}
	say(0, "postqueue: fatal: no queue\n")
	if _, err := Queue(t.Context(), e, "demo-postfix"); err == nil {
		t.Error("what is no JSON was read")
	}
	say(69, "mail system is down")
	if _, err := Queue(t.Context(), e, "demo-postfix"); err == nil || !strings.Contains(err.Error(), "status 69: mail system is down") {
		t.Errorf("error %v", err)
	}
}

// TestShowq: what Postfix says of its queue is read whole or not at all.
func TestShowq(t *testing.T) {
	listing := func(pieces ...string) string { return strings.ReplaceAll(strings.Join(pieces, ""), "|", "\x00") }
	const (
		begin   = "protocol|mail_queue_list_protocol||"
		message = "queue_name|deferred|queue_id|4bA|time|1700000000|size|728|forced_expire|0|sender|e@f|"
		rcpts   = "recipient|a@b|reason||recipient|c@d|reason|connect to x: refused||"
		bare    = "queue_name|active|queue_id|4bB|time|1700000590|size|1|forced_expire|0|sender|MAILER-DAEMON||"
	)
	read := func(text string) ([]Queued, error) { return readShowq(bufio.NewReader(strings.NewReader(text))) }
	got, err := read(listing(begin, message, rcpts, bare, "|"))
	want := []Queued{
		{ID: "4bA", Queue: "deferred", Arrival: 1_700_000_000, Sender: "e@f", Recipients: []QueuedRecipient{{Address: "a@b"}, {"c@d", "connect to x: refused"}}},
		{ID: "4bB", Queue: "active", Arrival: 1_700_000_590, Sender: "MAILER-DAEMON"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if all, err := read(listing(begin, "|")); err != nil || all == nil || len(all) != 0 {
		t.Errorf("of an empty queue: %v, %v", all, err)
	}
	whole := listing(begin, message, rcpts, "|")
	for n := range whole {
		if all, err := read(whole[:n]); !errors.Is(err, io.ErrUnexpectedEOF) || all != nil {
			t.Fatalf("of %q: %v, %v", whole[:n], all, err)
		}
	}
	for _, wrong := range []string{
		"220 mail ESMTP|||", "protocol|another_protocol|||",
		begin + "queue_name|active|queue_id|4bA|time|soon|||", begin + "size|1|time|1|||", "||",
	} {
		if all, err := read(listing(wrong)); err == nil {
			t.Errorf("of %q: %v", wrong, all)
		}
	}
	// A hostile container's: nothing that is not asked for is kept, or said again.
	if _, err := read(listing(begin, strings.Repeat("x||", 1<<20), "|")); err == nil || len(err.Error()) > 500 {
		t.Errorf("of a message of a million attributes: %.600v", err)
	}
}
