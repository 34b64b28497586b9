package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailstack/e2e/oldhost"
)

// TestMigrateSourceChanges: an old server that is used although it was said to be
// frozen is found out: the mailboxes are named, and wait for another run.
func TestMigrateSourceChanges(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: oldhost.Spool{Seed: 1, Messages: 8}}), newSmallStack(t)
	s.up(t, "--no-probe")
	args := append(moveFrom(old), "--allow-weak-hashes", "--final", "--freeze-command", "service postfix stop")
	bob, grace := old.Account("bob@example.org"), old.Account("grace@example.net")
	flagged := mailFiles(t, old.Local(grace.Maildir))[0]
	b := s.start(t, func(line string) {
		if !strings.HasPrefix(line, "✓ copy") {
			return
		}
		arrive(t, old, 0)
		name := filepath.Base(flagged)
		base, flags, _ := strings.Cut(name, ":2,")
		to := "F" + strings.ReplaceAll(flags, "F", "")
		if strings.Contains(flags, "F") {
			to = strings.ReplaceAll(flags, "F", "")
		}
		if err := os.Rename(flagged, filepath.Join(filepath.Dir(filepath.Dir(flagged)), "cur", base+":2,"+to)); err != nil {
			t.Error(err)
		}
	}, args...)
	select {
	case <-b.done:
	case <-time.After(3 * time.Minute):
		t.Fatalf("it does not end: %s", b.stderr)
	}
	said := b.stdout.String()
	if code := b.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit status %d\n%s\n%s", code, said, b.stderr)
	}
	for _, want := range []string{bob.Address + ": ✗ INBOX: messages missing here, 24", grace.Address + ": ✗ "} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	// More than once perhaps: a directory may change under the comparison as well.
	named := map[string]bool{}
	for line := range strings.Lines(said) {
		if address, _, found := strings.Cut(line, ": ✗ "); found {
			named[address] = true
		}
	}
	if len(named) != 2 {
		t.Errorf("%d mailboxes are named, want 2:\n%s", len(named), said)
	}
	if all := b.stderr.String(); !strings.Contains(all, "not every mailbox is whole") || !strings.Contains(all, "running the same command again") {
		t.Errorf("it does not say what to do: %s", all)
	}
	if err := s.inbound(t, stranger, []string{bob.Address}, message(stranger, bob.Address, "x", "x")); smtpCode(err)/100 != 4 {
		t.Errorf("mail for who was not moved: %v, want 4xx", err)
	}
	alice := old.Account("alice@example.org")
	s.imap(t, alice.Address, alice.Password) // is moved

	s.mustRun(t, args...)
	if n, want := len(s.placedMail(t, bob)), len(mailFiles(t, old.Local(bob.Maildir))); n != want || n < 24 {
		t.Errorf("%s has %d messages, want %d", bob.Address, n, want)
	}
	s.imap(t, bob.Address, bob.Password)
}

// TestMigrateFullDisk: a disk that is too small is told before anything is copied,
// one that fills up ends the copy with a line that says so; with room again the same
// command goes on, and the old server has lost nothing.
func TestMigrateFullDisk(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: moveSpool()}), newSmallStack(t)
	disk := s.disk("vmail")
	mountTmpfs(t, disk, "size=256m,mode=755")
	s.set(t, "data.vmail", quote(disk))
	s.up(t, "--no-probe")
	leave := func(octets int64) {
		t.Helper()
		mustTool(t, "", "mount", "-o", fmt.Sprint("remount,size=", usedOn(t, disk)+octets), disk)
	}
	args := append(moveFrom(old), "--allow-weak-hashes", "--bwlimit", "4MiB")
	before := oldFiles(t, old)
	leave(6 << 20)
	r := s.run(t, args...)
	if r.code != 1 || !strings.Contains(r.stderr, "free") || !strings.Contains(r.stderr, "→ ") || strings.Contains(r.stderr, "✓ copy") {
		t.Errorf("a disk that is too small: %v", r)
	}
	leave(128 << 20)

	empty := usedOn(t, disk)
	b := s.start(t, func(string) {}, args...)
	waitUntil(t, time.Minute, "mail on the disk", func() (bool, string) {
		return usedOn(t, disk) > empty+2<<20, b.stderr.String()
	})
	leave(1 << 20)
	select {
	case <-b.done:
	case <-time.After(2 * time.Minute):
		t.Fatalf("it does not end: %s", b.stderr)
	}
	said := b.stderr.String()
	if code := b.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit status %d: %s", code, said)
	}
	_, last, _ := strings.Cut(said, "\nmailstack: ")
	if !strings.Contains(last, "No space left on device") || !strings.Contains(last, "make room") || strings.Count(last, "\n") > 2 {
		t.Errorf("it does not say that the disk is full, in one line and what to do:\n%s", said)
	}
	leave(128 << 20)
	if after := oldFiles(t, old); after != before {
		t.Errorf("the mail of the old server is not what it was")
	}
	s.mustRun(t, args...)
	want := old.AllMailboxes(t)
	s.mustRun(t, append(args, "--final", "--freeze-command", old.Freeze)...)
	s.expectMoved(t, old, want)
}

// TestMigrateLeftBehind: mail for an address that is somebody's here already stays
// where it is, and no run says that all is well; without that account one does.
func TestMigrateLeftBehind(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: oldhost.Spool{Seed: 1, Messages: 8}}), newSmallStack(t)
	s.up(t, "--no-probe")
	alice, bob := old.Account("alice@example.org"), old.Account("bob@example.org")
	s.mustRun(t, "domain", "add", "example.org")
	s.mustRun(t, "account", "add", alice.Address, "--generate")
	args := append(moveFrom(old), "--allow-weak-hashes", "--only", alice.Address)
	both := append(args, "--only", bob.Address)
	r := s.run(t, append(both, "--final", "--freeze-command", "service postfix stop")...)
	if r.code != 1 || !strings.Contains(r.stdout, alice.Address+": ✗ its mail was not moved") || !strings.Contains(r.stderr, "not every mailbox is whole") {
		t.Errorf("with an account that is here already: %v", r)
	}
	if mail := s.placedMail(t, alice); len(mail) != 0 {
		t.Errorf("mail came to an account in use: %q", mail)
	}
	s.imap(t, bob.Address, bob.Password)
	s.mustRun(t, "account", "remove", "--yes", alice.Address)
	s.mustRun(t, append(both, "--final", "--freeze-command", "service postfix stop")...)
	s.imap(t, alice.Address, alice.Password)
}

// usedOn is how many octets of a file system are in use.
func usedOn(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}
