package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMigrateByIMAPSurvivesKills: a copy by IMAP that is killed in the middle of a folder
// goes on when it is run again, and no message comes twice, not even one that is there
// twice on the old server.
func TestMigrateByIMAPSurvivesKills(t *testing.T) {
	t.Parallel()
	const messages = 3001
	old, s := shared(t), newSmallStack(t)
	s.up(t, "--no-probe")
	login, password := old.account(t)
	old.waitMail(t, login, password, "INBOX", old.deliver(t, stranger, login)) // makes the Maildir
	putMail(t, old, login, messages-1)
	const address = "p@moved.example"
	file := filepath.Join(s.dir, "users.csv")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%s,%q,%s\n", login, password, address), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"migrate", "--imap-from", fmt.Sprintf("imaps://127.0.0.1:%d", old.port("imaps")), "--users", file,
		"--ca-file", old.caFile(t), "--tls-name", old.hostname(),
	}
	inbox := filepath.Join(s.data(), "vmail", "data", "moved.example", "p", "Maildir")
	for _, more := range []int{1, 200, 700} {
		before := len(mailFiles(t, inbox))
		b := s.start(t, func(string) {}, args...)
		waitUntil(t, time.Minute, fmt.Sprintf("%d more messages", more), func() (bool, string) {
			select {
			case <-b.done:
				t.Fatalf("it ended before: %s\n%s", b.stderr, &b.stdout)
			default:
			}
			n := len(mailFiles(t, inbox))
			return n >= before+more, fmt.Sprint(n)
		})
		killProgram(t, nil, b)
		<-b.done
		if n := len(mailFiles(t, inbox)); n >= messages {
			t.Fatalf("it was killed when all %d messages were here: nothing was tried", n)
		} else {
			t.Logf("killed with %d messages here", n)
		}
	}
	s.mustRun(t, args...)
	if n := len(mailFiles(t, inbox)); n != messages {
		t.Errorf("%d messages are here, want %d", n, messages)
	}
	s.mustRun(t, append(args, "--final")...)
	want, got := inventory(t, old, login, password), inventory(t, s, address, password)
	if want != got {
		t.Errorf("there:\n%.3000s\nhere:\n%.3000s", want, got)
	}
}

// putMail puts messages into an account's inbox as a delivery would, every tenth twice.
func putMail(t *testing.T, s *Stack, account string, n int) {
	t.Helper()
	local, domain, _ := strings.Cut(account, "@")
	dir := filepath.Join(s.data(), "vmail", "data", domain, local, "Maildir", "new")
	for i := range n {
		number := i
		if i%10 == 9 {
			number-- // the one before once more
		}
		file := filepath.Join(dir, fmt.Sprintf("17100%05d.M%dP1.old", i, i))
		text := fmt.Sprintf("From: <%s>\nSubject: number %d\nMessage-ID: <%[2]d@old.example>\n\n%[3]s\n", stranger, number, strings.Repeat("text ", 200))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1_700_000_000+int64(number), 0)
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, 5302, 5302); err != nil {
			t.Fatal(err)
		}
	}
}
