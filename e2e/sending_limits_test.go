package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mailstack/stack"
)

// limited is what status says of those who have sent as much as they may.
func (s *Stack) limited(t *testing.T) []stack.Limited {
	t.Helper()
	return decode[struct {
		Limited []stack.Limited `json:"limited"`
	}](t, s.mustRun(t, "status", "--format", "json")).Limited
}

// TestSendingLimits: an account that has sent as much as it may is told so, for now,
// whatever is restarted and under which of its addresses it sends; everybody else,
// behind the same address, sends on, and so does the probe. What its scripts send
// counts for itself. status names it, and unban ends it.
func TestSendingLimits(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	newsletter := "newsletter@" + s.hostname()
	s.set(t, "limits.messages_per_hour", "3")
	s.set(t, "limits.recipients_per_day", "10")
	s.set(t, "limits.unlimited_senders", fmt.Sprintf("[%q]", newsletter))
	s.up(t, "--no-probe")
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	newsletterPassword := s.accountNamed(t, newsletter)
	alias := "sales@" + s.hostname()
	s.mustRun(t, "alias", "add", alias, ann)

	send := func(from, password string, recipients int) error {
		to := []string{bob}
		for i := range recipients - 1 {
			to = append(to, fmt.Sprintf("%s+%d@%s", strings.Split(bob, "@")[0], i, s.hostname()))
		}
		return s.submit(t, from, password, from, to, message(from, bob, "bulk", "x"))
	}
	taken := func(when, from, password string, recipients int) {
		t.Helper()
		if err := send(from, password, recipients); err != nil {
			t.Errorf("%s: mail of %s: %v", when, from, err)
		}
	}
	refused := func(when, from, password string, recipients int, words string) {
		t.Helper()
		err := send(from, password, recipients)
		var answer *smtp.SMTPError
		if !errors.As(err, &answer) || answer.Code != 450 || !strings.Contains(answer.Message, words) {
			t.Errorf("%s: mail of %s to %d recipients: %v, want 450 … %s …", when, from, recipients, err, words)
		}
	}
	const hour = "has sent as much as it may, 3 messages an hour; try again in 6"

	refused("in one message", ann, annPassword, 11, "One message may have 10 recipients a day here, and this has 11: send it in parts")
	for range 3 {
		taken("within the limit", ann, annPassword, 2)
	}
	if all := s.limited(t); len(all) > 0 {
		t.Errorf("before anything is refused there are %+v", all)
	}
	refused("past the limit", ann, annPassword, 1, ann+" "+hour)
	refused("past the limit, in upper case", strings.ToUpper(ann[:1])+ann[1:], annPassword, 1, hour)
	for _, from := range []string{alias, strings.Replace(ann, "@", "+tag@", 1), strings.Replace(alias, "@", "+tag@", 1)} {
		if err := s.submit(t, ann, annPassword, from, []string{bob}, message(from, bob, "bulk", "x")); smtpCode(err) != 450 {
			t.Errorf("past the limit, as %s: %v", from, err)
		}
	}
	docker(t, "restart", s.container("postfix"))
	s.ready(t, "postfix")
	refused("after a restart", ann, annPassword, 1, hour)
	if out, code := s.exec(t, "postfix", stack.ReloadCmd); code != 0 {
		t.Fatal(out)
	}
	refused("after a reload", ann, annPassword, 1, hour)
	for range 5 {
		taken("without a limit", newsletter, newsletterPassword, 3)
	}
	taken("of somebody else", bob, bobPassword, 1)
	s.testAuthorWithoutFilter(t, bob, bobPassword, ann)

	all := s.limited(t)
	if len(all) != 1 || all[0].Account != ann || all[0].Limit != "3 messages an hour" || all[0].Refused < 1 ||
		time.Until(all[0].Until) < 50*time.Minute || time.Until(all[0].Until) > 66*time.Minute {
		t.Errorf("status says %+v", all)
	}
	for _, words := range []string{"over limit   " + ann + " since ", ann + " has sent as much as it may (3 messages an hour)"} {
		if r := s.run(t, "status"); !strings.Contains(r.stdout, words) {
			t.Errorf("status does not say %q: %v", words, r)
		}
	}
	s.healed(t, time.Minute, "limits of an hour") // the probe's messages are more than three
	s.healed(t, time.Minute, "limits of an hour")
	s.testNoticesAreLimited(t, newsletter, newsletterPassword)
	waits := s.testScriptsAreLimited(t, ann, annPassword, newsletter, newsletterPassword)

	s.mustRun(t, "unban", ann)
	if out, code := s.exec(t, "postfix", "postqueue", "-f"); code != 0 {
		t.Fatal(out)
	}
	s.waitMail(t, newsletter, newsletterPassword, "INBOX", waits)
	if all := s.limited(t); slices.ContainsFunc(all, func(l stack.Limited) bool { return l.Account == ann }) {
		t.Errorf("after unban there are %+v", all)
	}
	taken("after unban", ann, annPassword, 1)
	if r := s.run(t, "unban", ann); r.code != 1 || !strings.Contains(r.stderr, "it is not held back") {
		t.Errorf("unban of who is not held back: %v", r)
	}
	s.testSenderLimits(t)
}

