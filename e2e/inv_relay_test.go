package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// Invariant 8: the forms of address with which relays have been fooled. Any
// refusal will do, 4xx or 5xx: only a 2xx is an open relay.
func TestNotAnOpenRelay(t *testing.T) {
	t.Parallel()
	s := shared(t)
	address, _ := s.account(t)
	local, host, _ := strings.Cut(address, "@")
	var d *dialogue
	tries := 0
	try := func(from, to string) []string {
		if tries%8 == 0 { // the ninth error and those after it are answered late
			d = s.line(t, "smtp")
			d.smtp(t, "")
			d.smtp(t, "EHLO relay.example.org")
		}
		tries++
		d.smtp(t, "RSET")
		if answer := d.smtp(t, "MAIL FROM:<"+from+">"); !strings.HasPrefix(answer[0], "250") {
			return answer
		}
		return d.smtp(t, "RCPT TO:"+to)
	}
	senders := []string{"spam@relay.example.org", "", "spam@[127.0.0.1]", "spam", "spam@localhost", address}
	recipients := []string{
		"<victim@example.com>", "<victim%example.com@" + host + ">", "<victim%example.com>", `<"victim%example.com">`,
		`<"victim@example.com">`, `<"victim@example.com"@` + host + ">", "<example.com!victim>", "<example.com!victim@" + host + ">",
		"<@" + host + ":victim@example.com>", "<victim@example.com@" + host + ">", "<victim@example.com@>", "<victim@[127.0.0.1]>",
		"<victim@[172.17.0.1]>", "<victim@localhost>", "<victim%example.com@[127.0.0.1]>", "<victim%example.com@localhost>",
		"<" + local + "%example.com@" + host + ">", "<victim@example.com:25>", "victim@example.com", "<relay:victim@example.com>",
		"<victim@" + host + ".example.com>", "<victim@sub." + host + ">",
	}
	for _, from := range senders {
		for _, to := range recipients {
			if answer := try(from, to); strings.HasPrefix(answer[len(answer)-1], "2") {
				t.Errorf("from <%s> to %s is answered %q", from, to, answer)
			}
		}
	}
	if answer := try("somebody@relay.example.org", "<"+address+">"); !strings.HasPrefix(answer[0], "250") {
		t.Errorf("mail for an account is answered %q: nothing above means anything", answer)
	}
	if answer := try("somebody@relay.example.org", "<nobody-"+local+"@"+host+">"); !strings.HasPrefix(answer[0], "550") {
		t.Errorf("mail for nobody is answered %q, want 550", answer)
	}
	if answer := try(address, "<"+address+">"); strings.HasPrefix(answer[0], "2") {
		t.Errorf("a hosted sender without a login is answered %q", answer)
	}
	d = s.line(t, "smtp")
	d.smtp(t, "")
	d.smtp(t, "EHLO relay.example.org")
	for _, command := range []string{"VRFY " + address, "VRFY postmaster", "EXPN postmaster", "ETRN " + host} {
		answer := d.smtp(t, command)[0]
		if strings.HasPrefix(answer, "2") {
			t.Errorf("%s is answered %q", command, answer)
		}
	}
}

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

	d := s.line(t, "submission")
	d.smtp(t, "")
	if offered := d.smtpKeywords(t); offered["AUTH"] != "" {
		t.Errorf("submission offers AUTH before TLS: %v", offered)
	}
	for _, command := range []string{"AUTH PLAIN " + plain, "AUTH LOGIN", "MAIL FROM:<" + address + ">"} {
		if answer := d.say(t, command); !strings.HasPrefix(answer, "5") {
			t.Errorf("submission answers %q before TLS with %q", command, answer)
		}
	}

	d = s.line(t, "imap")
	if greeting := d.say(t, ""); !strings.Contains(greeting, "LOGINDISABLED") || strings.Contains(greeting, "AUTH=") {
		t.Errorf("IMAP greets before TLS with %q", greeting)
	}
	for i, command := range []string{fmt.Sprintf("LOGIN %s %s", address, password), "AUTHENTICATE PLAIN " + plain, "AUTHENTICATE LOGIN"} {
		tag := fmt.Sprintf("a%d", i)
		lines := d.until(t, tag+" "+command, func(l string) bool { return strings.HasPrefix(l, tag) || strings.HasPrefix(l, "+") })
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, tag+" NO") && !strings.HasPrefix(last, tag+" BAD") {
			t.Errorf("IMAP answers %q before TLS with %q", command, last)
		}
	}

	d = s.line(t, "pop3")
	d.expect(t, "", "+OK")
	for _, command := range []string{"USER " + address, "PASS " + password, "AUTH PLAIN " + plain, "AUTH LOGIN"} {
		if answer := d.say(t, command); !strings.HasPrefix(answer, "-ERR") {
			t.Errorf("POP3 answers %q before TLS with %q", command, answer)
		}
	}

	d = s.line(t, "managesieve")
	for _, line := range d.until(t, "", func(l string) bool { return strings.HasPrefix(l, "OK") }) {
		if strings.HasPrefix(line, `"SASL"`) && line != `"SASL" ""` {
			t.Errorf("ManageSieve offers before TLS: %s", line)
		}
	}
	d.expect(t, `AUTHENTICATE "PLAIN" "`+plain+`"`, "NO")

	for _, key := range []string{"imaps", "pop3s", "submissions"} {
		conn, err := tls.Dial("tcp", s.addr(key), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
		if err == nil {
			conn.Close()
			t.Errorf("%s speaks TLS 1.1", key)
		}
	}
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
