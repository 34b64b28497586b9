package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
	"mailstack/stack"
)

// TestMigrateLimited: a copy with --bwlimit takes at least as long as what it copies does
// at that rate, for all connections together. The last copy removes no more than it may
// (--max-delete). And it ends with the probe: one that is red is said in a line, and is
// no success, although all accounts are open.
func TestMigrateLimited(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: moveSpool()}), newSmallStack(t)
	s.up(t, "--no-probe")
	args := append(moveFrom(old), "--allow-weak-hashes")
	s.refuseTarget(t, old, `sed -i -E 's/("stack[^"]*": *")[^"]*/\1another/'`, "is not volume vmail of this stack", args)
	const limit = 2 << 20
	var report struct {
		Copied struct{ Messages, Bytes int64 }
		Phases []struct {
			Phase   string
			Seconds float64
		}
	}
	if err := json.Unmarshal([]byte(s.mustRun(t, append(args, "--bwlimit", "2MiB", "--format", "json")...)), &report); err != nil {
		t.Fatal(err)
	}
	took := 0.0
	for _, p := range report.Phases {
		if p.Phase == "copy" {
			took = p.Seconds
		}
	}
	// rsync lets a tenth of a second's worth pass before it begins to wait.
	if least := float64(report.Copied.Bytes) / limit * 0.9; report.Copied.Bytes < 8*limit || took < least {
		t.Errorf("%d octets took %.1f s, want at least %.1f s", report.Copied.Bytes, took, least)
	}

	args = s.losing(t, old, 150, args)
	s.set(t, "probe.critical", `["disk=100:"]`)
	r := s.run(t, args...)
	const red = "the accounts are moved and open, but the probe is red, see above"
	if r.code != 1 || !strings.Contains(r.stderr, "\nmailstack: "+red+"\n") || !strings.Contains(r.stderr, "✗ disk") {
		t.Errorf("with a probe that is red: %v", r)
	}
	bob := old.Account("bob@example.org")
	s.imap(t, bob.Address, bob.Password)
	s.expectLess(t, old, 150)
}

// losing is a last copy from an old host on which more messages are gone than people
// delete: their mailbox is left as it is, and goes on waiting, while others are opened.
// It returns the command that allows it.
func (s *Stack) losing(t *testing.T, old *oldhost.Host, lost int, args []string) []string {
	t.Helper()
	exact, alice := old.Account("exact@example.org"), old.Account("alice@example.org")
	before := s.placedMail(t, exact)
	old.Exec(t, "doveadm", "expunge", "-u", exact.Address, "mailbox", "INBOX", fmt.Sprintf("1:%d", lost))
	args = append(slices.Clip(args), "--final", "--freeze-command", old.Freeze)
	r := s.run(t, args...)
	allow := fmt.Sprintf("--max-delete %d", lost)
	want := fmt.Sprintf("%s: ✗ %d messages that were copied before are gone from %s on the old server, more than 100: nothing was changed here; "+
		"look there; if they were deleted, run it again with %s\n", exact.Address, lost, exact.Maildir, allow)
	if r.code != 1 || !strings.Contains(r.stdout, want) || strings.Count(r.stdout, ": ✗ ") != 1 || !strings.Contains(r.stderr, "not every mailbox is whole") {
		t.Errorf("with %d messages gone it does not say %q: %v", lost, want, r)
	}
	s.expectWaiting(t, exact, before)
	s.imap(t, alice.Address, alice.Password)

	args = append(slices.Clip(args), strings.Fields(allow)...)
	s.refuseTarget(t, old, "rm", "carries no mark", args)
	s.expectWaiting(t, exact, before)
	return args
}

// expectWaiting: an account still has the messages that it had here, and gets its mail
// later.
func (s *Stack) expectWaiting(t *testing.T, a oldhost.Account, messages []string) {
	t.Helper()
	if now := s.placedMail(t, a); !slices.Equal(now, messages) {
		t.Errorf("%s had %d messages and has %d", a.Address, len(messages), len(now))
	}
	if err := s.inbound(t, stranger, []string{a.Address}, message(stranger, a.Address, "x", "x")); smtpCode(err)/100 != 4 {
		t.Errorf("mail for who was not moved: %v, want 4xx", err)
	}
	if _, err := s.imapLogin(t, a.Address, a.Password); err == nil {
		t.Errorf("%s logs in before the end of the move", a.Address)
	}
}

// expectLess: what the command allowed is gone here too, and the rest is there.
func (s *Stack) expectLess(t *testing.T, old *oldhost.Host, lost int) {
	t.Helper()
	exact := old.Account("exact@example.org")
	left := len(mailFiles(t, old.Local(exact.Maildir)))
	if left != 488-lost || len(s.placedMail(t, exact)) != left {
		t.Errorf("%s has %d messages there and %d here", exact.Address, left, len(s.placedMail(t, exact)))
	}
	d, err := s.pop3Login(t, exact.Address, exact.Password)
	if err != nil {
		t.Fatal(err)
	}
	d.expect(t, "STAT", fmt.Sprintf("+OK %d ", left))
	s.waitMail(t, exact.Address, exact.Password, "INBOX", s.deliver(t, stranger, exact.Address))
}

// refuseTarget: nothing is copied into a mail volume, or removed from one, whose mark
// is not this stack's, and nothing else has begun. spoil is a command that spoils it.
func (s *Stack) refuseTarget(t *testing.T, old *oldhost.Host, spoil, words string, args []string) {
	t.Helper()
	mark := filepath.Join(s.data(), "vmail", stack.MarkName)
	kept := filepath.Join(t.TempDir(), "mark")
	mustTool(t, "", "cp", "-a", mark, kept)
	mustTool(t, "", "sh", "-c", spoil+` "$1"`, "sh", mark)
	before := s.people(t)
	r := s.run(t, args...)
	if r.code != 1 || !strings.Contains(r.stderr, words) || !strings.Contains(r.stderr, "hint: nothing was changed; mount its disk here") ||
		strings.Contains(r.stderr, "on "+old.SSH.Alias+":") {
		t.Errorf("with a mail volume that %s: %v", words, r)
	}
	if after := s.people(t); after != before {
		t.Errorf("there were\n%s\nand are\n%s", before, after)
	}
	mustTool(t, "", "cp", "-a", kept, mark)
}

// people are all domains, accounts and aliases.
func (s *Stack) people(t *testing.T) string {
	t.Helper()
	return s.mustRun(t, "domain", "list") + s.mustRun(t, "account", "list") + s.mustRun(t, "alias", "list")
}
