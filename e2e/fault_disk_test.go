package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"golang.org/x/sys/unix"
)

// TestMailWaitsForRoom: mail waits in the queue while the disk of the mailboxes is
// all but full, of octets or of inodes, and there is still enough for Dovecot to
// get into trouble with: it would forget that UIDs are taken (room.lua).
func TestMailWaitsForRoom(t *testing.T) {
	t.Parallel()
	s, disk := newStackOnDisk(t)
	ann, password := s.account(t)
	s.waitMail(t, ann, password, "INBOX", s.deliver(t, stranger, ann)) // what LMTP was told is remembered

	for _, full := range []struct {
		of   string
		take func(t *testing.T, disk, dir string)
	}{
		{"inodes", func(t *testing.T, disk, dir string) { leaveFiles(t, disk, dir, 500) }},
		{"bytes", func(t *testing.T, disk, dir string) { leaveBytes(t, disk, dir, 32<<20) }},
	} {
		dir := filepath.Join(disk, "full")
		full.take(t, disk, dir)
		subject := s.deliver(t, stranger, ann)
		waitUntil(t, 20*time.Second, "mail waits for "+full.of, func() (bool, string) {
			if s.count(t, ann, password, subject) > 0 {
				t.Fatalf("it was delivered with hardly any %s left", full.of)
			}
			queue, _ := s.exec(t, "postfix", "postqueue", "-j")
			return strings.Contains(queue, "451 4.3.0"), queue
		})
		if out, code := s.exec(t, "dovecot", "doveadm", "user", "*"); code != 0 || !strings.Contains(out, ann) {
			t.Errorf("accounts with a full disk: status %d: %s", code, out)
		}
		if logs := s.mustRun(t, "logs", "dovecot"); !strings.Contains(logs, full.of+" free, ") {
			t.Errorf("no word of %s in Dovecot's log:\n%s", full.of, logs)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		s.exec(t, "postfix", "postqueue", "-f")
		s.waitMail(t, ann, password, "INBOX", subject)
	}
}

// TestReadersWaitForRoom: with nothing left on the disk of the mailboxes, open
// sessions of mail programs end and new ones are told to come later, as Dovecot would
// go on with an index that forgets (room.lua). Mail can still be sent.
func TestReadersWaitForRoom(t *testing.T) {
	t.Parallel()
	s, disk := newStackOnDisk(t)
	ann, password := s.account(t)
	s.waitMail(t, ann, password, "INBOX", s.deliver(t, stranger, ann))
	local, host, _ := strings.Cut(ann, "@")
	cachePath := filepath.Join(disk, "data", host, local, "Maildir", "dovecot.index.cache")

	for _, full := range []struct {
		of   string
		take func(t *testing.T, disk, dir string)
	}{
		{"inodes", func(t *testing.T, disk, dir string) { leaveFiles(t, disk, dir, 50) }},
		{"bytes", func(t *testing.T, disk, dir string) { leaveBytes(t, disk, dir, 4<<20) }},
	} {
		reader := s.imap(t, ann, password)
		if _, err := reader.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		var cache os.FileInfo
		waitUntil(t, 20*time.Second, "Dovecot remembers something", func() (bool, string) {
			if _, err := reader.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{}}).Collect(); err != nil {
				return false, err.Error()
			}
			var err error
			cache, err = os.Stat(cachePath)
			return err == nil, fmt.Sprint(err)
		})
		dir := filepath.Join(disk, "full")
		full.take(t, disk, dir)
		select {
		case <-reader.Closed():
		case <-time.After(20 * time.Second):
			t.Fatalf("a session goes on with hardly any %s left", full.of)
		}
		var refused *imap.Error
		if _, err := s.imapLogin(t, ann, password); !errors.As(err, &refused) || refused.Code != imap.ResponseCodeUnavailable {
			t.Errorf("IMAP with hardly any %s left: %v, want [UNAVAILABLE]", full.of, err)
		}
		if _, err := s.pop3Login(t, ann, password); err == nil || !strings.Contains(err.Error(), "[SYS/TEMP]") {
			t.Errorf("POP3 with hardly any %s left: %v, want [SYS/TEMP]", full.of, err)
		}
		if _, err := s.smtpLogin(t, ann, password); err != nil {
			t.Errorf("submission with hardly any %s left: %v", full.of, err)
		}
		if logs := s.mustRun(t, "logs", "dovecot"); strings.Count(logs, "no mail program gets in until there is room") == 0 {
			t.Errorf("no word of %s in Dovecot's log:\n%s", full.of, logs)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, 20*time.Second, "its owner gets in again", func() (bool, string) {
			c, err := s.imapLogin(t, ann, password)
			if err != nil {
				return false, err.Error()
			}
			return c.Close() == nil, ""
		})
		s.expectLogins(t, ann, password, true)
		if now, err := os.Stat(cachePath); err == nil && os.SameFile(cache, now) {
			t.Errorf("what Dovecot remembers from before the disk was full of %s is still there", full.of)
		}
	}
}

// newStackOnDisk brings up a stack whose mail has a small disk of its own.
func newStackOnDisk(t *testing.T) (s *Stack, disk string) {
	t.Helper()
	s = newSmallStack(t)
	disk = filepath.Join(s.dir, "mail")
	mountTmpfs(t, disk, "size=256m,nr_inodes=10000,mode=755")
	s.set(t, "data.vmail", quote(disk))
	s.up(t, "--no-probe")
	return s, disk
}

// leaveFiles makes files in a new directory until the disk has room for no more than
// so many.
func leaveFiles(t *testing.T, disk, dir string, files uint64) {
	t.Helper()
	for i := range room(t, disk, dir).Ffree - files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// leaveBytes makes a file in a new directory that leaves so many bytes of the disk.
func leaveBytes(t *testing.T, disk, dir string, bytes int64) {
	t.Helper()
	free := room(t, disk, dir)
	file, err := os.Create(filepath.Join(dir, "large"))
	if err == nil {
		err = errors.Join(unix.Fallocate(int(file.Fd()), 0, 0, int64(free.Bavail)*free.Bsize-bytes), file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// room makes the directory dir and says what the disk has left.
func room(t *testing.T, disk, dir string) (free unix.Statfs_t) {
	t.Helper()
	if err := errors.Join(os.Mkdir(dir, 0o700), unix.Statfs(disk, &free)); err != nil {
		t.Fatal(err)
	}
	return free
}
