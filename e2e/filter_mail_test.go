package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// unfinished is a message that lacks what every program puts into one, of which
// Rspamd's own scores make more than 5.
const unfinished = "From: x\r\nTo: <y>\r\n\r\nx\r\n"

// What becomes of a message is decided by the filter and by nobody else: by its
// score, and never by what the message says of itself.
func TestFilteredMail(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.upGreen(t)
	t.Run("Junk", s.testJunk)
	t.Run("Forged", s.testForgedVerdicts)
	t.Run("Results", s.testForgedResults)
	t.Run("Greylist", s.testGreylist)
	t.Run("Mark", s.testMark)
	t.Run("Probe", s.testProbeIsLeftAlone)
}

// testJunk: what is marked goes to Junk, from elsewhere and from accounts, and not
// by way of the user's own script, which all other mail goes by.
func (s *Stack) testJunk(t *testing.T) {
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	for name, send := range map[string]func(subject string) error{
		"elsewhere": func(subject string) error {
			return s.inbound(t, stranger, []string{ann}, message(stranger, ann, subject, gtube))
		},
		"an account": func(subject string) error {
			return s.submit(t, bob, bobPassword, bob, []string{ann}, message(bob, ann, subject, gtube))
		},
	} {
		subject := "spam " + randomHex(4)
		if err := send(subject); err != nil {
			t.Fatalf("what everybody calls spam, from %s: %v", name, err)
		}
		if got := s.waitMail(t, ann, annPassword, "Junk", subject); !strings.Contains(got, "\r\nX-Spam: Yes\r\n") {
			t.Errorf("spam from %s is not marked:\n%s", name, got)
		}
		if n := s.count(t, ann, annPassword, subject); n != 0 {
			t.Errorf("spam from %s is in INBOX too", name)
		}
	}
	c := s.imap(t, ann, annPassword)
	defer c.Close()
	if list, err := c.List("", "Junk", nil).Collect(); err != nil || len(list) != 1 || !strings.Contains(fmt.Sprint(list[0].Attrs), `\Junk`) {
		t.Errorf("Junk is listed as %+v (%v)", list, err)
	}

	s.sieve(t, ann, annPassword, `require ["fileinto", "copy"]; redirect :copy "`+bob+`"; fileinto "Archive";`)
	ham := s.deliver(t, stranger, ann)
	spam := "spam " + randomHex(4)
	if err := s.inbound(t, stranger, []string{ann}, message(stranger, ann, spam, gtube)); err != nil {
		t.Fatal(err)
	}
	s.waitMail(t, ann, annPassword, "Junk", spam)
	s.waitMail(t, ann, annPassword, "Archive", ham)
	s.waitMail(t, bob, bobPassword, "INBOX", ham)
	for _, mailbox := range []string{"INBOX", "Junk"} {
		if found, err := s.look(t, bob, bobPassword, mailbox, spam); err != nil || len(found) > 0 {
			t.Errorf("spam was redirected to %s (%v)", mailbox, err)
		}
	}
}

// testForgedVerdicts: no header that comes along puts a message into Junk or keeps
// it out, in whatever form; also while the filter is away.
func (s *Stack) testForgedVerdicts(t *testing.T) {
	user, password := s.account(t)
	headers := []string{
		"X-Spam: Yes", "x-spam: Yes", "X-SPAM:Yes", "X-Spam : Yes", "X-Spam:\r\n Yes", "X-Spam: No",
		"X-Spam: Yes\r\nX-Spam: Yes", "X-Spam-Flag: YES", "X-Spam-Status: No, score=-100", "X-Spam-Level: ****",
		"X-Spam-Score: -10", "X-Spamd-Result: default: False [-9.00 / 15.00]", "X-Spamd-Bar: ----",
	}
	check := func(when string) {
		subject := "ham " + randomHex(4)
		for _, h := range headers {
			if err := s.inbound(t, stranger, []string{user}, h+"\r\n"+message(stranger, user, subject+" "+h[:6], "Hello.")); err != nil {
				t.Fatalf("%s, %q: %v", when, h, err)
			}
		}
		waitUntil(t, 30*time.Second, "ham with forged headers in INBOX "+when, func() (bool, string) {
			found, err := s.look(t, user, password, "INBOX", subject)
			for _, m := range found {
				header, _, _ := strings.Cut(m, "\r\n\r\n")
				if strings.Contains(strings.ToLower(header), "\nx-spam") {
					t.Fatalf("%s:\n%s", when, m)
				}
			}
			return len(found) == len(headers), fmt.Sprint(len(found), " of ", len(headers), " ", err)
		})
	}
	check("with the filter")
	subject := "spam " + randomHex(4)
	if err := s.inbound(t, stranger, []string{user}, "X-Spam: No\r\nX-Spam-Status: No\r\n"+message(stranger, user, subject, gtube)); err != nil {
		t.Fatal(err)
	}
	if got := s.waitMail(t, user, password, "Junk", subject); strings.Count(got, "X-Spam") != 1 {
		t.Errorf("spam with forged headers is\n%s", got)
	}

	// What is attached stays as it was.
	subject = "attached " + randomHex(4)
	attached := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n" + strings.Replace(message(stranger, user, subject, ""), "\r\n\r\n",
		"\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nX-Spam: Yes\r\nAuthentication-Results: a.example; spf=pass\r\nSubject: x\r\n\r\nx\r\n--x--\r\n", 1)
	if err := s.inbound(t, stranger, []string{user}, attached); err != nil {
		t.Fatal(err)
	}
	if got := s.waitMail(t, user, password, "INBOX", subject); !strings.Contains(got, "X-Spam: Yes") || !strings.Contains(got, "a.example") {
		t.Errorf("what is attached was changed:\n%s", got)
	}

	s.set(t, "filter.when_down", quote("accept"))
	s.upGreen(t)
	docker(t, "stop", s.container("filter"))
	check("without the filter")
	s.testNoResults(t, "while the filter is away")
	docker(t, "start", s.container("filter"))
	s.ready(t, "filter")
}

