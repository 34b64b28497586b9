package probe

import (
	"strings"
	"testing"
	"time"
)

// TestSecretsOfBothEnds: a message that is followed to another server shows
// neither account's password, nor the address that takes the other's mail.
func TestSecretsOfBothEnds(t *testing.T) {
	t.Parallel()
	here, there := newWorld(t), newWorld(t)
	here.worldRecipient, here.forward = true, there
	from, to := here.start("submissions"), there.start("imaps", "pop3s")
	from.Recipient = testUser
	from.Elsewhere = &Elsewhere{Address: testInbox, Mailbox: &to}
	here.anyPassword, from.Password = true, "left horse"
	o := Options{Only: []string{"delivery.elsewhere"}, Timeout: 20 * time.Second, Late: time.Minute, Dialogue: true}
	r := run(t, from, o)
	var b strings.Builder
	must(t, r.WriteText(&b, TextOptions{Debug: true}))
	if text := b.String(); r.Status != OK || containsPassword(text) || strings.Contains(text, "left horse") || strings.Contains(text, testSecret) ||
		!strings.Contains(text, "> PASS [redacted]") || !strings.Contains(text, "RCPT TO:<mailstack-probe+[redacted]@mail.test>") {
		t.Errorf("%s:\n%s", r.Summary(), text)
	}
	here.full, o.Dialogue = true, false
	r = run(t, from, o)
	if reason := r.Checks[0].Reason; r.Status != Critical || strings.Contains(reason, testSecret) {
		t.Errorf("%s: %s", r.Summary(), reason)
	}
}

// TestSignatureIsNotShown: it is made with the password, so that passwords can
// be tried against it.
func TestSignatureIsNotShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.start("submissions", "imaps", "pop3s")
	r := run(t, target, Options{Only: []string{"delivery.submission"}, Timeout: 20 * time.Second, Dialogue: true})
	var b strings.Builder
	must(t, r.WriteText(&b, TextOptions{Debug: true}))
	shown := 0
	for line := range strings.Lines(b.String()) {
		if _, value, ok := strings.Cut(line, markerField+": "); ok {
			if shown++; !strings.HasSuffix(strings.TrimSpace(value), redacted) {
				t.Errorf("%s", line)
			}
		}
	}
	if shown < 3 { // sent, fetched, read by POP3
		t.Errorf("%d markers in\n%s", shown, b.String())
	}
}

// TestStrangersGetNoSignature: where nobody can look at a mailbox, the message
// to it is signed with nothing that is worth guessing.
func TestStrangersGetNoSignature(t *testing.T) {
	t.Parallel()
	here, there := newWorld(t), newWorld(t)
	here.worldRecipient, here.forward = true, there
	from := here.start("submissions")
	from.Elsewhere = &Elsewhere{Address: "box@there.test"}
	if got := check(t, from, "delivery.elsewhere", 20*time.Second); got.Status != OK {
		t.Fatal(got.Reason)
	}
	here.mu.Lock()
	header, _, _ := strings.Cut(here.taken, "\r\n\r\n")
	here.mu.Unlock()
	if _, ours := markerIn(&from, strings.Split(header, "\r\n")); ours || !strings.Contains(header, markerField) {
		t.Errorf("signed with the password:\n%s", header)
	}
}

// TestBlank: a secret is recognised in every form, and also where the text was
// cut in the middle of it.
func TestBlank(t *testing.T) {
	t.Parallel()
	for password, texts := range map[string][]string{
		`pa"ss\word`:               {`LOGIN "a@b" "pa\"ss\\word"`, `PASS pa"ss\word`},
		"with\ttab":                {printable("-ERR what is PASS with\ttab")},
		strings.Repeat("long", 30): {printable(strings.Repeat("x ", 60) + strings.Repeat("long", 30))},
	} {
		target := &Target{User: "a@b", Password: Secret(password)}
		for _, text := range texts {
			got := blankerOf(target).text(text)
			if !strings.Contains(got, redacted) || strings.Contains(got, password[:4]) {
				t.Errorf("%q: %q", text, got)
			}
		}
	}
	kept := "502 this is what was said: " + strings.Repeat("x", 10) + "…"
	if got := blankerOf(&Target{Password: "secret"}).text(kept); got != kept {
		t.Errorf("%q has become %q", kept, got)
	}
}
