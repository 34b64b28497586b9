package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// TestMigrateByIMAP: mailboxes of another server that can only be logged in to.
func TestMigrateByIMAP(t *testing.T) {
	t.Parallel()
	old, s := shared(t), newStack(t, "")
	s.up(t, "--no-probe")
	type person struct{ login, password, address string }
	people := make([]person, 3)
	users := "# who comes along\n"
	for i := range people {
		login, password := old.account(t)
		people[i] = person{login, password, fmt.Sprintf("p%d@moved.example", i)}
		users += fmt.Sprintf("%s,%q,%s\n", login, password, people[i].address)
	}
	fill(t, old, people[0].login, people[0].password)
	old.deliver(t, stranger, people[1].login)
	file := filepath.Join(s.dir, "users.csv")
	if err := os.WriteFile(file, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"migrate", "--imap-from", fmt.Sprintf("imaps://127.0.0.1:%d", old.port("imaps")), "--users", file,
		"--ca-file", old.caFile(t),
	}

	// The certificate is for the old server's name, which is not 127.0.0.1.
	if r := s.run(t, args...); r.code != 1 || !strings.Contains(r.stderr, "--tls-name") {
		t.Errorf("with a name that the certificate has not: %v", r)
	}
	args = append(args, "--tls-name", old.hostname())

	before := s.mustRun(t, "account", "list")
	s.mustRun(t, append(args, "--dry-run")...)
	if after := s.mustRun(t, "account", "list"); after != before {
		t.Errorf("a dry run changed the accounts:\n%s", after)
	}

	s.mustRun(t, args...)
	keys := s.signingKeys(t, "moved.example")
	signing, err := filepath.Glob(filepath.Join(s.layout().RunDir("filter", "signing"), "moved.example.*"))
	if len(keys) != 2 || keys[0].State != "active" || len(signing) != 2 || err != nil {
		t.Errorf("mail of the domain that is moved is signed with %+v, of which the signer has %v (%v)", keys, signing, err)
	}
	var refused *imap.Error
	if _, err := s.imapLogin(t, people[0].address, people[0].password); !errors.As(err, &refused) || refused.Code != imap.ResponseCodeUnavailable {
		t.Errorf("a login before the last copy: %v, want [UNAVAILABLE]", err)
	}
	if err := s.inbound(t, stranger, []string{people[0].address}, message(stranger, people[0].address, "x", "x")); smtpCode(err)/100 != 4 {
		t.Errorf("mail before the last copy: %v, want 4xx", err)
	}

	// Life goes on there.
	late := old.deliver(t, stranger, people[1].login)
	old.waitMail(t, people[1].login, people[1].password, "INBOX", late)
	c := old.imap(t, people[0].login, people[0].password)
	mustIMAP(t, "select", func() error { _, err := c.Select("INBOX", nil).Wait(); return err })
	remove := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}
	mustIMAP(t, "delete", func() error { return c.Store(imap.UIDSetNum(2), remove, nil).Close() })
	mustIMAP(t, "expunge", func() error { return c.Expunge().Close() })

	r := s.run(t, append(args, "--final", "--format", "json")...)
	if r.code != 0 {
		t.Fatalf("the last copy: %v", r)
	}
	var report struct {
		Mailboxes []struct {
			User            string
			Copied, Removed int
			Open            bool
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		for _, protocol := range []string{"imap", "pop3"} {
			if want := protocol + "-login: Info: Logged in: user=<" + p.address + ">"; !strings.Contains(s.mustRun(t, "logs", "-n", "5000", "dovecot"), want) {
				t.Errorf("nobody compared the files with what the server says: no line %q", want)
			}
		}
	}
	if m := report.Mailboxes; len(m) != 3 || m[0].Copied != 0 || m[0].Removed != 1 || m[1].Copied != 1 || !m[0].Open || !m[1].Open || !m[2].Open {
		t.Errorf("the report of the last copy: %s", r.stdout)
	}
	for _, p := range people {
		want, got := inventory(t, old, p.login, p.password), inventory(t, s, p.address, p.password)
		if want != got {
			t.Errorf("%s there:\n%s\nhere:\n%s", p.address, want, got)
		}
	}
	s.waitMail(t, people[1].address, people[1].password, "INBOX", s.deliver(t, stranger, people[1].address))

	// Who has moved is not moved again.
	if r := s.run(t, args...); r.code != 1 || !strings.Contains(r.stderr, "in use here already") {
		t.Errorf("a copy after the last: %v", r)
	}
}

func mustIMAP(t *testing.T, what string, do func() error) {
	t.Helper()
	if err := do(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// fill makes a mailbox with all that a copy can lose.
func fill(t *testing.T, s *Stack, user, password string) {
	t.Helper()
	c := s.imap(t, user, password)
	put := func(folder, text string, flags ...imap.Flag) {
		t.Helper()
		text = strings.ReplaceAll(text, "\n", "\r\n")
		command := c.Append(folder, int64(len(text)), &imap.AppendOptions{Flags: flags, Time: time.Date(2011, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))})
		_, errWrite := command.Write([]byte(text))
		errClose := command.Close()
		if _, err := command.Wait(); errors.Join(errWrite, errClose, err) != nil {
			t.Fatal(errors.Join(errWrite, errClose, err))
		}
	}
	for i := range 120 {
		put("INBOX", fmt.Sprintf("Message-ID: <%d@old>\nSubject: number %d\n\nbody\n", i, i), imap.FlagSeen)
	}
	put("INBOX", "Subject: twins\n\none\n")
	put("INBOX", "Subject: twins\n\none\n")
	put("INBOX", "Subject: twins\n\nanother one\n", imap.FlagFlagged)
	put("INBOX", "no header", imap.FlagAnswered)
	mustIMAP(t, "create", func() error { return c.Create("Müll & Maß/Tief", nil).Wait() })
	mustIMAP(t, "subscribe", func() error { return c.Subscribe("Müll & Maß/Tief").Wait() })
	put("Müll & Maß/Tief", "Message-ID: <big@old>\nSubject: big\n\n"+strings.Repeat("many words in a line\n", 1<<19), "$label1", "Wichtig", imap.FlagDraft)
}

// inventory is everything in a mailbox that a copy must keep, as text.
func inventory(t *testing.T, s *Stack, user, password string) string {
	t.Helper()
	c := s.imap(t, user, password)
	folders, err := c.List("", "*", &imap.ListOptions{ReturnSubscribed: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(folders, func(a, b *imap.ListData) int { return strings.Compare(a.Mailbox, b.Mailbox) })
	var b strings.Builder
	for _, f := range folders {
		if slices.Contains(f.Attrs, imap.MailboxAttrNonExistent) || slices.Contains(f.Attrs, imap.MailboxAttrNoSelect) {
			continue // only the parent of another one
		}
		if _, err := c.Select(f.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
			t.Fatal(err)
		}
		list, err := c.Fetch(imap.UIDSet{imap.UIDRange{Start: 1}}, &imap.FetchOptions{
			Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
		}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s subscribed=%v %d messages\n", f.Mailbox, slices.Contains(f.Attrs, imap.MailboxAttrSubscribed), len(list))
		for _, m := range list {
			describe(&b, m)
		}
	}
	return b.String()
}

func describe(b *strings.Builder, m *imapclient.FetchMessageBuffer) {
	flags := []string{}
	for _, f := range m.Flags {
		if f != `\Recent` {
			flags = append(flags, string(f))
		}
	}
	body := m.BodySection[0].Bytes
	fmt.Fprintf(b, "  %s %v %d %.70q\n", m.InternalDate.UTC().Format(time.RFC3339), flags, len(body), body)
}
