package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"mailstack/e2e/oldhost"
)

// TestMigrateByRsync: an old host moves here as one does it: a look, a first
// copy while people use it, the last copy. Whoever had a password keeps it, and
// mail programs find what they knew: folders, UIDs, flags.
func TestMigrateByRsync(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]oldhost.Options{
		"postfixadmin": {Kind: oldhost.PostfixAdmin, Layout: oldhost.Layout{
			Hashed: true, Subdir: "Maildir", Apart: true, Prefix: "INBOX.",
		}},
		"ispmail":           {Kind: oldhost.ISPmail, Sudo: true, Layout: oldhost.Layout{FS: true}},
		"docker-mailserver": {Kind: oldhost.DockerMailserver},
	} {
		t.Run(name, func(t *testing.T) {
			opts.Spool = moveSpool()
			s, old := testMigrateByRsync(t, opts)
			if opts.Kind == oldhost.DockerMailserver {
				s.moveOn(t, old)
			}
		})
	}
}

func testMigrateByRsync(t *testing.T, opts oldhost.Options) (*Stack, *oldhost.Host) {
	t.Helper()
	old, s := oldHost(t, opts), newSmallStack(t)
	s.up(t, "--no-probe")
	args := moveFrom(old)
	before := s.mustRun(t, "account", "list")
	dry := s.mustRun(t, append(args, "--dry-run")...)
	for _, a := range old.Accounts {
		if !strings.Contains(dry, a.Address) {
			t.Errorf("the dry run does not name %s:\n%s", a.Address, dry)
		}
	}
	if after := s.mustRun(t, "account", "list"); after != before {
		t.Errorf("a dry run changed the accounts:\n%s", after)
	}

	weak := opts.Kind != oldhost.ISPmail
	if weak {
		args = append(args, "--allow-weak-hashes")
	}
	if opts.Kind == oldhost.PostfixAdmin {
		otherUIDLs(t, old)
	}
	bob := old.Account("bob@example.org")
	traffic := old.Traffic(t, bob.Address, "alice@example.org")
	s.mustRun(t, args...)
	if done := traffic.Stop(); done.Flagged+done.Moved+done.Deleted == 0 || done.Refused != nil {
		t.Errorf("what people did meanwhile: %+v", done)
	}
	if err := s.inbound(t, stranger, []string{bob.Address}, message(stranger, bob.Address, "x", "x")); smtpCode(err)/100 != 4 {
		t.Errorf("mail before the last copy: %v, want 4xx", err)
	}
	if err := old.Send(t.Context(), bob.Address, "while it is copied"); err != nil {
		t.Fatal(err)
	}
	old.Drain(t)
	again := s.mustRun(t, args...)
	uidls := uidlsOf(t, old)

	// The last copy is of what Dovecot there says now.
	want := old.AllMailboxes(t)
	if args = append(args, "--freeze-command", old.Freeze); weak {
		s.lastCopy(t, old, want, args...)
	} else {
		s.lastCopyAndReset(t, old, want, again, args...)
	}
	s.expectUIDLs(t, old, uidls)
	exact := old.Account("exact@example.org")
	d, err := s.pop3Login(t, exact.Address, exact.Password)
	if err != nil {
		t.Fatal(err)
	}
	d.expect(t, "STAT", "+OK 488 15003687")
	s.waitMail(t, bob.Address, bob.Password, "INBOX", s.deliver(t, stranger, bob.Address))
	return s, old
}

// moveOn: all of it moves once more, from this stack into another.
func (s *Stack) moveOn(t *testing.T, old *oldhost.Host) {
	t.Helper()
	to := newSmallStack(t)
	to.up(t, "--no-probe")
	name, dir := oldName(t)
	ssh := oldhost.ThisMachine(t, oldhost.Options{Name: name, Dir: dir})
	args := []string{
		"migrate", "--rsync-from", ssh.Alias, "--ssh-config", ssh.Config, "--container", s.container("dovecot"), "--allow-weak-hashes",
	}
	for _, domain := range old.Domains {
		args = append(args, "--only", "@"+domain)
	}
	to.mustRun(t, args...)
	want := map[string][]oldhost.Folder{}
	for _, a := range old.Accounts {
		if !a.Disabled {
			want[a.Address] = s.foldersOf(t, a)
		}
	}
	to.lastCopy(t, old, want, append(args, "--freeze-command", "docker stop "+s.container("postfix")+" "+s.container("dovecot"))...)
}

// lastCopy runs the last copy, which has to open all accounts with what the old
// host said they hold, and returns who needs a new password.
func (s *Stack) lastCopy(t *testing.T, old *oldhost.Host, want map[string][]oldhost.Folder, args ...string) (reset []string) {
	t.Helper()
	r := s.run(t, append(args, "--final", "--verify", "full", "--format", "json")...)
	if r.code != 0 {
		t.Fatalf("the last copy: %v", r)
	}
	var report struct {
		OK        bool
		Mailboxes []struct{ Address string }
		Reset     []string `json:"new_passwords"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || !report.OK || len(report.Mailboxes) != len(old.Accounts) {
		t.Errorf("the report (%v): %.2000s", err, r.stdout)
	}
	if slices.Contains(args, "--allow-weak-hashes") && len(report.Reset) > 0 {
		t.Errorf("new passwords are wanted for %q", report.Reset)
	}
	s.expectMoved(t, old, want)
	return report.Reset
}

// moveFrom is the command line that moves from an old host.
func moveFrom(old *oldhost.Host) []string {
	args := []string{"migrate", "--rsync-from", old.SSH.Alias, "--ssh-config", old.SSH.Config, "--jobs", "2"}
	if old.Sudo {
		args = append(args, "--sudo")
	}
	return args
}

// moveSpool is what mailboxes hold whose owner has done no harm: what our own
// server cannot serve either would be a difference.
func moveSpool() oldhost.Spool {
	s := oldhost.Small()
	s.Hostile = false
	return s
}

// stopOld stops an old host, whether it runs or not.
const stopOld = "service postfix stop; service dovecot stop"

// expectMoved compares what everybody finds here with what the old host said.
func (s *Stack) expectMoved(t *testing.T, old *oldhost.Host, want map[string][]oldhost.Folder) {
	t.Helper()
	for _, a := range old.Accounts {
		if folders, known := want[a.Address]; known {
			s.expectFolders(t, a, folders)
		}
	}
}

// expectFolders compares what an account sees here with what the old host said.
func (s *Stack) expectFolders(t *testing.T, a oldhost.Account, want []oldhost.Folder) {
	t.Helper()
	c := s.imap(t, a.Address, a.Password)
	for _, f := range want {
		data, err := c.Status(f.Name, &imap.StatusOptions{NumMessages: true, NumUnseen: true, UIDNext: true, UIDValidity: true}).Wait()
		if err != nil {
			t.Errorf("%s, folder %q: %v", a.Address, f.Name, err)
			continue
		}
		got := fmt.Sprintf("%d messages, %d unseen, UIDVALIDITY %d, UIDNEXT %d", *data.NumMessages, *data.NumUnseen, data.UIDValidity, data.UIDNext)
		if want := fmt.Sprintf("%d messages, %d unseen, UIDVALIDITY %d, UIDNEXT %d", f.Messages, f.Unseen, f.UIDValidity, f.UIDNext); got != want {
			t.Errorf("%s, folder %q: %s, want %s", a.Address, f.Name, got, want)
		}
	}
}
