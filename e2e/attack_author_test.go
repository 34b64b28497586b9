package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// TestAttackAuthor: who has signed in writes in the name of his own addresses and of
// no others, however the header says it, and is told which one is not his. The filter
// has no part in that: TestSendingLimits has a stack without one.
func TestAttackAuthor(t *testing.T) {
	t.Parallel()
	s := shared(t)
	me, password := s.account(t)
	boss, bossPassword := s.account(t)
	local, host, _ := strings.Cut(me, "@")
	bossLocal, _, _ := strings.Cut(boss, "@")
	domain, all := s.domain(t), s.domain(t)
	s.mustRun(t, "domain", "add", "bücher-"+domain)
	idn := "xn--bcher-" + strings.TrimSuffix(domain, ".example") + "-"
	for alias, targets := range map[string][]string{
		"mine@" + domain: {me}, "ours@" + domain: {me, boss}, "theirs@" + domain: {boss}, "away@" + domain: {"friend@example.com"},
		"@" + all: {me}, "theirs@" + all: {boss},
	} {
		s.mustRun(t, append([]string{"alias", "add", alias}, targets...)...)
	}
	for line := range strings.Lines(s.mustRun(t, "domain", "list")) {
		if strings.Contains(line, "bücher-"+domain) {
			idn = strings.Fields(line)[0]
		}
	}
	s.mustRun(t, "alias", "add", "mine@"+idn, me)
	// The header field, and "" if it is taken, or what the refusal says.
	cases := []struct{ name, header, want string }{
		{"oneself", "From: <" + me + ">", ""},
		{"oneself with a name", `From: "` + boss + `" <` + me + ">", ""},
		{"oneself in capitals", "From: " + strings.ToUpper(me), ""},
		{"oneself, folded", "From: Me\r\n\t(a comment)\r\n <" + me + ">", ""},
		{"oneself, quoted", `From: "` + local + `"@` + host, ""},
		{"one's tag", "From: " + local + "+x@" + host, ""},
		{"one's alias", "From: mine@" + domain, ""},
		{"a tag of one's alias", "From: mine+x@" + domain, ""},
		{"an alias of both", "From: Us <ours@" + domain + ">", ""},
		{"a catch-all's address", "From: anything@" + all, ""},
		{"one's alias in an IDN", "From: mine@" + idn, ""},
		{"two of one's own", "From: " + me + ", mine@" + domain + "\r\nSender: " + me, ""},
		{"a group of one's own", "From: Us: " + me + ", mine@" + domain + ";", ""},
		{"a name in an encoded word", "From: =?utf-8?q?Boss_=3Cboss=40corp.example=3E?= <" + me + ">", ""},
		{"none", "X-Nothing: 1", ""},
		{"another in the body", "From: " + me + "\r\nContent-Type: message/rfc822\r\n\r\nFrom: " + boss + "\r\nSender: " + boss, ""},
		{"another to answer to", "From: " + me + "\r\nReply-To: " + boss, ""},

		{"another", "From: <" + boss + ">", "From: " + boss + " is not an address of " + me},
		{"another in capitals", "FROM: " + strings.ToUpper(boss), boss},
		{"another, with a space before the colon", "From : " + boss, boss},
		{"another, quoted", `From: "` + bossLocal + `"@` + host, boss},
		{"another, quoted letter by letter", `From: "\` + strings.Join(strings.Split(bossLocal, ""), `\`) + `"@` + host, boss},
		{"another, folded", "From:\r\n <" + boss + ">", boss},
		{"another's tag", "From: " + bossLocal + "+" + local + "@" + host, bossLocal},
		{"another's alias", "From: theirs@" + domain, "theirs@" + domain},
		{"another's alias beside one's catch-all", "From: theirs@" + all, "theirs@" + all},
		{"alias of elsewhere", "From: away@" + domain, "away@" + domain},
		{"elsewhere", "From: me@bank.example", "me@bank.example"},
		{"nobody", "From: nobody@" + host, "nobody@" + host},
		{"postmaster", "From: postmaster@" + host, "postmaster@" + host},
		{"postmaster without domain", "From: postmaster", "postmaster@" + host},
		{"subdomain", "From: " + local + "@sub." + host, local + "@sub." + host},
		{"oneself and another", "From: " + me + ", " + boss, boss},
		{"another and oneself", "From: " + boss + ", " + me + "\r\nSender: " + me, boss},
		{"a group with another", "From: Us: " + me + ", " + boss + ";", boss},
		{"a group without anybody", "From: undisclosed:;", "no address"},
		{"another as a name", "From: " + boss + " <" + me + ">", boss},
		{"another behind", "From: <" + me + "> " + boss, "From: "},
		{"another in front", "From: <" + boss + "> <" + me + ">", "From: "},
		{"another in a comment only", "From: (" + me + ") " + boss, boss},
		{"a comment inside", "From: " + bossLocal + "(x)@" + host, "From: "},
		{"a route", "From: <@" + host + ":" + boss + ">", "From: "},
		{"an encoded word for an address", "From: =?utf-8?q?" + bossLocal + "=40" + host + "?=", "From: "},
		{"an encoded word for a local part", "From: =?utf-8?q?" + bossLocal + "?=@" + all, "From: "},
		{"an encoded word for all of it", "From: =?utf-8?q?Boss_=3C" + bossLocal + "=40" + host + "=3E?=", "From: "},
		{"a domain in other letters", "From: mine@bücher-" + domain, "From: "},
		{"a dot behind", "From: " + boss + ".", "From: "},
		{"a generation", "From: " + local + "#1@" + host, "#1@"},
		{"SQL", "From: x'OR'1'='1@" + host, "x'or'1'='1@" + host},
		{"SQL wildcard", "From: %@" + host, "%@" + host},
		{"empty", "From:", "no address"},
		{"empty brackets", "From: <>", "From: "},
		{"two of it", "From: " + me + "\r\nFrom: " + boss, "From: there are two of it"},
		{"two of it, the other first", "From: " + boss + "\r\nFrom: " + me, "From: "},
		{"two of it, written differently", "From: " + me + "\r\nfrom : " + me, "From: there are two of it"},
		{"sender", "From: " + me + "\r\nSender: " + boss, "Sender: " + boss},
		{"two senders", "From: " + me + "\r\nSender: " + me + "\r\nSender: " + me, "Sender: there are two of it"},
		{"sent again by another", "From: " + me + "\r\nResent-From: " + boss, "Resent-From: " + boss},
		{"sent again, another's", "From: " + boss + "\r\nResent-From: " + me, "From: " + boss},
		{"sent again, nobody's", "Resent-From: " + me, "From: there is none"},
		{"sent again by an assistant", "From: " + me + "\r\nResent-From: " + me + "\r\nResent-Sender: " + boss, "Resent-Sender: " + boss},
		{"too long", "From: (" + strings.Repeat(strings.Repeat("x", 900)+"\r\n ", 30) + ") " + me, "From: it is too long"},
		{"a control character", "From: " + me + "\x01 <" + boss + ">", "From: "},
	}
	var c *smtp.Client
	refused := 0
	for _, a := range cases {
		if refused%8 == 0 { // a session that has had ten is answered late, and then ended
			var err error
			if c, err = s.smtpLogin(t, me, password); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			refused++
		}
		subject := "author " + randomHex(6)
		letter := fmt.Sprintf("Subject: %s\r\nTo: <%s>\r\nDate: %s\r\n%s\r\n\r\nHello.\r\n", subject, boss, time.Now().Format(time.RFC1123Z), a.header)
		err := c.SendMail(me, []string{boss}, strings.NewReader(letter))
		var answer *smtp.SMTPError
		switch {
		case a.want == "" && err != nil:
			t.Errorf("%s: %q is refused: %v", a.name, a.header, err)
		case a.want == "":
			_, got := s.waitFiled(t, boss, bossPassword, subject)
			if a.name == "none" && !strings.Contains(got, "\nFrom: "+me) && !strings.Contains(got, "\nFrom: <"+me+">") {
				t.Errorf("without a From it is\n%s", got)
			}
			continue
		case !errors.As(err, &answer) || answer.Code != 550 || !strings.Contains(answer.Message, a.want):
			t.Errorf("%s: %q is answered %v, want 550 and %q", a.name, a.header, err, a.want)
		}
		refused++
	}
	// Another sender of the same session is another message's.
	if err := c.SendMail("mine@"+domain, []string{boss}, strings.NewReader(message("mine@"+domain, boss, "alias", "x"))); err != nil {
		t.Error(err)
	}
	// What comes from elsewhere is not compared with anything: that is for DMARC.
	subject := "elsewhere " + randomHex(6)
	if err := s.inbound(t, stranger, []string{me}, message(boss, me, subject, "x")); err != nil {
		t.Error(err)
	}
	s.waitMail(t, me, password, "INBOX", subject)
}

// TestAuthorWithoutDatabase: where nobody can say whose an address is, the answer is
// for now, in time, and the session goes on.
func TestAuthorWithoutDatabase(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.upGreen(t)
	me, password := s.account(t)
	other, _ := s.account(t)
	domain := s.domain(t)
	s.mustRun(t, "alias", "add", "mine@"+domain, me)
	d := s.smtpLine(t, "submissions", false)
	d.expect(t, plain(me, password), "235")
	send := func(from string) string {
		t.Helper()
		d.expect(t, "MAIL FROM:<"+me+">", "250")
		d.expect(t, "RCPT TO:<"+other+">", "250")
		d.expect(t, "DATA", "354")
		return d.say(t, message(from, other, "x", "x")+".")
	}
	if answer := send("mine@" + domain); !strings.HasPrefix(answer, "250") {
		t.Errorf("one's alias is answered %q", answer)
	}
	d.expect(t, "MAIL FROM:<"+me+">", "250")
	d.expect(t, "RCPT TO:<"+other+">", "250")
	d.expect(t, "DATA", "354")
	docker(t, "pause", s.container("mysql"))
	began := time.Now()
	answer := d.say(t, message("mine@"+domain, other, "x", "x")+".")
	took := time.Since(began)
	docker(t, "unpause", s.container("mysql"))
	if !strings.HasPrefix(answer, "451 4.3.0") || took > 5*time.Second {
		t.Errorf("without a database the answer is %q after %v", answer, took)
	}
	waitUntil(t, 30*time.Second, "mail after the database's return", func() (bool, string) {
		d.expect(t, "RSET", "250")
		if answer := d.say(t, "MAIL FROM:<"+me+">"); !strings.HasPrefix(answer, "250") {
			return false, answer
		}
		if answer := d.say(t, "RCPT TO:<"+other+">"); !strings.HasPrefix(answer, "250") {
			return false, answer
		}
		d.expect(t, "DATA", "354")
		answer := d.say(t, message("mine@"+domain, other, "x", "x")+".")
		return strings.HasPrefix(answer, "250"), answer
	})
}
