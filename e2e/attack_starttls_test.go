package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAttackBeforeTLS: what arrives in clear behind the command for TLS, perhaps
// by another hand, is never taken for the beginning of the dialogue in TLS
// (CVE-2011-0411). The server hangs up, or forgets it.
func TestAttackBeforeTLS(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	for _, p := range []struct {
		name, listener   string
		start, ok        string
		injected, answer string   // what would be answered to the injected command
		next             []string // the dialogue in TLS, its answers
	}{
		{"smtp", "smtp", "STARTTLS", "220", "HELP\r\nNOOP", "250 2.0.0", []string{"EHLO client.example", "250-", "RCPT TO:<" + user + ">", "503"}},
		{"smtp mail", "smtp", "STARTTLS", "220", "EHLO x\r\nMAIL FROM:<x@example.com>", "250 2.1.0", []string{"EHLO client.example", "250-", "RCPT TO:<" + user + ">", "503"}},
		{"submission", "submission", "STARTTLS", "220", "NOOP", "250 2.0.0", []string{"EHLO client.example", "250-", plain(user, password), "235"}},
		{"submission login", "submission", "STARTTLS", "220", "EHLO x\r\n" + plain(user, password), "235", []string{"EHLO client.example", "250-", "MAIL FROM:<" + user + ">", "250", "RCPT TO:<" + user + ">", "530"}},
		{"imap", "imap", "a STARTTLS", "a OK", "b NOOP", "b ", []string{"c LOGOUT", "* BYE"}},
		{"imap login", "imap", "a STARTTLS", "a OK", "b LOGIN " + user + " " + password, "b ", []string{"c SELECT INBOX", "c BAD"}},
		{"pop3", "pop3", "STLS", "+OK", "CAPA", "+OK", []string{"STAT", "-ERR"}},
		{"pop3 login", "pop3", "STLS", "+OK", "USER " + user + "\r\nPASS " + password, "+OK", []string{"STAT", "-ERR"}},
		{"managesieve", "managesieve", "STARTTLS", "OK", "NOOP", "OK \"NOOP", []string{"LISTSCRIPTS", "NO"}},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := s.line(t, p.listener)
			switch p.listener {
			case "smtp", "submission":
				d.smtp(t, "")
				d.smtp(t, "EHLO client.example")
			case "managesieve":
				d.until(t, "", func(l string) bool { return strings.HasPrefix(l, "OK") })
			default:
				d.say(t, "")
			}
			answer, err := d.try(p.start + "\r\n" + p.injected)
			if err != nil || !strings.HasPrefix(answer, p.ok) {
				t.Logf("%q, %v", answer, err)
				return // hung up, or refused as a whole
			}
			if n := d.r.Buffered(); n > 0 {
				clear, _ := d.r.Peek(n)
				if clear[0] == 0x15 { // an alert (RFC 8446, section 6): that was no TLS
					return
				}
				t.Fatalf("%q is answered in clear: %q", p.injected, clear)
			}
			if !d.tryTLS(t, s) {
				return // hung up
			}
			if p.listener == "managesieve" { // greets anew (RFC 5804, section 2.2)
				d.until(t, "", func(l string) bool { return strings.HasPrefix(l, "OK") })
			}
			for i := 0; i < len(p.next); i += 2 {
				answer, err := d.try(p.next[i])
				if err != nil {
					return // hung up
				}
				if !strings.HasPrefix(answer, p.next[i+1]) {
					t.Fatalf("in TLS %q is answered %q, want %s: perhaps an answer to %q", p.next[i], answer, p.next[i+1], p.injected)
				}
				for len(answer) > 3 && answer[3] == '-' { // SMTP's lines to the last
					answer = d.say(t, "")
				}
			}
		})
	}
}

// TestAttackBeforeTLSOnSockets: on the sockets there is no TLS into which
// something could be carried.
func TestAttackBeforeTLSOnSockets(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for name, socket := range map[string]string{"lmtp": "dovecot/run/lmtp", "submit": "postfix/run/submit"} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", filepath.Join(s.data(), "socket", socket))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			d := newDialogue(conn)
			d.smtp(t, "")
			hello := map[string]string{"lmtp": "LHLO", "submit": "EHLO"}[name]
			for _, line := range d.smtp(t, hello+" client.example") {
				if strings.Contains(line, "STARTTLS") {
					t.Errorf("offers %s", line)
				}
			}
			d.expect(t, "STARTTLS\r\nNOOP", "50")
			d.expect(t, "", "250")
		})
	}
}

// tryTLS goes on in TLS, if the other end does.
func (d *dialogue) tryTLS(t *testing.T, s *Stack) bool {
	t.Helper()
	client, err := s.secure(t, d.conn)
	if err != nil {
		t.Logf("hung up: %v", err)
		return false
	}
	*d = *newDialogue(client)
	return true
}

// TestAttackEarlyTalk: a client that does not wait for its turn is cut off, so
// that a request to another kind of server cannot carry a mail to this one.
func TestAttackEarlyTalk(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	letter := func(subject string) string {
		return "MAIL FROM:<" + stranger + ">\r\nRCPT TO:<" + user + ">\r\nDATA\r\n" + message(stranger, user, subject, "x") + ".\r\nQUIT\r\n"
	}
	for name, talk := range map[string]string{
		"before the banner":  "EHLO client.example\r\n",
		"HELO":               "HELO client.example\r\n",
		"HTTP POST":          "POST / HTTP/1.1\r\nHost: mail\r\nContent-Length: 5\r\n\r\nEHLO client.example\r\n",
		"TLS on the way in":  "\x16\x03\x01\x00\xc8\x01\r\nEHLO client.example\r\n",
		"without a greeting": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			subject := "early " + randomHex(6)
			conn, err := s.dial(t, "smtp")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte(talk + letter(subject))); err != nil {
				t.Fatal(err)
			}
			answers := drain(conn)
			if strings.Contains(answers, "\r\n354") {
				t.Errorf("mail is taken: %q", answers)
			}
			s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, user))
			if n := s.count(t, user, password, subject); n != 0 {
				t.Errorf("%d messages have arrived; the answers were %q", n, answers)
			}
		})
	}
}