// forgedResults are header fields with what others say that we have found out about a
// sender, in the forms in which mail programs read them.
func (s *Stack) forgedResults() []string {
	name := s.hostname()
	return []string{
		"Authentication-Results: " + name + "; dmarc=pass header.from=bank.example",
		"AUTHENTICATION-results:" + strings.ToUpper(name) + "; dmarc=pass header.from=bank.example",
		"Authentication-Results : " + name + "; dmarc=pass header.from=bank.example",
		"Authentication-Results:\r\n\t" + name + "\r\n\t; dmarc=pass\r\n header.from=bank.example",
		"Authentication-Results: (a (nested) comment)\r\n " + name + " (another) 1; dmarc=pass header.from=bank.example",
		"Authentication-Results: \"" + name + "\"; dmarc=pass header.from=bank.example",
		"Authentication-Results: elsewhere.example; dmarc=pass header.from=bank.example\r\nSubject: 1\r\n" +
			"Authentication-Results: " + name + "; dmarc=pass header.from=bank.example\r\nAuthentication-Results: " + name + "; spf=pass smtp.mailfrom=bank.example",
	}
}

// results counts the fields with results in the header of a message. The seal (ARC) has
// a copy under another name.
func results(letter string) (header string, n int) {
	header, _, _ = strings.Cut(letter, "\r\n\r\n")
	return header, strings.Count(strings.ToLower("\r\n"+header), "\r\nauthentication-results")
}

// testForgedResults: what is found out about a sender is said once, in our name, and
// what others say there is not in the message.
func (s *Stack) testForgedResults(t *testing.T) {
	user, password := s.account(t)
	for i, forged := range s.forgedResults() {
		subject := fmt.Sprintf("forged %d %s", i, randomHex(4))
		if err := s.inbound(t, stranger, []string{user}, forged+"\r\n"+message(stranger, user, subject, "Hello.")); err != nil {
			t.Fatal(err)
		}
		header, n := results(s.waitMail(t, user, password, "INBOX", subject))
		if n != 1 || strings.Contains(header, "bank.example") ||
			!strings.Contains(header, "Authentication-Results: "+s.hostname()+";") || !strings.Contains(header, "spf=") {
			t.Errorf("with %q the header is\n%s", forged, header)
		}
	}
}

// testNoResults: where nobody finds out anything about a sender, nobody says so either.
func (s *Stack) testNoResults(t *testing.T, when string) {
	t.Helper()
	user, password := s.account(t)
	for i, forged := range s.forgedResults() {
		subject := fmt.Sprintf("forged %d %s", i, randomHex(4))
		if err := s.inbound(t, stranger, []string{user}, forged+"\r\n"+message(stranger, user, subject, "Hello.")); err != nil {
			t.Fatalf("%s, with %q: %v", when, forged, err)
		}
		if header, n := results(s.waitMail(t, user, password, "INBOX", subject)); n != 0 {
			t.Errorf("%s, with %q, the header is\n%s", when, forged, header)
		}
	}
}

// thresholds sets the scores from which on something is done; no mail is refused.
func (s *Stack) thresholds(t *testing.T, greylist, mark int) {
	t.Helper()
	s.set(t, "filter.greylist", fmt.Sprint(greylist))
	s.set(t, "filter.mark", fmt.Sprint(mark))
	s.set(t, "filter.reject", "0")
	s.upGreen(t)
}

