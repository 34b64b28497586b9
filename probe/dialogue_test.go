package probe

import (
	"strings"
	"testing"
	"time"
)

// TestDialogueHasNoPassword: everything that was said is there, and no form of
// the password is.
func TestDialogueHasNoPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start(allKeys...)
	r := run(t, target, Options{Timeout: 20 * time.Second, Slow: time.Minute, Late: time.Minute, Dialogue: true})
	var b strings.Builder
	must(t, r.WriteText(&b, TextOptions{Debug: true}))
	text := b.String()
	if containsPassword(text) || strings.Contains(text, testSecret) {
		t.Errorf("a secret in the dialogue:\n%s", text)
	}
	for _, want := range []string{
		"< +OK ready", "> STLS", "* TLS 1.3, ", "> PASS [redacted]", "> AUTH PLAIN [redacted]", "LOGIN ", "> EHLO mailstack-probe.mail.test",
		"RCPT TO:<mailstack-probe+[redacted]@mail.test>",
		`> AUTHENTICATE "PLAIN" "[redacted]"`, "* connected from 127.0.0.1:",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the dialogue", want)
		}
	}
	for _, c := range run(t, target, Options{Only: []string{"pop3"}, Timeout: 10 * time.Second}).Checks {
		if c.Dialogue != nil {
			t.Error("a dialogue that nobody asked for")
		}
	}
}

// TestServerRepeatsThePassword: it is in no reason.
func TestServerRepeatsThePassword(t *testing.T) {
	t.Parallel()
	got := outcome{name: "pop3", finished: finished{err: failf(KindAnswer, "-ERR what is PASS %s", testPassword)}}.
		result(&Target{User: testUser, Password: testPassword}, Options{}.withDefaults())
	if !strings.Contains(got.Reason, "what is PASS [redacted]") || strings.Contains(got.Reason, testPassword) {
		t.Errorf("reason %q", got.Reason)
	}
}

func TestDialogueIsBounded(t *testing.T) {
	t.Parallel()
	s := newRecorder(&Target{Password: "p"}).listen("127.0.0.1:1")
	s.hear(Server, []byte(strings.Repeat("x\r\n", 10*maxSaid)))
	s.hear(Server, []byte(strings.Repeat("y", 10*maxLine)))
	if got := s.rec.conversations()[0].Lines; len(got) > maxSaid+1 || len(got[len(got)-1].Text) > maxDetail+10 {
		t.Errorf("%d lines", len(got))
	}
}
