package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestUnusualAddresses: an account that can be added receives, signs in and
// sends, an alias that can be added receives and can be sent as, and a tag of
// either works: between the command line and the mailbox are SQL queries, maps,
// variables and paths, each with characters of its own.
func TestUnusualAddresses(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	other, otherPassword := s.account(t)
	for _, local := range []string{
		"x.y_z-1", "trailing-", "0", "null", "_", strings.Repeat("l", 64),
		"o'brien", "sales&more", "dollar$user", "star*", "equal=", "what?", "hat^",
		"back`tick", "pipe|", "til~de", "{brace}", "$home", "%{user}", "a#b", "sla/sh", "-dash",
	} {
		t.Run(local, func(t *testing.T) {
			t.Parallel()
			address, password := local+"@"+domain, "pw-"+randomHex(8)
			owner := address
			account := s.runInput(t, password+"\n", "account", "add", "--password-stdin", "--", address)
			if account.code != 0 {
				owner, password = s.account(t)
				if alias := s.run(t, "alias", "add", "--", address, owner); alias.code != 0 {
					if account.code != 2 || alias.code != 2 {
						t.Errorf("neither taken nor refused as usage: account %v, alias %v", account, alias)
					}
					return
				}
			}
			s.waitMail(t, owner, password, "INBOX", s.deliver(t, stranger, address))
			if len(local) <= 50 {
				s.waitMail(t, owner, password, "INBOX", s.deliver(t, stranger, local+"+tag@"+domain))
			}
			if err := s.submit(t, owner, password, address, []string{address}, message(address, address, "to myself", "x")); err != nil {
				t.Errorf("its owner sends as %s: %v", address, err)
			}
			s.waitMail(t, owner, password, "INBOX", "to myself")
			if err := s.submit(t, other, otherPassword, address, []string{other}, message(address, other, "x", "x")); smtpCode(err) != 553 {
				t.Errorf("somebody else sends as %s: %v", address, err)
			}
		})
	}
}

// TestLoginNameCase: a login name is an address, in any case.
func TestLoginNameCase(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	s.expectLogins(t, strings.ToUpper(user), password, true)
	if err := s.submit(t, strings.ToUpper(user), password, strings.ToUpper(user), []string{user}, message(user, user, "in capitals", "x")); err != nil {
		t.Errorf("submission: %v", err)
	}
	s.waitMail(t, user, password, "INBOX", "in capitals")
}

// TestOwnPostmaster: an account or alias of a domain's own takes the place of
// the configured postmaster, and gives it back.
func TestOwnPostmaster(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	ann, annPassword := s.account(t)
	password := s.accountNamed(t, "postmaster@"+domain)
	s.mustRun(t, "alias", "add", "abuse@"+domain, ann)
	s.waitMail(t, "postmaster@"+domain, password, "INBOX", s.deliver(t, stranger, "postmaster@"+domain))
	subject := s.deliver(t, stranger, "abuse@"+domain)
	s.waitMail(t, ann, annPassword, "INBOX", subject)
	s.mustRun(t, "account", "remove", "postmaster@"+domain, "--yes")
	s.mustRun(t, "alias", "remove", "abuse@"+domain)
	for _, local := range []string{"postmaster", "abuse"} {
		subject := s.deliver(t, stranger, local+"@"+domain)
		if n := s.count(t, ann, annPassword, subject); n != 0 {
			t.Errorf("%s@ still reaches its last owner", local)
		}
	}
}

// TestRemovedDomain: what was hosted a moment ago is refused for good.
func TestRemovedDomain(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	s.deliver(t, stranger, "postmaster@"+domain)
	s.mustRun(t, "domain", "remove", domain)
	err := s.inbound(t, stranger, []string{"postmaster@" + domain}, message(stranger, "postmaster@"+domain, "x", "x"))
	if smtpCode(err)/100 != 5 {
		t.Errorf("mail to a removed domain: %v", err)
	}
	// And its addresses are other people's now.
	if err := s.inbound(t, "x@"+domain, []string{s.postmaster()}, message(stranger, s.postmaster(), "x", "x")); err != nil {
		t.Errorf("mail from a domain that is hosted no more: %v", err)
	}
}

// TestAliasChain: an alias of an alias, of a tag, and of oneself.
func TestAliasChain(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	ann, annPassword := s.account(t)
	s.mustRun(t, "alias", "add", "first@"+domain, strings.Replace(ann, "@", "+first@", 1))
	s.mustRun(t, "alias", "add", "second@"+domain, "first@"+domain)
	letter := s.waitMail(t, ann, annPassword, "INBOX", s.deliver(t, stranger, "second@"+domain))
	if !strings.Contains(letter, "+first@") {
		t.Errorf("the tag of the alias's target is lost:\n%s", letter)
	}
	if r := s.run(t, "alias", "add", "first@"+domain, "second@"+domain); r.code != 1 {
		t.Errorf("a circle of aliases: %v", r)
	}
}

// TestBurst: many senders at once to one mailbox, and every message is there
// soon: none waits for minutes because its mailbox was busy.
func TestBurst(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	const senders, each = 8, 10
	subject := "burst " + randomHex(4)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				if err := s.inbound(t, stranger, []string{user}, message(stranger, user, subject, "x")); err != nil {
					t.Errorf("send: %v", err)
				}
			}
		})
	}
	wg.Wait()
	waitUntil(t, 20*time.Second, "all messages of the burst", func() (bool, string) {
		n := s.count(t, user, password, subject)
		return n == senders*each, fmt.Sprint(n)
	})
}
