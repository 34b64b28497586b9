package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
)

// TestMigrateFollows: what becomes of accounts and aliases on the old server between
// two copies becomes of those that wait here, and of nobody else. Before that, layouts
// that are wrong are refused, and the right one works against the old server's word.
func TestMigrateFollows(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: oldhost.Spool{Seed: 1, Messages: 8}}), newSmallStack(t)
	s.up(t, "--no-probe")
	s.mustRun(t, "domain", "add", "example.org")
	password := s.accountNamed(t, "own@example.org", "50MiB") // nobody's there
	want := old.AllMailboxes(t)
	args := s.refuseLayouts(t, old, append(moveFrom(old), "--allow-weak-hashes"))
	s.mustRun(t, args...)
	s.mustRun(t, "alias", "add", "by-hand@example.org", "bob@example.org")

	dave, grace := old.Account("dave@example.org"), old.Account("grace@example.net")
	changeSQL(t, old, "DELETE FROM mailbox WHERE username = 'dave@example.org'; DELETE FROM alias WHERE address IN ('dave@example.org', 'sales@example.org');"+
		"UPDATE mailbox SET quota = 77*1024*1024 WHERE username = 'grace@example.net';"+
		"INSERT INTO domain (domain, description, transport) VALUES ('empty.example', '', '');"+
		"UPDATE alias SET goto = 'grace@example.net' WHERE address = 'mixed@example.net';")
	r := s.run(t, args...)
	if r.code != 0 {
		t.Fatalf("the second copy: %v", r)
	}
	for _, want := range []string{
		"account dave@example.org is gone on the old server, and removed here, where it waited; the copy of its mail is kept in ",
		"alias sales@example.org -> sales@elsewhere.example is gone on the old server, and removed here",
		"alias sales@example.com -> sales@example.org is gone on the old server, and removed here", // an alias domain's
		"alias mixed@example.net -> grace@elsewhere.example is gone on the old server, and removed here",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("it does not say %q: %s", want, r.stderr)
		}
	}
	if n := strings.Count(r.stderr, "gone on the old server"); n != 5 { // dave@example.com too
		t.Errorf("%d things are said to be gone: %s", n, r.stderr)
	}
	if err := s.inbound(t, stranger, []string{dave.Address}, message(stranger, dave.Address, "x", "x")); smtpCode(err) != 550 {
		t.Errorf("mail for who is gone: %v, want 550", err)
	}
	if mail, err := filepath.Glob(filepath.Join(s.data(), "vmail/data/.removed/*/Maildir/cur/*")); err != nil || len(mail) == 0 {
		t.Errorf("the copy of the mail of who is gone is not kept: %v", err)
	}
	if domains := s.mustRun(t, "domain", "list"); !strings.Contains(domains, "empty.example") {
		t.Errorf("a domain without accounts is not among\n%s", domains)
	}
	s.expectAliases(t, map[string]string{"mixed@example.net": grace.Address, "by-hand@example.org": "bob@example.org", "sales@example.org": ""})

	// A list of accounts that is not what it was is not followed.
	changeSQL(t, old, "CREATE TABLE kept AS SELECT * FROM mailbox; DELETE FROM mailbox WHERE domain = 'example.net';")
	before := s.mustRun(t, "account", "list")
	s.refuseMove(t, []string{"are gone there, and more than", "mailstack account remove"}, args...)
	if after := s.mustRun(t, "account", "list"); after != before {
		t.Errorf("the accounts were\n%s\nand are\n%s", before, after)
	}
	changeSQL(t, old, "REPLACE INTO mailbox SELECT * FROM kept;")

	s.mustRun(t, append(args, "--final", "--freeze-command", old.Freeze)...)
	alice := old.Account("alice@example.org")
	for _, a := range []oldhost.Account{alice, old.Account("bob@example.org"), grace} {
		s.expectFolders(t, a, want[a.Address])
	}
	if _, err := os.Stat(filepath.Join(s.data(), "vmail/data/example.org/alice/.dovecot.sieve")); err != nil {
		t.Errorf("alice's script: %v", err)
	}
	s.imap(t, "own@example.org", password)
	var account struct {
		Quota int64 `json:"quota_bytes"`
	}
	shown := s.mustRun(t, "account", "show", grace.Address, "--format", "json")
	if err := json.Unmarshal([]byte(shown), &account); err != nil || account.Quota != 77<<20 {
		t.Errorf("grace has another quota there: %v, %s", err, shown)
	}
	if list := s.mustRun(t, "account", "list"); strings.Contains(list, dave.Address) || strings.Contains(list, "moving") {
		t.Errorf("in the end there are\n%s", list)
	}
	if left, err := filepath.Glob(filepath.Join(s.data(), "vmail/migrate/from-*")); err != nil || len(left) != 0 {
		t.Errorf("left in the volume: %q, %v", left, err)
	}
	s.leaveBehind(t)
}

// leaveBehind: what a run that was killed after it had opened the accounts has left
// is removed by maintenance.
func (s *Stack) leaveBehind(t *testing.T) {
	t.Helper()
	mirror := filepath.Join(s.data(), "vmail/migrate/from-old.example.org")
	if err := os.MkdirAll(filepath.Join(mirror, "var/vmail"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Its other work may fail where Debian's archive is not to be reached.
	if r := s.run(t, "maintain"); !strings.Contains(r.stdout, "removed what a migration had left") {
		t.Errorf("maintain: %v", r)
	}
	if _, err := os.Lstat(mirror); !os.IsNotExist(err) {
		t.Errorf("%s is there: %v", mirror, err)
	}
}

// changeSQL changes the old host's database.
func changeSQL(t *testing.T, old *oldhost.Host, statements string) {
	t.Helper()
	old.Exec(t, "mariadb", "-e", statements, old.Database)
}

// expectAliases compares where aliases lead; "" is one that is not there.
func (s *Stack) expectAliases(t *testing.T, want map[string]string) {
	t.Helper()
	var list []struct {
		Address string
		Targets []string
	}
	if err := json.Unmarshal([]byte(s.mustRun(t, "alias", "list", "--format", "json")), &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, alias := range list {
		got[alias.Address] = strings.Join(alias.Targets, ", ")
	}
	for alias, targets := range want {
		if got[alias] != targets {
			t.Errorf("alias %s leads to %q, want %q", alias, got[alias], targets)
		}
	}
}