// testSenderLimits: what an account has sent too much of from one address holds that
// one up, with any tag, and none of its others; and unban of the account ends it.
func (s *Stack) testSenderLimits(t *testing.T) {
	t.Helper()
	s.set(t, "limits.messages_per_hour", "6")
	s.set(t, "limits.sender_messages_per_hour", "2")
	s.up(t, "--no-probe")
	cid, password := s.account(t)
	alerts, other := "alerts@"+s.hostname(), "other@"+s.hostname()
	s.mustRun(t, "alias", "add", alerts, cid)
	s.mustRun(t, "alias", "add", other, cid)
	send := func(from string) error {
		return s.submit(t, cid, password, from, []string{cid}, message(from, cid, "runs wild", "x"))
	}
	taken := func(senders ...string) {
		t.Helper()
		for _, from := range senders {
			if err := send(from); err != nil {
				t.Errorf("mail from %s: %v", from, err)
			}
		}
	}
	taken(alerts, strings.Replace(alerts, "@", "+tag@", 1))
	for _, from := range []string{alerts, strings.Replace(strings.ToUpper(alerts[:1])+alerts[1:], "@", "+more@", 1)} {
		err := send(from)
		var answer *smtp.SMTPError
		if !errors.As(err, &answer) || answer.Code != 450 || !strings.Contains(answer.Message, cid+" has sent as much as it may, 2 messages an hour as "+alerts+"; try again in 6") {
			t.Errorf("past the limit of the address, as %s: %v", from, err)
		}
	}
	taken(cid, cid, other)
	if all := s.limited(t); len(all) != 1 || all[0].Account != cid || all[0].Limit != "2 messages an hour as "+alerts {
		t.Errorf("status says %+v", all)
	}
	s.mustRun(t, "unban", cid)
	if all := s.limited(t); len(all) > 0 {
		t.Errorf("after unban there are %+v", all)
	}
	taken(alerts)
}

// testScriptsAreLimited: an account that may send nothing itself redirects as much as it
// might send, and what more comes waits, and is neither lost nor sent back; its subject
// is returned.
func (s *Stack) testScriptsAreLimited(t *testing.T, ann, annPassword, friend, friendPassword string) (waits string) {
	t.Helper()
	s.sieve(t, ann, annPassword, `redirect "`+friend+`";`)
	for range 3 {
		s.waitMail(t, friend, friendPassword, "INBOX", s.deliver(t, stranger, ann))
	}
	tagged := strings.Replace(ann, "@", "+tag@", 1)
	waits = s.deliver(t, stranger, tagged)
	waitUntil(t, bounded, waits+" waits", func() (bool, string) {
		delays := s.delays(t)
		return delays[tagged] != "" && len(delays) == 1, fmt.Sprint(delays)
	})
	if n := s.count(t, friend, friendPassword, waits); n != 0 {
		t.Errorf("%d messages were redirected past the limit", n)
	}
	if all := s.limited(t); !slices.ContainsFunc(all, func(l stack.Limited) bool {
		return l.Account == ann && l.Limit == "3 messages an hour by Sieve"
	}) {
		t.Errorf("status says %+v", all)
	}
	return waits
}

// testNoticesAreLimited: notices past the limit are not sent, and what they would be
// about is kept. For scripts of others there is a limit of their own.
func (s *Stack) testNoticesAreLimited(t *testing.T, friend, friendPassword string) {
	t.Helper()
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	notify := func(subject string) string {
		return `require "enotify"; notify :message "` + subject + `" "mailto:` + friend + `";`
	}
	ask := func() {
		t.Helper()
		subject := "ask " + randomHex(4)
		if err := s.submit(t, friend, friendPassword, friend, []string{ann}, message(friend, ann, subject, "x")); err != nil {
			t.Fatal(err)
		}
		s.waitMail(t, ann, annPassword, "INBOX", subject)
	}
	notice, last := "notice "+randomHex(4), "last "+randomHex(4)
	s.sieve(t, ann, annPassword, notify(notice))
	for range 4 {
		ask()
	}
	s.sieve(t, ann, annPassword, `require "vacation"; vacation :subject "`+notice+`" "x";`)
	ask()
	// What comes after says that nothing is under way.
	s.sieve(t, bob, bobPassword, notify(last))
	s.deliver(t, stranger, bob)
	s.waitMail(t, friend, friendPassword, "INBOX", last)
	if n := s.count(t, friend, friendPassword, notice); n != 3 {
		t.Errorf("%d notices were sent, want 3", n)
	}
}

// testAuthorWithoutFilter: no filter is needed for keeping an account from writing in
// another's name.
func (s *Stack) testAuthorWithoutFilter(t *testing.T, user, password, other string) {
	t.Helper()
	err := s.submit(t, user, password, user, []string{other}, message(other, other, "in another's name", "x"))
	var answer *smtp.SMTPError
	if !errors.As(err, &answer) || answer.Code != 550 || !strings.Contains(answer.Message, "From: "+other+" is not an address of "+user) {
		t.Errorf("without a filter, %s writing as %s is answered %v", user, other, err)
	}
}
