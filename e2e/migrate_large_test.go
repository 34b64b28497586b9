package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
)

// TestMigrateLarge: a whole move with many messages in a folder (30,000 with -long), a
// large one (40 MB), one without an octet, and a mailbox of somebody who had a shell
// there and bad intentions: all that Dovecot can serve is open in the end with what it
// held there, and nothing has come out of a place where it was not.
func TestMigrateLarge(t *testing.T) {
	t.Parallel()
	spool := oldhost.Spool{Seed: 1, Messages: 8, Many: 1000, HugeBytes: 4_000_000, Hostile: true}
	if *long {
		spool.Many, spool.HugeBytes = oldhost.Large().Many, oldhost.Large().HugeBytes
	}
	old := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: spool})
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	args := append(moveFrom(old), "--allow-weak-hashes", "--format", "json")
	s.run(t, args...) // what the hostile mailbox holds need not be all the same
	want := old.AllMailboxes(t)
	r := s.run(t, append(args, "--final", "--freeze-command", old.Freeze)...)
	var report struct {
		Mailboxes []struct {
			Address, Problem string
			Differences      []struct{ Detail string }
			Login            []string
			Notes            []string
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Mailboxes) != len(old.Accounts) {
		t.Fatalf("the last copy (%v): %v", err, r)
	}
	const hostile = "mallory@example.net"
	for _, m := range report.Mailboxes {
		whole := m.Problem == "" && len(m.Differences) == 0 && len(m.Login) == 0
		if !whole && m.Address != hostile {
			t.Errorf("%s: %s %v %v", m.Address, m.Problem, m.Differences, m.Login)
		}
		if m.Address == hostile && len(m.Notes) == 0 {
			t.Error("nothing is said of what was left out of the hostile mailbox")
		}
		if m.Address == hostile && !strings.Contains(fmt.Sprint(m.Differences), "state another size") {
			t.Errorf("nothing is said of the messages in it that Dovecot cannot show: %v", m.Differences)
		}
		if m.Address == hostile {
			t.Logf("%s: whole %v, %q, %v, %q", m.Address, whole, m.Problem, m.Differences, m.Login)
		}
	}
	for _, f := range want["many@example.net"] {
		if f.Name == "Archive/2019" && f.Messages != spool.Many {
			t.Errorf("the old host has %d messages in %s", f.Messages, f.Name)
		}
	}
	s.expectMoved(t, old, want)
	s.expectNothingEscaped(t, spool.HugeBytes)
}

// expectNothingEscaped: the mail store holds directories and files of its own and
// nothing else, and no word of a file that is not mail.
func (s *Stack) expectNothingEscaped(t *testing.T, hugeBytes int64) {
	t.Helper()
	store := filepath.Join(s.data(), "vmail", "data")
	empty, huge := 0, 0
	err := filepath.WalkDir(store, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if strings.Contains(p, "/alice/Maildir/cur/") && info.Size() == 0 {
			empty++
		}
		if info.Size() > hugeBytes*9/10 { // it has more with CRLF
			huge++
		}
		switch target, _ := os.Readlink(p); {
		case d.Type()&fs.ModeSymlink != 0 && !(d.Name() == ".dovecot.sieve" && strings.HasPrefix(target, "sieve/")):
			t.Errorf("%s leads to %s", p, target)
		case d.Type()&(fs.ModeType&^fs.ModeSymlink) != 0:
			t.Errorf("%s is no file but %v", p, d.Type())
		case strings.Contains(p, "oldhost-owned") && !strings.Contains(p, "touch oldhost-owned"):
			t.Errorf("a name was run: %s", p)
		case strings.Contains(p, "/mallory/") && d.Type().IsRegular():
			if text, err := os.ReadFile(p); err != nil || strings.Contains(string(text), "root:") || strings.Contains(string(text), "ssh-ed25519") {
				t.Errorf("%s holds what is no mail (%v)", p, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if empty != 1 || huge != 1 {
		t.Errorf("alice has %d messages without an octet, and there are %d of %d; want one each", empty, huge, hugeBytes)
	}
}
