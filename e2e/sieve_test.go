package e2e

import (
	"strings"
	"testing"
)

// TestVacation: the notice goes out by Postfix's submit socket and arrives.
func TestVacation(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	subject := "away " + randomHex(4)
	s.sieve(t, ann, annPassword, `require "vacation";
vacation :subject "`+subject+`" "I am at the sea.";`)
	if err := s.submit(t, bob, bobPassword, bob, []string{ann}, message(bob, ann, "are you there", "x")); err != nil {
		t.Fatal(err)
	}
	letter := s.waitMail(t, bob, bobPassword, "INBOX", subject)
	if !strings.Contains(letter, "I am at the sea.") || !strings.Contains(letter, "Auto-Submitted: auto-replied") {
		t.Errorf("the notice is\n%s", letter)
	}
	if !strings.HasPrefix(letter, "Return-Path: <>") && !strings.Contains(letter, "Return-Path: <"+ann+">") {
		t.Errorf("the notice's sender is neither empty nor its owner:\n%s", letter)
	}
	s.waitMail(t, ann, annPassword, "INBOX", "are you there")
}

// TestSieveAuthor: what a script writes is from its owner, or is not sent: whatever it
// says in whose name. Mail that it writes about is kept.
func TestSieveAuthor(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	alias := "ann@" + s.domain(t)
	s.mustRun(t, "alias", "add", alias, ann)
	vacation := func(arguments string) string {
		return `require "vacation"; vacation :days 1 :handle "` + randomHex(4) + `" :subject "SUBJECT" ` + arguments + ` "x";`
	}
	for _, script := range []struct{ name, text, from string }{ // "": not sent
		{"vacation", vacation(""), ann},
		{"vacation as one's alias", vacation(`:from "` + alias + `"`), alias},
		{"vacation to one's alias", vacation(`:addresses "` + alias + `"`), ann},
		{"vacation as another", vacation(`:from "` + bob + `"`), ""},
		{"vacation as elsewhere", vacation(`:from "ceo@bank.example"`), ""},
		{"vacation as postmaster", vacation(`:from "postmaster@` + s.hostname() + `"`), ""},
		{
			"vacation with a header of its own",
			strings.Replace(vacation(`:from "`+bob+`" :mime`), `"x";`, `text:`+"\r\nX-Sieve-Redirected-From: x\r\nContent-Type: text/plain\r\n\r\nx\r\n.\r\n;", 1), "",
		},
		{
			"vacation with a second From",
			strings.Replace(vacation(":mime"), `"x";`, `text:`+"\r\nFrom: "+bob+"\r\nContent-Type: text/plain\r\n\r\nx\r\n.\r\n;", 1), "",
		},
		{"notification", `require "enotify"; notify :message "SUBJECT" "mailto:` + bob + `";`, ann},
		{"notification as one's alias", `require "enotify"; notify :from "` + alias + `" :message "SUBJECT" "mailto:` + bob + `";`, alias},
		{"notification as another", `require "enotify"; notify :from "` + bob + `" :message "SUBJECT" "mailto:` + bob + `";`, ""},
		{"notification as elsewhere", `require "enotify"; notify :from "ceo@bank.example" :message "SUBJECT" "mailto:` + bob + `";`, ""},
	} {
		subject, ask := "made "+randomHex(4), "ask "+randomHex(4)
		// What comes after the one that is looked for says that it is not under way.
		after := "after " + randomHex(4)
		s.sieve(t, ann, annPassword, strings.Replace(script.text, "SUBJECT", subject, 1))
		if err := s.submit(t, bob, bobPassword, bob, []string{ann}, message(bob, ann, ask, "x")); err != nil {
			t.Fatal(err)
		}
		s.waitMail(t, ann, annPassword, "INBOX", ask)
		if script.from == "" {
			s.sieve(t, ann, annPassword, `require "enotify"; notify :message "`+after+`" "mailto:`+bob+`";`)
			s.deliver(t, stranger, ann)
			s.waitMail(t, bob, bobPassword, "INBOX", after)
			if n := s.count(t, bob, bobPassword, subject); n != 0 {
				t.Errorf("%s: sent", script.name)
			}
			continue
		}
		letter := s.waitMail(t, bob, bobPassword, "INBOX", subject)
		sender := ""
		if strings.HasPrefix(script.name, "notification") {
			sender = ann
		}
		if !strings.Contains(letter, "Return-Path: <"+sender+">") || !strings.Contains(letter, "\nFrom: "+script.from) && !strings.Contains(letter, "\nFrom: <"+script.from+">") {
			t.Errorf("%s: from <%s> as %s it should be, and is\n%s", script.name, sender, script.from, letter)
		}
	}
}

// TestRedirect: a redirect keeps the sender, who need not be hosted here.
func TestRedirect(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	s.sieve(t, ann, annPassword, `require "copy"; redirect :copy "`+bob+`";`)
	subject := s.deliver(t, stranger, ann)
	s.waitMail(t, ann, annPassword, "INBOX", subject)
	letter := s.waitMail(t, bob, bobPassword, "INBOX", subject)
	if !strings.Contains(letter, "Return-Path: <"+stranger+">") {
		t.Errorf("the redirected letter is\n%s", letter)
	}
}

// TestReject: the refusal reaches the sender, with the reason.
func TestReject(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	s.sieve(t, ann, annPassword, `require "reject"; reject "Not on a Sunday.";`)
	if err := s.submit(t, bob, bobPassword, bob, []string{ann}, message(bob, ann, "sunday", "x")); err != nil {
		t.Fatal(err)
	}
	letter := s.waitMail(t, bob, bobPassword, "INBOX", "Reject")
	if !strings.Contains(letter, "Not on a Sunday.") {
		t.Errorf("the refusal is\n%s", letter)
	}
	if n := s.count(t, ann, annPassword, "sunday"); n != 0 {
		t.Errorf("%d copies of a rejected letter were kept", n)
	}
}
