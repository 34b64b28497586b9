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

// TestRedirect: a redirect keeps the sender, who need not be hosted here.
// A script chooses whom a notification is said to be from, not whom the server
// says it is from.
func TestNotifyHasItsOwnersSender(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ann, annPassword := s.account(t)
	bob, bobPassword := s.account(t)
	s.sieve(t, ann, annPassword, `require ["enotify"]; notify :from "ceo@bank.example" :message "notice" "mailto:`+bob+`";`)
	s.deliver(t, stranger, ann)
	letter := s.waitMail(t, bob, bobPassword, "INBOX", "notice")
	if !strings.Contains(letter, "Return-Path: <"+ann+">") {
		t.Errorf("the notification is\n%s", letter)
	}
}

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
