package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
)

// refuseLayouts: a layout that would leave mail, folders or UIDs behind is refused in
// one line with what to do, whether somebody says it or the old server itself, and so
// are tables that are not there. Nothing has changed then, and nobody was frozen. It
// returns the command that is right.
func (s *Stack) refuseLayouts(t *testing.T, old *oldhost.Host, args []string) []string {
	t.Helper()
	const sound, frozen = "maildir:/var/vmail/%d/%n", "/run/frozen"
	here, there := s.holds(t), oldFiles(t, old)
	refuse := func(fault, remedy string, more ...string) {
		t.Helper()
		r := s.run(t, append(slices.Concat(args, more), "--final", "--freeze-command", "touch "+frozen)...)
		_, said, found := strings.Cut(r.stderr, fault)
		line, rest, _ := strings.Cut(said, "\n")
		next, _, _ := strings.Cut(rest, "\n")
		if r.code != 1 || !found || !strings.Contains(line+next, remedy) || strings.Count(r.stderr, "✗ ") > 1 {
			t.Errorf("%q: not refused in one line with %q and %q: %v", more, fault, remedy, r)
		}
	}
	refuse("✗ layout       20 accounts have no mail where --layout says, and some where Dovecot says: alice@example.org: /var/vmail/example.org/alice and 19 more",
		"→ correct --layout, or leave it out", "--layout", "maildir:/srv/mail/%d/%n")
	refuse("✗ layout       the folders there are not of LAYOUT=fs, as --layout says: it would leave ",
		"→ --layout with LAYOUT=maildir++", "--layout", sound+":LAYOUT=fs")
	refuse("✗ control      UIDs and subscriptions of 20 accounts are not where --layout says, but where Dovecot says: alice@example.org: /var/vmail/example.org/alice and 19 more",
		"→ correct CONTROL= in --layout", "--layout", sound+":CONTROL=/var/lib/control/%d/%n")
	wrong, right := tableMap(t, "mailaddress"), tableMap(t, "username")
	refuse("the mapping fits no database of the old server: database postfixadmin lacks column mailbox.mailaddress", "hint: correct the file of --map", "--map", wrong)

	old.Exec(t, "sh", "-c", "echo 'mail_location = "+sound+":LAYOUT=fs' >/etc/dovecot/conf.d/99-layout.conf && doveadm reload")
	refuse("✗ layout       the folders there are not of LAYOUT=fs, as Dovecot says: it would leave ", "→ --layout with LAYOUT=maildir++")
	if after := s.holds(t); after != here {
		t.Errorf("here was\n%s\nand is\n%s", here, after)
	}
	if after := oldFiles(t, old); after != there {
		t.Error("the files on the old server are not what they were")
	}
	if old.Exec(t, "sh", "-c", "ls "+frozen+" 2>/dev/null || true") != "" {
		t.Error("the old server was frozen")
	}
	dry := s.mustRun(t, append(slices.Clip(args), "--dry-run", "--map", right, "--layout", sound)...)
	for _, a := range old.Accounts {
		if !strings.Contains(dry, a.Address) {
			t.Errorf("with the right map, the dry run does not name %s:\n%s", a.Address, dry)
		}
	}
	return append(slices.Clip(args), "--layout", sound)
}

// tableMap is a file for --map.
func tableMap(t *testing.T, address string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "map.toml")
	text := "[accounts]\ntable = \"mailbox\"\naddress = \"" + address + "\"\npassword = \"password\"\nmaildir = \"maildir\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// holds is all that a stack has of people and their mail.
func (s *Stack) holds(t *testing.T) string {
	t.Helper()
	return s.people(t) + mustTool(t, "", "find", filepath.Join(s.data(), "vmail")).stdout
}

// oldFiles is every file of mail on an old host.
func oldFiles(t *testing.T, old *oldhost.Host) string {
	t.Helper()
	return old.Exec(t, "sh", "-c", "cd "+old.MailRoot+" && find . -type f -printf '%p %s %T@\n' | sort")
}
