package e2e

import (
	"errors"
	"strings"
	"testing"

	"mailstack/accounts"
	"mailstack/stack"

	"github.com/emersion/go-imap/v2"
)

// TestAccountBeingMoved: while an account is brought over from another host, its
// mail is deferred by every way, behind an alias too; its owner is asked to come
// back later and never told that the password is wrong; and the password of the
// move opens it. Afterwards everything that waited is there.
func TestAccountBeingMoved(t *testing.T) {
	t.Parallel()
	s := shared(t)
	sender, senderPassword := s.account(t)
	user := "moved@" + s.domain(t)
	alias, pair := "alias-of-"+user, "pair-of-"+user
	const password = "as it was on the old host"
	hash, err := accounts.HashPassword(accounts.NewSecret(password))
	if err != nil {
		t.Fatal(err)
	}
	db := s.database(t)
	address, err := accounts.ParseAccount(user)
	if err != nil {
		t.Fatal(err)
	}
	move := accounts.NewMove()
	if _, err := db.BeginMove(t.Context(), move, accounts.NewAccount{Address: address, Hash: hash}); err != nil {
		t.Fatal(err)
	}
	s.mustRun(t, "alias", "add", alias, user)
	s.mustRun(t, "alias", "add", pair, user, sender)
	if list := s.mustRun(t, "account", "list"); !strings.Contains(list, "being moved here") {
		t.Errorf("account list does not say that %s is being moved:\n%s", user, list)
	}

	for _, to := range []string{user, alias} {
		if err := s.inbound(t, stranger, []string{to}, message(stranger, to, "x", "x")); smtpCode(err)/100 != 4 {
			t.Errorf("inbound mail to %s: %v, want 4xx", to, err)
		}
		if err := s.submit(t, sender, senderPassword, sender, []string{to}, message(sender, to, "x", "x")); smtpCode(err)/100 != 4 {
			t.Errorf("submitted mail to %s: %v, want 4xx", to, err)
		}
	}
	// Of two targets one can have it now, and the other gets it later.
	subject := s.deliver(t, stranger, pair)
	s.waitMail(t, sender, senderPassword, "INBOX", subject)

	var refused *imap.Error
	if _, err := s.imapLogin(t, user, password); !errors.As(err, &refused) || refused.Code != imap.ResponseCodeUnavailable {
		t.Errorf("its owner logs in by IMAP: %v, want [UNAVAILABLE]", err)
	}
	if _, err := s.pop3Login(t, user, password); err == nil || !strings.Contains(err.Error(), "[SYS/TEMP]") {
		t.Errorf("its owner logs in by POP3: %v, want [SYS/TEMP]", err)
	}
	if _, err := s.smtpLogin(t, user, password); smtpCode(err) != 454 {
		t.Errorf("its owner logs in by SMTP: %v, want 454", err)
	}
	s.imap(t, user, move.Password().Reveal())

	if err := db.EndMove(t.Context(), []accounts.Address{address}); err != nil {
		t.Fatal(err)
	}
	s.mustRun(t, "account", "set", user, "--quota", "1GiB") // it finishes what is pending
	s.expectLogins(t, user, password, true)
	s.expectLogins(t, user, move.Password().Reveal(), false)
	s.waitMail(t, user, password, "INBOX", subject)
	s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, alias))
}

// database opens the stack's account database.
func (s *Stack) database(t *testing.T) *accounts.DB {
	t.Helper()
	db, err := accounts.Open(t.Context(), accounts.Options{
		Socket:   s.layout().Socket("mysql", "mysqld.sock"),
		Password: accounts.NewSecret(s.secret(t, stack.AdminSecret)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestWeakHash: a weak hash that came along on purpose opens the account once,
// and is a strong one from then on.
func TestWeakHash(t *testing.T) {
	t.Parallel()
	s := shared(t)
	db := s.database(t)
	domain := s.domain(t)
	const password = "an old password"
	for scheme, hash := range map[string]string{
		"MD5-CRYPT": "{MD5-CRYPT}$1$abcdefgh$uRS1wqFRVx9khzc4JdqP0.",
		"PLAIN-MD5": "{PLAIN-MD5}bff12d94a40e5f379eaa2c6c6a1f8a51",
	} {
		address, err := accounts.ParseAccount(strings.ToLower(scheme) + "@" + domain)
		if err != nil {
			t.Fatal(err)
		}
		n := accounts.NewAccount{Address: address, Hash: accounts.NewSecret(hash)}
		if err := db.AddAccount(t.Context(), n); !errors.Is(err, accounts.ErrInvalid) {
			t.Errorf("%s by accident: %v", scheme, err)
		}
		n.AllowWeak = true
		if err := db.AddAccount(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		user := address.String()
		s.expectLogins(t, user, "not the password", false)
		if got := s.scheme(t, db, address); got != scheme {
			t.Errorf("after a wrong password the scheme is %s, want %s", got, scheme)
		}
		s.imap(t, user, password)
		if got := s.scheme(t, db, address); got != "SHA512-CRYPT" {
			t.Errorf("after a login the scheme is %s", got)
		}
		s.mustRun(t, "account", "set", user, "--quota", "1GiB") // forgets what is cached
		s.expectLogins(t, user, password, true)
		s.expectLogins(t, user, "not the password", false)
	}
}

func (s *Stack) scheme(t *testing.T, db *accounts.DB, address accounts.Address) string {
	t.Helper()
	detail, err := db.ShowAccount(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return detail.Scheme
}
