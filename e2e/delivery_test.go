package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const stranger = "somebody@elsewhere.example"

// TestSubmission: both ports take mail of a user, with his address and with a
// tag of it, and Dovecot's LMTP delivers it.
func TestSubmission(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	if err := s.submit(t, ann, annPassword, ann, []string{bob}, message(ann, bob, "from 465", "Hello.")); err != nil {
		t.Errorf("465: %v", err)
	}
	conn, err := s.dial(t, "submission")
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtp.NewClientStartTLS(conn, s.tls(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Auth(sasl.NewPlainClient("", ann, annPassword)); err != nil {
		t.Fatal(err)
	}
	if err := c.SendMail(ann, []string{bob}, strings.NewReader(message(ann, bob, "from 587", "Hello."))); err != nil {
		t.Errorf("587: %v", err)
	}
	s.waitMail(t, bob, bobPassword, "INBOX", "from 465")
	letter := s.waitMail(t, bob, bobPassword, "INBOX", "from 587")
	// Over Dovecot's LMTP, and the world is not told who signed in from where.
	if !strings.Contains(letter, "with LMTP") {
		t.Errorf("the letter did not come by LMTP:\n%s", letter)
	}
	if strings.Contains(letter, "127.0.0.1]") || strings.Contains(letter, "Authenticated sender") {
		t.Errorf("the letter tells where its sender signed in:\n%s", letter)
	}
}

func TestSubaddress(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	local, domain, _ := strings.Cut(user, "@")
	subject := s.deliver(t, stranger, local+"+tag.with+more@"+domain)
	letter := s.waitMail(t, user, password, "INBOX", subject)
	if !strings.Contains(letter, "+tag.with+more@"+domain) {
		t.Errorf("the tag is lost:\n%s", letter)
	}
	// Sieve sees it.
	s.sieve(t, user, password, `require ["envelope", "subaddress", "fileinto", "mailbox"];
if envelope :detail "to" "lists" { fileinto :create "Lists"; }`)
	subject = s.deliver(t, stranger, local+"+lists@"+domain)
	s.waitMail(t, user, password, "Lists", subject)
	if err := s.inbound(t, stranger, []string{"nobody+tag@" + domain}, message(stranger, user, "x", "x")); smtpCode(err) != 550 {
		t.Errorf("a tag of nobody: %v", err)
	}
}

func TestAliasOfSeveral(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	domain := s.domain(t)
	s.mustRun(t, "alias", "add", "team@"+domain, ann, bob)
	subject := s.deliver(t, stranger, "team@"+domain)
	s.waitMail(t, ann, annPassword, "INBOX", subject)
	s.waitMail(t, bob, bobPassword, "INBOX", subject)
	// Who gets an alias's mail may send as it, others may not.
	if err := s.submit(t, ann, annPassword, "team@"+domain, []string{bob}, message(ann, bob, "as team", "x")); err != nil {
		t.Errorf("a target sends as the alias: %v", err)
	}
	eve, evePassword := s.account(t)
	if err := s.submit(t, eve, evePassword, "team@"+domain, []string{bob}, message(eve, bob, "as team", "x")); smtpCode(err) != 553 {
		t.Errorf("somebody else sends as the alias: %v", err)
	}
	// One target less, without a restart.
	s.mustRun(t, "alias", "remove", "team@"+domain, bob)
	subject = s.deliver(t, stranger, "team@"+domain)
	s.waitMail(t, ann, annPassword, "INBOX", subject)
	if n := s.count(t, bob, bobPassword, subject); n != 0 {
		t.Errorf("the removed target got %d letters", n)
	}
}

// TestCatchAll: it gets what is nobody's, never what is somebody's, and its
// owner may send as exactly what he gets.
func TestCatchAll(t *testing.T) {
	t.Parallel()
	s := shared(t)
	owner, password := s.account(t)
	bob, bobPassword := s.account(t)
	domain := s.domain(t)
	annPassword := s.accountNamed(t, "ann@"+domain)
	s.mustRun(t, "alias", "add", "@"+domain, owner)
	s.mustRun(t, "alias", "add", "info@"+domain, bob)
	for _, to := range []struct{ address, user, password string }{
		{"anything@" + domain, owner, password},
		{"anything+tag@" + domain, owner, password},
		{"ann@" + domain, "ann@" + domain, annPassword},
		{"ann+tag@" + domain, "ann@" + domain, annPassword},
		{"info@" + domain, bob, bobPassword},
	} {
		subject := s.deliver(t, stranger, to.address)
		s.waitMail(t, to.user, to.password, "INBOX", subject)
		if n := s.count(t, owner, password, subject); (n != 0) != (to.user == owner) {
			t.Errorf("the catch-all has %d letters to %s", n, to.address)
		}
	}
	s.mustRun(t, "account", "set", "ann@"+domain, "--disable")
	for from, want := range map[string]int{
		"anything@" + domain: 0,
		"info@" + domain:     553,
		"ann@" + domain:      553, // disabled does not make it the catch-all's
		bob:                  553,
		stranger:             553,
	} {
		err := s.submit(t, owner, password, from, []string{owner}, message(from, owner, "as "+from, "x"))
		if smtpCode(err) != want || (want == 0) != (err == nil) {
			t.Errorf("the catch-all's owner sends as %s: %v", from, err)
		}
	}
}

// TestPostmaster: postmaster, abuse and root of every domain, the bare hostname
// among them, reach the configured person from the first minute.
func TestPostmaster(t *testing.T) {
	t.Parallel()
	s := shared(t)
	// The first up showed the password of the postmaster's mailbox.
	password := "pw-" + randomHex(8)
	if r := s.runInput(t, password+"\n", "account", "passwd", s.postmaster(), "--password-stdin"); r.code != 0 {
		t.Fatalf("account passwd: %v", r)
	}
	domain := s.domain(t)
	for _, d := range []string{s.hostname(), domain} {
		for _, local := range []string{"postmaster", "abuse", "root", "PostMaster"} {
			subject := s.deliver(t, stranger, local+"@"+d)
			s.waitMail(t, s.postmaster(), password, "INBOX", subject)
		}
	}
	subject := s.deliver(t, stranger, "postmaster") // RFC 5321, section 4.5.1
	s.waitMail(t, s.postmaster(), password, "INBOX", subject)
}

// TestUnknownIsPermanent: 550 for an address that is nobody's and for a domain
// that is not ours, on all ports where they are not meant to go out.
func TestUnknownIsPermanent(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	for _, to := range []string{"nobody@" + s.hostname(), "x@sub." + s.hostname(), "nobody@example.org"} {
		err := s.inbound(t, stranger, []string{to}, message(stranger, to, "x", "x"))
		if code := smtpCode(err); code != 550 && code != 554 {
			t.Errorf("mail to %s: %v", to, err)
		}
	}
	err := s.submit(t, user, password, user, []string{"nobody@" + s.hostname()}, message(user, user, "x", "x"))
	if smtpCode(err) != 550 {
		t.Errorf("submission to nobody: %v", err)
	}
}

func TestSpecialUseFolders(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	c := s.imap(t, user, password)
	list, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]imap.MailboxAttr{
		"Drafts": imap.MailboxAttrDrafts, "Sent": imap.MailboxAttrSent, "Junk": imap.MailboxAttrJunk,
		"Trash": imap.MailboxAttrTrash, "Archive": imap.MailboxAttrArchive,
	}
	for _, box := range list {
		if attr, ok := want[box.Mailbox]; ok && slices.Contains(box.Attrs, attr) {
			delete(want, box.Mailbox)
		}
		if box.Delim != '/' {
			t.Errorf("delimiter of %s is %q", box.Mailbox, box.Delim)
		}
	}
	if len(want) > 0 {
		t.Errorf("not listed with their use: %v", want)
	}
}

// TestMessageSize: the limit is the same on 25, 465 and 587, announced, and a
// message of just less passes from end to end.
func TestMessageSize(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	const limit = 50 << 20
	for _, key := range []string{"smtp", "submission", "submissions"} {
		d := s.line(t, key)
		d.smtp(t, "")
		lines := d.smtp(t, "EHLO client.example")
		if key == "submission" {
			d.expect(t, "STARTTLS", "220")
			d.startTLS(t, s)
			lines = d.smtp(t, "EHLO client.example")
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return l[4:] == fmt.Sprintf("SIZE %d", limit) }) {
			t.Errorf("%s does not announce SIZE %d: %q", key, limit, lines)
		}
		if key != "smtp" {
			d.expect(t, plain(user, password), "235")
		}
		from := stranger
		if key != "smtp" {
			from = user
		}
		d.expect(t, fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", from, limit+1), "552")
		d.expect(t, fmt.Sprintf("MAIL FROM:<%s> SIZE=%d", from, limit), "250")
	}
	// A client that does not say how much it sends is refused after it.
	big := message(user, user, "too big", strings.Repeat(strings.Repeat("x", 998)+"\n", limit/1000))
	if err := s.submit(t, user, password, user, []string{user}, big+strings.Repeat("x\r\n", 500)); smtpCode(err) != 552 {
		t.Errorf("a message of more than the limit: %v", err)
	}
	// Postfix's count of a long line is a little more than its octets.
	fits := message(user, user, "just right", strings.Repeat(strings.Repeat("x", 98)+"\n", (limit-10000)/100))
	if err := s.submit(t, user, password, user, []string{user}, fits); err != nil {
		t.Errorf("a message of just less than the limit: %v", err)
	}
	s.waitMail(t, user, password, "INBOX", "just right")
}

// TestIDN: a domain is given in its own script, and mail finds it as DNS has it.
func TestIDN(t *testing.T) {
	t.Parallel()
	s := shared(t)
	id := randomHex(4)
	unicode, ascii := "bücher-"+id+".example", "xn--bcher-"+id+"-"
	s.mustRun(t, "domain", "add", unicode)
	list := s.mustRun(t, "domain", "list", "--format", "json")
	start := strings.Index(list, ascii)
	if start < 0 {
		t.Fatalf("no %s… in %s", ascii, list)
	}
	ascii = list[start : start+strings.IndexByte(list[start:], '"')]
	password := s.accountNamed(t, "Leser@"+unicode)
	subject := s.deliver(t, stranger, "leser@"+ascii)
	s.waitMail(t, "leser@"+ascii, password, "INBOX", subject)
	if out := s.mustRun(t, "account", "list"); !strings.Contains(out, unicode) || !strings.Contains(out, ascii) {
		t.Errorf("account list has not both forms:\n%s", out)
	}
	if r := s.run(t, "domain", "add", ascii); r.code != 1 {
		t.Errorf("the same domain again: %v", r)
	}
}

// TestFlush: an administrator who is used to Postfix finds that its commands
// work in the container.
func TestFlush(t *testing.T) {
	t.Parallel()
	s := shared(t)
	if out, code := s.exec(t, "postfix", "postqueue", "-f"); code != 0 || out != "" {
		t.Errorf("postqueue -f: status %d: %s", code, out)
	}
}
