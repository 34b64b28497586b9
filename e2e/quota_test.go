package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

// fill delivers to an account until its mailbox is full.
func (s *Stack) fill(t *testing.T, user, password string) {
	t.Helper()
	subject := "filler " + randomHex(4)
	if err := s.inbound(t, stranger, []string{user}, message(stranger, user, subject, strings.Repeat("x\n", 1<<19))); err != nil {
		t.Fatalf("fill mailbox: %v", err)
	}
	s.waitMail(t, user, password, "INBOX", subject)
}

// TestQuotaAtRCPT: who is full is refused at RCPT, for now, from outside and
// from inside alike, and takes mail again when there is room.
func TestQuotaAtRCPT(t *testing.T) {
	t.Parallel()
	s := shared(t)
	full, fullPassword := s.account(t, "1MiB")
	ann, annPassword := s.account(t)
	s.fill(t, full, fullPassword)
	letter := message(stranger, full, "one more", "x")
	if err := s.inbound(t, stranger, []string{full}, letter); smtpCode(err) != 452 {
		t.Errorf("mail from outside to a full mailbox: %v", err)
	}
	if err := s.submit(t, ann, annPassword, ann, []string{full}, letter); smtpCode(err) != 452 {
		t.Errorf("submission to a full mailbox: %v", err)
	}
	if err := s.inbound(t, stranger, []string{strings.Replace(full, "@", "+tag@", 1)}, letter); smtpCode(err) != 452 {
		t.Errorf("mail to a tag of a full mailbox: %v", err)
	}
	// The others of the same letter get it.
	d := s.line(t, "smtp")
	d.smtp(t, "")
	d.smtp(t, "EHLO elsewhere.example")
	d.expect(t, "MAIL FROM:<"+stranger+">", "250")
	d.expect(t, "RCPT TO:<"+full+">", "452")
	d.expect(t, "RCPT TO:<"+ann+">", "250")
	d.expect(t, "DATA", "354")
	d.expect(t, strings.TrimSuffix(message(stranger, ann, "for one of two", "x"), "\r\n")+"\r\n.", "250")
	s.waitMail(t, ann, annPassword, "INBOX", "for one of two")
	// Nor does a mail program put more into it.
	c := s.imap(t, full, fullPassword)
	add := c.Append("Sent", int64(len(letter)), nil)
	if _, err := add.Write([]byte(letter)); err != nil {
		t.Fatal(err)
	}
	if err := add.Close(); err != nil {
		t.Fatal(err)
	}
	var refused *imap.Error
	if _, err := add.Wait(); !errors.As(err, &refused) || refused.Code != imap.ResponseCodeOverQuota {
		t.Errorf("APPEND to a full mailbox: %v", err)
	}
	s.mustRun(t, "account", "set", full, "--quota", "10MiB")
	waitUntil(t, 5*time.Second, "room after a larger quota", func() (bool, string) {
		err := s.inbound(t, stranger, []string{full}, letter)
		return err == nil, fmt.Sprint(err)
	})
	s.waitMail(t, full, fullPassword, "INBOX", "one more")
}

// TestFullMailboxBehindAlias: what an alias hands to a full mailbox is never
// bounced to the sender, who may be forged. With one target the sender's server
// is told at RCPT; among several, each gets it or keeps waiting.
func TestFullMailboxBehindAlias(t *testing.T) {
	t.Parallel()
	s := shared(t)
	full, fullPassword := s.account(t, "1MiB")
	ann, annPassword := s.account(t)
	domain := s.domain(t)
	s.mustRun(t, "alias", "add", "one@"+domain, full)
	s.mustRun(t, "alias", "add", "both@"+domain, full, ann)
	s.fill(t, full, fullPassword)
	if err := s.inbound(t, stranger, []string{"one@" + domain}, message(stranger, full, "x", "x")); smtpCode(err) != 452 {
		t.Errorf("mail to an alias of a full mailbox: %v", err)
	}
	// A hosted sender sees a bounce if there is one.
	bob, bobPassword := s.account(t)
	subject := "to both " + randomHex(4)
	if err := s.submit(t, bob, bobPassword, bob, []string{"both@" + domain}, message(bob, full, subject, "x")); err != nil {
		t.Fatalf("mail to an alias of a full and another mailbox: %v", err)
	}
	s.waitMail(t, ann, annPassword, "INBOX", subject)
	waitUntil(t, 20*time.Second, "the full mailbox's copy delivered or waiting", func() (bool, string) {
		if s.count(t, full, fullPassword, subject) > 0 {
			return true, ""
		}
		queue, code := s.exec(t, "postfix", "postqueue", "-j")
		return code == 0 && strings.Contains(queue, full), queue
	})
	if n := s.count(t, bob, bobPassword, "Undelivered"); n != 0 {
		t.Errorf("%d bounces", n)
	}
}
