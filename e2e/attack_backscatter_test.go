package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAttackBackscatter: senders are forged, so what can be refused is refused
// while the other server is there to be told, and what answers by itself says
// little, and nothing to whom it must not.
func TestAttackBackscatter(t *testing.T) {
	t.Parallel()
	s := shared(t)
	world := s.foreignServer(t)
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	domain := s.domain(t)
	s.mustRun(t, "alias", "add", "gone@"+domain, bob)
	id := randomHex(4)
	forged := world.address("forged-" + id)
	notice := "away-" + id
	s.sieve(t, ann, annPassword, `require "vacation"; vacation :subject "`+notice+`" "I am at the sea.";`)
	s.sieve(t, bob, bobPassword, `require "reject"; reject "no-`+id+`";`)

	for name, to := range map[string]string{"nobody": "nobody-" + id + "@" + domain, "nobody's tag": "nobody-" + id + "+x@" + domain, "another's domain": "x@example.com"} {
		t.Run("refused at RCPT/"+name, func(t *testing.T) {
			d := s.smtpLine(t, "smtp", false)
			d.expect(t, "MAIL FROM:<"+forged+">", "250")
			d.expect(t, "RCPT TO:<"+to+">", "55")
		})
	}
	t.Run("a loop is refused at its end", func(t *testing.T) {
		loop := strings.Repeat("Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0000\r\n", 120)
		if err := s.inbound(t, forged, []string{ann}, loop+message(forged, ann, "loop", "x")); smtpCode(err)/100 != 5 {
			t.Errorf("a message of 120 hops: %v", err)
		}
	})
	t.Run("notices of success are not offered", func(t *testing.T) {
		d := s.smtpLine(t, "smtp", false)
		if _, ok := d.smtpKeywords(t)["DSN"]; ok {
			t.Error("port 25 offers DSN")
		}
		d.expect(t, "MAIL FROM:<"+forged+">", "250")
		if answer := d.say(t, "RCPT TO:<"+ann+"> NOTIFY=SUCCESS"); strings.HasPrefix(answer, "2") {
			t.Errorf("NOTIFY=SUCCESS is answered %q", answer)
		}
	})
	// What must not be answered, each from a sender of its own.
	for i, quiet := range []struct{ name, from, to, head string }{
		{"vacation/null sender", "", ann, ""},
		{"vacation/not addressed", world.address("q1-" + id), ann, "To: <friends@example.com>\r\n"},
		{"vacation/list", world.address("q2-" + id), ann, "List-Id: <list.example.com>\r\nTo: <" + ann + ">\r\n"},
		{"vacation/answered by itself", world.address("q3-" + id), ann, "Auto-Submitted: auto-replied\r\nTo: <" + ann + ">\r\n"},
		{"vacation/bulk", world.address("q4-" + id), ann, "Precedence: bulk\r\nTo: <" + ann + ">\r\n"},
		{"vacation/mailer", world.address("mailer-daemon"), ann, "To: <" + ann + ">\r\n"},
		{"vacation/owner of a list", world.address("owner-" + id), ann, "To: <" + ann + ">\r\n"},
		{"reject/null sender", "", bob, ""},
		{"reject/null sender by an alias", "", "gone@" + domain, ""},
	} {
		t.Run(quiet.name, func(t *testing.T) {
			subject := fmt.Sprintf("quiet %s %d", id, i)
			letter := message("x@example.com", quiet.to, subject, "x")
			if quiet.head != "" {
				letter = quiet.head + "From: <" + quiet.from + ">\r\nSubject: " + subject + "\r\n\r\nx\r\n"
			}
			if err := s.inbound(t, quiet.from, []string{quiet.to}, letter); err != nil {
				t.Fatal(err)
			}
			s.queueIsFreeOf(t, quiet.to)
			if found := world.with(notice); len(found) > 0 {
				t.Fatalf("is answered:\n%s", found[0])
			}
			if found := world.with("no-" + id); len(found) > 0 {
				t.Fatalf("is answered:\n%s", found[0])
			}
		})
	}
	t.Run("vacation/once for each sender", func(t *testing.T) {
		for range 3 {
			s.waitMail(t, ann, annPassword, "INBOX", s.deliver(t, forged, ann))
		}
		waitUntil(t, 30*time.Second, "the notice", func() (bool, string) { return len(world.with(notice)) > 0, "none" })
		s.queueIsFreeOf(t, forged)
		if found := world.with(notice); len(found) != 1 || !strings.Contains(found[0], "Auto-Submitted: auto-replied") {
			t.Errorf("three messages are answered by %d notices: %q", len(found), found)
		}
	})
}

// queueIsFreeOf waits until nothing in the queue has to do with an address.
func (s *Stack) queueIsFreeOf(t *testing.T, address string) {
	t.Helper()
	waitUntil(t, 30*time.Second, "a queue without "+address, func() (bool, string) {
		queue, code := s.exec(t, "postfix", "postqueue", "-j")
		return code == 0 && !strings.Contains(queue, address), queue
	})
}
