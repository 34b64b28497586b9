package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// smtpKeywords are the extensions that a server offers.
func (d *dialogue) smtpKeywords(t *testing.T) map[string]string {
	t.Helper()
	keywords := map[string]string{}
	for _, line := range d.smtp(t, "EHLO client.example") {
		word, value, _ := strings.Cut(line[4:], " ")
		keywords[word] = value
	}
	return keywords
}

// No login on port 25, neither before nor after STARTTLS.
func TestNoLoginOnPort25(t *testing.T) {
	t.Parallel()
	s := shared(t)
	address, password := s.account(t)
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + address + "\x00" + password))
	d := s.line(t, "smtp")
	d.smtp(t, "")
	for _, when := range []string{"before", "after"} {
		offered := d.smtpKeywords(t)
		if _, ok := offered["AUTH"]; ok {
			t.Errorf("AUTH is offered on 25 %s STARTTLS: %v", when, offered)
		}
		if answer := d.say(t, "AUTH PLAIN "+plain); strings.HasPrefix(answer, "2") || strings.HasPrefix(answer, "3") {
			t.Errorf("AUTH on 25 %s STARTTLS is answered %q", when, answer)
		}
		if when == "before" {
			d.expect(t, "STARTTLS", "220")
			d.startTLS(t, s)
		}
	}
}

// The right password, sent before TLS, is refused on every port, and no
// mechanism for it is offered; a server that begins with TLS has no dialogue
// without it.
func TestNoPasswordBeforeTLS(t *testing.T) {
	t.Parallel()
	s := shared(t)
	address, password := s.account(t)
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + address + "\x00" + password))
	login := fmt.Sprintf("LOGIN %s %s", address, password)

	t.Run("submission", func(t *testing.T) {
		d := s.line(t, "submission")
		d.smtp(t, "")
		if offered := d.smtpKeywords(t); offered["AUTH"] != "" {
			t.Errorf("it offers AUTH: %v", offered)
		}
		for _, command := range []string{"AUTH PLAIN " + plain, "AUTH LOGIN", "MAIL FROM:<" + address + ">"} {
			if answer := d.say(t, command); !strings.HasPrefix(answer, "5") {
				t.Errorf("%q is answered %q", command, answer)
			}
		}
	})
	t.Run("imap", func(t *testing.T) {
		d := s.line(t, "imap")
		if greeting := d.say(t, ""); !strings.Contains(greeting, "LOGINDISABLED") || strings.Contains(greeting, "AUTH=") {
			t.Errorf("it greets with %q", greeting)
		}
		for i, command := range []string{login, "AUTHENTICATE PLAIN " + plain, "AUTHENTICATE LOGIN"} {
			tag := fmt.Sprintf("a%d", i)
			lines := d.until(t, tag+" "+command, func(l string) bool { return strings.HasPrefix(l, tag) || strings.HasPrefix(l, "+") })
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, tag+" NO") && !strings.HasPrefix(last, tag+" BAD") {
				t.Errorf("%q is answered %q", command, last)
			}
		}
	})
	t.Run("pop3", func(t *testing.T) {
		d := s.line(t, "pop3")
		d.expect(t, "", "+OK")
		for _, command := range []string{"USER " + address, "PASS " + password, "AUTH PLAIN " + plain, "AUTH LOGIN"} {
			if answer := d.say(t, command); !strings.HasPrefix(answer, "-ERR") {
				t.Errorf("%q is answered %q", command, answer)
			}
		}
	})
	t.Run("managesieve", func(t *testing.T) {
		d := s.line(t, "managesieve")
		for _, line := range d.until(t, "", func(l string) bool { return strings.HasPrefix(l, "OK") }) {
			if strings.HasPrefix(line, `"SASL"`) && line != `"SASL" ""` {
				t.Errorf("it offers %s", line)
			}
		}
		d.expect(t, `AUTHENTICATE "PLAIN" "`+plain+`"`, "NO")
	})
	for listener, command := range map[string]string{
		"imaps": "a " + login, "pop3s": "USER " + address + "\r\nPASS " + password, "submissions": "EHLO client.example\r\nAUTH PLAIN " + plain,
	} {
		t.Run(listener, func(t *testing.T) {
			conn, err := tls.Dial("tcp", s.addr(listener), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
			if err == nil {
				conn.Close()
				t.Error("it speaks TLS 1.1")
			}
			if answer := s.inTheClear(t, listener, command+"\r\n"); answer != "" && answer[0] != tlsAlert {
				t.Errorf("%q is answered %q", command, answer)
			}
		})
	}
}

// tlsAlert is how a record begins that says what is wrong (RFC 8446, 5.1).
const tlsAlert = 21

// inTheClear says something without TLS, and gives all that a server answers until
// it hangs up.
func (s *Stack) inTheClear(t *testing.T, listener, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr(listener))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s stays connected without TLS", listener)
	}
	return string(answer)
}

// Who is logged in sends as himself only.
func TestNobodySendsAsSomebodyElse(t *testing.T) {
	t.Parallel()
	s := shared(t)
	me, password := s.account(t)
	other, _ := s.account(t)
	for _, from := range []string{other, "", "postmaster@" + s.hostname(), "nobody@" + s.hostname(), "me@example.com", "mailstack-probe@" + s.hostname()} {
		err := s.submit(t, me, password, from, []string{other}, message(from, other, "spoofed", "x"))
		if code := smtpCode(err); code < 500 {
			t.Errorf("mail as <%s> ends with %v, want 5xx", from, err)
		}
	}
	if err := s.submit(t, me, password, me, []string{other}, message(me, other, "mine", "x")); err != nil {
		t.Errorf("mail as oneself: %v", err)
	}
	if err := s.submit(t, me, password, strings.Replace(me, "@", "+tag@", 1), []string{other}, message(me, other, "mine", "x")); err != nil {
		t.Errorf("mail as one's own sub-address: %v", err)
	}
}

// The probe's account, whose password is on disk, can mail itself only, and
// nobody is told that it exists.
func TestProbeAccountIsConfined(t *testing.T) {
	t.Parallel()
	s := shared(t)
	probe, password := "mailstack-probe@"+s.hostname(), s.secret(t, "probe")
	other, _ := s.account(t)
	for _, to := range []string{other, "victim@example.com", "postmaster@" + s.hostname(), "postmaster"} {
		err := s.submit(t, probe, password, probe, []string{to}, message(probe, to, "probe", "x"))
		if code := smtpCode(err); code < 500 {
			t.Errorf("the probe mails %s: %v, want 5xx", to, err)
		}
		err = s.submit(t, probe, password, probe, []string{probe, to}, message(probe, to, "probe", "x"))
		if code := smtpCode(err); code < 500 {
			t.Errorf("the probe mails itself and %s: %v, want 5xx", to, err)
		}
	}
	if out := s.mustRun(t, "account", "list"); strings.Contains(out, "mailstack-probe") {
		t.Errorf("account list shows the probe:\n%s", out)
	}
}
