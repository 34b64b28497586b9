package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/google/go-cmp/cmp"

	"mailstack/e2e/oldhost"
)

// TestMigrateMailstack: one stack moves into another, as to a new machine: people
// keep passwords, folders, UIDs, flags, keywords, subscriptions, scripts and
// quotas, and aliases lead where they led.
func TestMigrateMailstack(t *testing.T) {
	t.Parallel()
	from, to := newSmallStack(t), newSmallStack(t)
	from.up(t, "--no-probe")
	to.up(t, "--no-probe")
	domain := from.domain(t)
	people := []oldhost.Account{{Address: "ann@" + domain}, {Address: "ben.o-hara@" + domain}, {Address: "cleo@" + domain}, {Address: "dan@" + domain}}
	for i := range people {
		people[i].Password = from.accountNamed(t, people[i].Address, "50MiB")
	}
	ann, dan := people[0], people[3]
	from.mustRun(t, "account", "set", dan.Address, "--disable")
	from.mustRun(t, "alias", "add", "sales@"+domain, ann.Address, people[1].Address)
	other := from.domain(t) // which stays
	from.mustRun(t, "alias", "add", "office@"+other, "office@elsewhere.example")
	from.sieve(t, ann.Address, ann.Password, "require [\"fileinto\", \"mailbox\"];\r\nif header :contains \"subject\" \"list\" { fileinto :create \"Lists/Büro\"; }\r\n")
	from.fillForMove(t, ann)
	for _, p := range people {
		from.deliver(t, stranger, p.Address) // dan gets mail although he cannot log in
	}

	name, dir := oldName(t)
	ssh := oldhost.ThisMachine(t, oldhost.Options{Name: name, Dir: dir})
	args := []string{
		"migrate", "--rsync-from", ssh.Alias, "--ssh-config", ssh.Config, "--container", from.container("dovecot"), "--only", "@" + domain,
	}
	dry := to.mustRun(t, append(args, "--dry-run")...)
	for _, word := range []string{ann.Address, dan.Address, "sales@" + domain, "50.0 MiB"} {
		if !strings.Contains(dry, word) {
			t.Errorf("the dry run does not name %s:\n%s", word, dry)
		}
	}
	to.mustRun(t, args...)
	if domains := to.mustRun(t, "domain", "list"); !strings.Contains(domains, domain) || strings.Contains(domains, other) {
		t.Errorf("with --only @%s there are the domains\n%s", domain, domains)
	}
	between := from.deliver(t, stranger, ann.Address)
	from.waitMail(t, ann.Address, ann.Password, "INBOX", between)

	want := map[string][]oldhost.Folder{}
	for _, p := range people[:3] {
		want[p.Address] = from.foldersOf(t, p)
	}
	mail, subscribed := from.mailOf(t, ann)
	// What its Postfix could not deliver any more, with Dovecot stopped as after a
	// last copy that came to no end.
	docker(t, "exec", from.container("dovecot"), "rm", "/socket/dovecot/lmtp")
	waiting := from.deliver(t, stranger, people[1].Address)
	waitUntil(t, time.Minute, "a letter that waits", func() (bool, string) {
		deferred, err := filepath.Glob(filepath.Join(from.data(), "queue/data/deferred/*/*"))
		return err == nil && len(deferred) == 1, fmt.Sprint(deferred, err)
	})
	docker(t, "stop", from.container("dovecot"))
	r := to.run(t, append(args, "--final", "--verify", "full", "--format", "json",
		"--freeze-command", "docker stop "+from.container("postfix")+" "+from.container("dovecot"))...)
	var report struct {
		OK        bool
		Mailboxes []struct{ Address string }
		CutOver   struct {
			Queue struct{ Carried []struct{ Recipient string } }
		} `json:"cut_over"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); r.code != 0 || err != nil || !report.OK || len(report.Mailboxes) != len(people) {
		t.Fatalf("the last copy (%v): %v", err, r)
	}
	if carried := report.CutOver.Queue.Carried; len(carried) != 1 || carried[0].Recipient != people[1].Address {
		t.Errorf("carried over from the queue: %+v", carried)
	}
	to.waitMail(t, people[1].Address, people[1].Password, "INBOX", waiting)
	if n := to.count(t, people[1].Address, people[1].Password, waiting); n != 1 {
		t.Errorf("what waited in the queue is here %d times", n)
	}
	if left := docker(t, "ps", "-aq", "--filter", "volume="+from.data()+"/queue/data"); strings.Count(left, "\n") > 0 {
		t.Errorf("containers with the queue: %s", left)
	}
	for _, p := range people[:3] {
		if p.Address != people[1].Address { // who got mail from the queue since
			to.expectFolders(t, p, want[p.Address])
		}
	}
	mailHere, subscribedHere := to.mailOf(t, ann)
	if diff := cmp.Diff(mail, mailHere) + cmp.Diff(subscribed, subscribedHere); diff != "" {
		t.Errorf("what %s sees (- there, + here):\n%s", ann.Address, diff)
	}
	if _, err := to.imapLogin(t, dan.Address, dan.Password); err == nil {
		t.Errorf("%s is disabled and logs in", dan.Address)
	}
	to.expectMovedRules(t, domain, people)
}

// fillForMove gives somebody folders, flags, keywords and subscriptions.
func (s *Stack) fillForMove(t *testing.T, a oldhost.Account) {
	t.Helper()
	c := s.imap(t, a.Address, a.Password)
	for _, folder := range []string{"Archive/2019", "Büro & mehr"} {
		if err := c.Create(folder, nil).Wait(); err != nil {
			t.Fatal(err)
		}
		if err := c.Subscribe(folder).Wait(); err != nil {
			t.Fatal(err)
		}
		for _, flags := range [][]imap.Flag{nil, {imap.FlagSeen, "work"}, {imap.FlagFlagged, imap.FlagAnswered, "$Forwarded", "holiday"}} {
			text := message(a.Address, a.Address, "in "+randomHex(4), "Hello.")
			cmd := c.Append(folder, int64(len(text)), &imap.AppendOptions{Flags: flags})
			if _, err := cmd.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Logout().Wait(); err != nil {
		t.Fatal(err)
	}
}

// foldersOf counts what is in the folders of an account.
func (s *Stack) foldersOf(t *testing.T, a oldhost.Account) (folders []oldhost.Folder) {
	t.Helper()
	c := s.imap(t, a.Address, a.Password)
	list, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if slices.Contains(l.Attrs, imap.MailboxAttrNoSelect) {
			continue // only the beginning of other names
		}
		data, err := c.Status(l.Mailbox, &imap.StatusOptions{NumMessages: true, NumUnseen: true, UIDNext: true, UIDValidity: true}).Wait()
		if err != nil {
			t.Fatal(err)
		}
		folders = append(folders, oldhost.Folder{
			Name: l.Mailbox, Messages: int(*data.NumMessages), Unseen: int(*data.NumUnseen), UIDValidity: data.UIDValidity, UIDNext: uint32(data.UIDNext),
		})
	}
	return folders
}

// seenMail is a message as a mail program knows it.
type seenMail struct {
	UID   imap.UID
	Flags map[imap.Flag]bool
	Size  int64
	Date  int64 // seconds
}

// mailOf is all mail of an account by folder, and which folders it reads.
func (s *Stack) mailOf(t *testing.T, a oldhost.Account) (mail map[string][]seenMail, subscribed map[string]bool) {
	t.Helper()
	c := s.imap(t, a.Address, a.Password)
	list, err := c.List("", "*", &imap.ListOptions{ReturnSubscribed: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	mail, subscribed = map[string][]seenMail{}, map[string]bool{}
	for _, l := range list {
		for _, attr := range l.Attrs {
			subscribed[l.Mailbox] = subscribed[l.Mailbox] || attr == imap.MailboxAttrSubscribed
		}
		selected, err := c.Select(l.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatal(err)
		}
		if selected.NumMessages == 0 {
			continue
		}
		fetched, err := c.Fetch(imap.SeqSet{{Start: 1}}, &imap.FetchOptions{UID: true, Flags: true, RFC822Size: true, InternalDate: true}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fetched {
			flags := map[imap.Flag]bool{}
			for _, f := range m.Flags {
				if f != `\Recent` { // who looks first has it (RFC 3501, 2.3.2)
					flags[f] = true
				}
			}
			mail[l.Mailbox] = append(mail[l.Mailbox], seenMail{m.UID, flags, m.RFC822Size, m.InternalDate.Unix()})
		}
	}
	return mail, subscribed
}

// expectMovedRules: what decides where mail goes came along.
func (s *Stack) expectMovedRules(t *testing.T, domain string, people []oldhost.Account) {
	t.Helper()
	ann, ben := people[0], people[1]
	sold := s.deliver(t, stranger, "sales@"+domain)
	s.waitMail(t, ann.Address, ann.Password, "INBOX", sold)
	s.waitMail(t, ben.Address, ben.Password, "INBOX", sold)
	subject := "the list " + randomHex(4)
	if err := s.inbound(t, stranger, []string{ann.Address}, message(stranger, ann.Address, subject, "x")); err != nil {
		t.Fatal(err)
	}
	s.waitMail(t, ann.Address, ann.Password, "Lists/Büro", subject)
	for _, p := range people {
		var account struct {
			Quota   int64 `json:"quota_bytes"`
			Enabled bool
		}
		shown := s.mustRun(t, "account", "show", p.Address, "--format", "json")
		if err := json.Unmarshal([]byte(shown), &account); err != nil || account.Quota != 50<<20 || account.Enabled == (p.Address == people[3].Address) {
			t.Errorf("account %s (%v): %s", p.Address, err, shown)
		}
	}
}
