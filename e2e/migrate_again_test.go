package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
)

// TestMigrateLateChanges: what changes in accounts and aliases of the old server after
// the last run has read them, and before that server is out of use, is not lost. Where
// its database is stopped with the rest, the run says since when it does not know.
func TestMigrateLateChanges(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: oldhost.Spool{Seed: 1, Messages: 8}}), newSmallStack(t)
	s.up(t, "--no-probe")
	args := append(moveFrom(old), "--allow-weak-hashes")
	s.mustRun(t, args...)
	alice, bob, dave, grace := old.Account("alice@example.org"), old.Account("bob@example.org"), old.Account("dave@example.org"), old.Account("grace@example.net")

	// One goes ahead, without a database to ask.
	r := s.run(t, append(args, "--only", alice.Address, "--final", "--freeze-command", "service mariadb stop")...)
	if r.code != 0 || !strings.Contains(r.stderr, "\n! what has changed in accounts and aliases there since ") {
		t.Errorf("with the database stopped: %v", r)
	}
	s.imap(t, alice.Address, alice.Password)
	old.Exec(t, "service", "mariadb", "start")

	change := "SET @hash = (SELECT password FROM mailbox WHERE username = 'alice@example.org');" +
		"UPDATE mailbox SET password = @hash WHERE username = 'bob@example.org';" +
		"UPDATE mailbox SET quota = 77*1024*1024 WHERE username = 'grace@example.net';" +
		"DELETE FROM mailbox WHERE username = 'dave@example.org'; DELETE FROM alias WHERE address = 'dave@example.org';" +
		"INSERT INTO mailbox (username, password, name, maildir, local_part, domain) VALUES ('late@example.org', @hash, 'Late', 'example.org/late/', 'late', 'example.org');" +
		"INSERT INTO alias (address, goto, domain) VALUES ('late@example.org', 'late@example.org', 'example.org'), ('newcomers@example.org', 'late@example.org', 'example.org');"
	mail := "example.org/late/new"
	freeze := fmt.Sprintf("mariadb -e %q %s && cd %s && mkdir -p %s example.org/late/cur example.org/late/tmp && "+
		"printf 'Subject: early\\n\\nx\\n' > %[4]s/1710000000.M1P1.old && chown -R --reference=example.org example.org/late && %s",
		change, old.Database, old.MailRoot, mail, old.Freeze)
	r = s.run(t, append(args, "--final", "--format", "json", "--freeze-command", freeze)...)
	var report struct {
		OK        bool
		Mailboxes []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); r.code != 0 || err != nil || !report.OK {
		t.Fatalf("the last copy (%v): %v", err, r)
	}
	for _, want := range []string{
		"account bob@example.org (password)", "account grace@example.net (quota)", "account late@example.org (new)", "account dave@example.org (gone)",
		"alias newcomers@example.org",
	} {
		if !strings.Contains(r.stderr, "changed on the old server since this run began: "+want+"\n") {
			t.Errorf("it does not say %q: %s", want, r.stderr)
		}
	}
	s.imap(t, bob.Address, alice.Password)
	if _, err := s.imapLogin(t, bob.Address, bob.Password); err == nil {
		t.Errorf("%s logs in with the password of before", bob.Address)
	}
	s.imap(t, grace.Address, grace.Password)
	var account struct {
		Quota int64 `json:"quota_bytes"`
	}
	if err := json.Unmarshal([]byte(s.mustRun(t, "account", "show", grace.Address, "--format", "json")), &account); err != nil || account.Quota != 77<<20 {
		t.Errorf("grace's quota: %d, %v", account.Quota, err)
	}
	s.waitMail(t, "late@example.org", alice.Password, "INBOX", "early")
	s.waitMail(t, "late@example.org", alice.Password, "INBOX", s.deliver(t, stranger, "newcomers@example.org"))
	if list := s.mustRun(t, "account", "list"); strings.Contains(list, dave.Address) || strings.Contains(list, "moving") {
		t.Errorf("in the end there are\n%s", list)
	}
}