// testGreylist: a message with the score for it is put off for 5 minutes, once, and
// what comes then is taken as it is.
func (s *Stack) testGreylist(t *testing.T) {
	s.thresholds(t, 1, 0)
	user, password := s.account(t)
	subject := "put off " + randomHex(4)
	try := func() error {
		return s.inbound(t, stranger, []string{user}, "Subject: "+subject+"\r\n"+unfinished)
	}
	for _, when := range []string{"the first try", "a try right after it"} {
		if err := try(); smtpCode(err)/100 != 4 {
			t.Errorf("%s is answered %v", when, err)
		}
	}
	keys := strings.Fields(s.valkey(t, "KEYS", "rg*"))
	if len(keys) == 0 {
		t.Fatal("nothing is known of the tries")
	}
	begin := time.Now().Add(-5 * time.Minute).Unix()
	for _, key := range keys {
		var tried int64
		if _, err := fmt.Sscan(s.valkey(t, "GET", key), &tried); err != nil || tried < begin || tried > time.Now().Unix() {
			t.Fatalf("%s is no time of a moment ago: %d (%v)", key, tried, err)
		}
		if got := s.valkey(t, "SET", key, fmt.Sprint(tried-5*60), "KEEPTTL"); got != "OK" {
			t.Fatalf("%s is not put back: %s", key, got)
		}
	}
	if err := try(); err != nil {
		t.Errorf("the try after 5 minutes is answered %v", err)
	}
	if got := s.waitMail(t, user, password, "INBOX", subject); strings.Contains(got, "X-Spam") {
		t.Errorf("what was put off is marked:\n%s", got)
	}
	if n := s.count(t, user, password, subject); n != 1 {
		t.Errorf("what was put off is there %d times", n)
	}
}

// testMark: a message with the score for it goes to Junk, and with less to INBOX.
func (s *Stack) testMark(t *testing.T) {
	user, password := s.account(t)
	for _, test := range []struct {
		mark    int
		mailbox string
	}{{100, "INBOX"}, {1, "Junk"}} {
		s.thresholds(t, 0, test.mark)
		subject := "marked " + randomHex(4)
		if err := s.inbound(t, stranger, []string{user}, "Subject: "+subject+"\r\n"+unfinished); err != nil {
			t.Fatalf("with mark = %d: %v", test.mark, err)
		}
		mailbox, letter := s.waitFiled(t, user, password, subject)
		if mailbox != test.mailbox || strings.Contains(letter, "\r\nX-Spam: Yes\r\n") != (test.mailbox == "Junk") {
			t.Errorf("with mark = %d it is in %s:\n%s", test.mark, mailbox, letter)
		}
	}
}

// testProbeIsLeftAlone: whatever the thresholds, the probe's mail arrives at once,
// and nobody else's does for being sent to the probe as well.
func (s *Stack) testProbeIsLeftAlone(t *testing.T) {
	for _, key := range []string{"mark", "greylist", "reject"} {
		s.set(t, "filter."+key, "1")
	}
	s.upGreen(t)
	user, _ := s.account(t)
	if err := s.inbound(t, stranger, []string{user}, unfinished); smtpCode(err)/100 != 5 {
		t.Errorf("a message with a score above the threshold: %v", err)
	}
	probe := "mailstack-probe+" + randomHex(8) + "@" + s.hostname()
	for _, test := range []struct {
		what, action string
		to           []string
	}{
		{"the probe's mail", "no action", []string{probe}},
		{"mail to somebody else as well", "reject", []string{probe, user}},
		{"mail to another domain", "reject", []string{"mailstack-probe+x@elsewhere.example"}},
		{"mail to a longer name", "reject", []string{"mailstack-prober@" + s.hostname()}},
	} {
		if got := s.judged(t, unfinished, "127.0.0.1", "", test.to...); !strings.Contains(got, "Action: "+test.action+"\n") {
			t.Errorf("%s is judged\n%s", test.what, got)
		}
	}
}

// judged is what Rspamd says of a message that comes from an address, by the socket
// that only its own container has.
func (s *Stack) judged(t *testing.T, message, ip, from string, to ...string) string {
	t.Helper()
	args := []string{"exec", "-i", s.container("filter"), "rspamc", "-h", "/run/rspamd/controller", "-i", ip, "-F", from}
	for _, rcpt := range to {
		args = append(args, "-r", rcpt)
	}
	r := programReading(t, strings.NewReader(message), "docker", append(args, "symbols")...)
	if r.code != 0 {
		t.Fatalf("rspamc: %v", r)
	}
	return r.stdout
}
