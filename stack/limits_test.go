package stack

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLimited(t *testing.T) {
	e := newFakeEngine()
	e.containers["demo-postfix"] = &fakeContainer{Container: Container{Name: "demo-postfix", State: "running"}}
	var asked []string
	say := func(out string) {
		e.exec = func(_ string, command []string) *ExecResult {
			asked = command
			return &ExecResult{Stdout: []byte(out)}
		}
	}
	say(`{"account": "ann@example.org", "since": 1000, "until": 2800, "refused": 7, "limit": "500 recipients an hour"}
{"account": "bob\"@example.org", "since": 1001, "until": 2801, "refused": 1, "limit": "200 messages a day"}
`)
	want := []Limited{
		{"ann@example.org", time.Unix(1000, 0).UTC(), time.Unix(2800, 0).UTC(), 7, "500 recipients an hour"},
		{`bob"@example.org`, time.Unix(1001, 0).UTC(), time.Unix(2801, 0).UTC(), 1, "200 messages a day"},
	}
	got, err := ListLimited(t.Context(), e, "demo-postfix")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	say("")
	if got, err := ListLimited(t.Context(), e, "demo-postfix"); err != nil || got == nil || len(got) != 0 {
		t.Errorf("nobody: %v, %v", got, err)
	}
	say("ann@example.org\n")
	if _, err := ListLimited(t.Context(), e, "demo-postfix"); err == nil {
		t.Error("what is no JSON was read")
	}
	for answer, want := range map[string]bool{"released\n": true, "not held\n": false} {
		say(answer)
		if was, err := Unlimit(t.Context(), e, "demo-postfix", "Ann@example.org"); err != nil || was != want {
			t.Errorf("%q: %v, %v", answer, was, err)
		}
		if diff := cmp.Diff([]string{LimitsCmd, "release", "ann@example.org"}, asked); diff != "" {
			t.Error(diff)
		}
	}
}
