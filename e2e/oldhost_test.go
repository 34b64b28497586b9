package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/oldhost"

	"github.com/emersion/go-imap/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// oldHost starts an old host that the harness removes even after a panic.
func oldHost(t *testing.T, opts oldhost.Options) *oldhost.Host {
	t.Helper()
	opts.Name, opts.Dir = oldName(t)
	return oldhost.Start(t, opts)
}

func oldName(t *testing.T) (name, dir string) {
	t.Helper()
	allocating.Lock()
	defer allocating.Unlock()
	stackNumber++
	run, id := os.Getenv(runVar), fmt.Sprint("old", stackNumber)
	return namePrefix(run) + id, dirPrefix(run) + id
}

// TestOldHosts: each old host is what it claims to be, by its own Dovecot:
// everybody can log in who may, there is as much mail as was put there, and it
// is a mail server.
func TestOldHosts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts oldhost.Options
		also func(*testing.T, *oldhost.Host)
	}{
		"postfixadmin":      {oldhost.Options{Kind: oldhost.PostfixAdmin}, oldDelivers},
		"ispmail":           {oldhost.Options{Kind: oldhost.ISPmail}, oldTraffic},
		"docker-mailserver": {oldhost.Options{Kind: oldhost.DockerMailserver}, oldLogins},
		"hashed and apart": {oldhost.Options{Kind: oldhost.PostfixAdmin, Sudo: true, Layout: oldhost.Layout{
			Hashed: true, Subdir: "Maildir", Apart: true, Prefix: "INBOX.",
		}}, nil},
		"fs": {oldhost.Options{Kind: oldhost.ISPmail, Layout: oldhost.Layout{FS: true, Separator: '/', Prefix: "INBOX/"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.opts.Spool = oldhost.Small()
			if *long {
				test.opts.Spool = oldhost.Large()
			}
			h := oldHost(t, test.opts)
			oldFolders(t, h)
			oldFlags(t, h)
			oldSSH(t, h)
			if got, want := h.POP3Answer(t, h.Account("exact@example.org"), "STAT"), "+OK 488 15003687"; got != want {
				t.Errorf("answer to STAT: %q, want %q", got, want)
			}
			if test.also != nil {
				test.also(t, h)
			}
		})
	}
}

// oldLogins: right passwords, whatever their hash, and no others.
func oldLogins(t *testing.T, h *oldhost.Host) {
	t.Helper()
	schemes := map[string]bool{}
	for _, a := range h.Accounts {
		c, err := h.Login(t.Context(), a.Address, a.Password)
		if a.Disabled {
			if err == nil {
				t.Errorf("%s is disabled and logged in", a.Address)
			}
			continue
		}
		if err != nil {
			t.Errorf("log in as %s (%s): %v", a.Address, a.Scheme, err)
			continue
		}
		schemes[a.Scheme] = true
		c.Close()
	}
	if len(schemes) < 10 {
		t.Errorf("only %d schemes: %v", len(schemes), schemes)
	}
	if _, err := h.Login(t.Context(), "alice@example.org", "alice-Hx8"); err == nil {
		t.Error("a wrong password is good enough")
	}
}

// oldFolders: the old Dovecot counts what the generator made, in all folders.
func oldFolders(t *testing.T, h *oldhost.Host) {
	t.Helper()
	for address, got := range h.AllMailboxes(t) {
		a := h.Account(address)
		if len(a.Folders) == 0 { // perhaps an inbox, with nothing in it
			if total(got) > 0 {
				t.Errorf("%s never got a letter and has %+v", address, got)
			}
			continue
		}
		byName := cmpopts.SortSlices(func(a, b oldhost.Folder) bool { return a.Name < b.Name })
		same := cmp.FilterPath(func(p cmp.Path) bool {
			return slices.Contains([]string{"Subscribed", "UIDValidity", "UIDNext"}, p.Last().String()[1:])
		}, cmp.Ignore())
		if diff := cmp.Diff(a.Folders, got, byName, same, cmpopts.IgnoreUnexported(oldhost.Folder{})); diff != "" {
			t.Errorf("folders of %s (- made, + counted):\n%s", a.Address, diff)
		}
	}
	alice := h.Account("alice@example.org")
	if f := alice.Folder("Archive/2020"); f.UIDValidity != 1234567890 || f.UIDNext != 100 {
		t.Errorf("the UIDs of alice's archive are not those of its uidlist: %+v", f)
	}
	if got := h.POP3Answer(t, alice, "UIDL 1"); got != "+OK 1 UID1-1234567890" {
		t.Errorf("answer to UIDL: %q", got)
	}
	c, err := h.Login(t.Context(), alice.Address, alice.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	list, err := c.List("", "*", &imap.ListOptions{SelectSubscribed: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	if want := "Büro/Räume & Türen"; !slices.ContainsFunc(list, func(l *imap.ListData) bool {
		return h.Plain(l.Mailbox) == want
	}) {
		t.Errorf("alice is not subscribed to %q: %v", want, list)
	}
}

// oldFlags: flags and keywords are those that the files' names say, every fourth
// message of the large folder each.
func oldFlags(t *testing.T, h *oldhost.Host) {
	t.Helper()
	many := h.Account("many@example.net")
	c, err := h.Login(t.Context(), many.Address, many.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Select(h.Visible("Archive/2019"), nil).Wait(); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []imap.Flag{imap.FlagAnswered, imap.FlagForwarded} {
		found, err := c.Search(&imap.SearchCriteria{Flag: []imap.Flag{flag}}, nil).Wait()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(found.AllSeqNums()), many.Folder("Archive/2019").Messages/4; got != want {
			t.Errorf("%d messages have %s, want %d", got, flag, want)
		}
	}
}

// oldSSH: ssh gets in by the key, as the user said, and reaches the mail.
func oldSSH(t *testing.T, h *oldhost.Host) {
	t.Helper()
	sudo, user := "", "root"
	if h.Sudo {
		sudo, user = "sudo ", "admin"
		if r := program(t.Context(), nil, "ssh", "-F", h.SSH.Config, "-l", "root", h.SSH.Alias, "true"); r.code != 255 {
			t.Errorf("root is let in too: %v", r)
		}
	}
	if got := strings.TrimSpace(h.SSH.Run(t, "id -un")); got != user {
		t.Errorf("ssh lets in %q, want %q", got, user)
	}
	dir := h.Account("alice@example.org").Maildir
	remote := strings.Fields(h.SSH.Run(t, sudo+"ls -1 "+dir+"/cur"))
	local, err := os.ReadDir(filepath.Join(h.Local(dir), "cur"))
	if err != nil || len(local) == 0 || len(remote) != len(local) {
		t.Errorf("%s: %d messages by ssh, %d on this machine, %v", dir, len(remote), len(local), err)
	}
	if h.Database != "" {
		rows := h.SSH.Run(t, sudo+"mariadb --batch --skip-column-names -e 'SHOW TABLES' "+h.Database)
		if !strings.Contains(rows, "mailbox\n") && !strings.Contains(rows, "virtual_users\n") {
			t.Errorf("tables of %s: %q", h.Database, rows)
		}
	}
}

// oldDelivers: mail that comes in by SMTP goes where aliases, catch-all, Sieve
// and the domain's other name say, the certificate is the host's, and what
// mallory left has not come true on his own server.
func oldDelivers(t *testing.T, h *oldhost.Host) {
	t.Helper()
	oldLogins(t, h)
	var sent []func()
	for to, want := range map[string][]string{
		"info@example.org":            {"alice@example.org INBOX", "bob@example.org INBOX"},
		"carol.o-hara@example.com":    {"carol.o-hara@example.org INBOX"},
		"nobody@example.net":          {"laura@example.net INBOX"},
		"fest@xn--mnchen-3ya.example": {"ken@xn--mnchen-3ya.example INBOX"},
	} {
		subject := "to " + to
		if err := h.Send(t.Context(), to, subject); err != nil {
			t.Fatalf("send to %s: %v", to, err)
		}
		sent = append(sent, func() {
			for _, place := range want {
				address, folder, _ := strings.Cut(place, " ")
				oldFind(t, h, address, folder, subject)
			}
		})
	}
	if err := h.Send(t.Context(), "alice@example.org", "[sieve] filed"); err != nil {
		t.Fatal(err)
	}
	h.Drain(t)
	for _, arrived := range sent {
		arrived()
	}
	oldFind(t, h, "alice@example.org", h.Visible("Archive/2020"), "[sieve] filed")
	for _, refused := range []string{"closed@example.org", "nobody@example.org", "frank@example.org", "x@elsewhere.example"} {
		if err := h.Send(t.Context(), refused, "no"); err == nil {
			t.Errorf("mail for %s is taken", refused)
		}
	}
	ca, err := os.ReadFile(h.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, address := range []string{h.IMAPS, h.POP3S} {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots}}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Errorf("TLS with %s: %v", address, err)
			continue
		}
		conn.Close()
	}
	if owned := h.Exec(t, "find", "/", "-xdev", "-name", "oldhost-owned"); owned != "" {
		t.Errorf("the old host itself was owned: %s", owned)
	}
}

func oldFind(t *testing.T, h *oldhost.Host, address, folder, subject string) {
	t.Helper()
	c, err := h.Login(t.Context(), address, h.Account(address).Password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if found, err := find(c, folder, subject); err != nil || len(found) != 1 {
		t.Errorf("%q is %d times in %s of %s, %v", subject, len(found), folder, address, err)
	}
}

// oldTraffic: letters that are taken while a mailbox is in use are all there but
// for those that the traffic says it deleted; freezing ends it.
func oldTraffic(t *testing.T, h *oldhost.Host) {
	t.Helper()
	oldLogins(t, h)
	const address = "bob@example.org"
	run := func(end func(*oldhost.Traffic)) (lost int) {
		before := total(h.Mailboxes(t, address))
		traffic := h.Traffic(t, address)
		waitUntil(t, time.Minute, "letters moved and deleted", func() (bool, string) {
			r := traffic.Report()
			return r.Moved > 0 && r.Deleted > 0, fmt.Sprintf("%+v", r)
		})
		end(traffic)
		r := traffic.Stop()
		h.Drain(t)
		return before + len(r.Accepted[address]) - r.Deleted - total(h.Mailboxes(t, address))
	}
	if lost := run(func(*oldhost.Traffic) {}); lost != 0 {
		t.Errorf("%d letters are lost", lost)
	}
	lost := run(func(traffic *oldhost.Traffic) {
		h.SSH.Run(t, h.Freeze)
		waitUntil(t, time.Minute, "an end of the traffic", func() (bool, string) {
			r := traffic.Report()
			return r.Refused != nil, fmt.Sprintf("%+v", r)
		})
		h.SSH.Run(t, h.Thaw)
	})
	if lost < -1 || lost > 1 { // the step that was cut off
		t.Errorf("%d letters are lost in a freeze", lost)
	}
}

func total(folders []oldhost.Folder) int {
	messages := 0
	for _, f := range folders {
		messages += f.Messages
	}
	return messages
}

// TestOldHostStopped: what is left is sshd, the mail and the files of a
// database, in order or not.
func TestOldHostStopped(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]oldhost.Options{
		"stopped": {Kind: oldhost.PostfixAdmin, Stopped: true},
		"killed":  {Kind: oldhost.ISPmail, Killed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts.Spool = oldhost.Spool{Seed: 1, Messages: 8}
			h := oldHost(t, opts)
			running := h.SSH.Run(t, "ps -e -o comm=")
			for _, program := range []string{"mariadbd", "dovecot", "master"} {
				if slices.Contains(strings.Fields(running), program) {
					t.Errorf("%s runs:\n%s", program, running)
				}
			}
			if files := h.SSH.Run(t, "ls "+h.DataDir+"/"+h.Database); !strings.Contains(files, ".ibd") {
				t.Errorf("files of the database: %q", files)
			}
			if a := h.Account("bob@example.org"); a.Folder("INBOX").UIDNext == 0 {
				t.Errorf("nobody asked Dovecot before it was stopped: %+v", a.Folders)
			}
		})
	}
}

// TestOldHostFormats: hosts whose mail is no Maildir have mail all the same.
func TestOldHostFormats(t *testing.T) {
	t.Parallel()
	for format, file := range map[string]string{"mbox": "inbox", "mdbox": "storage/m.1"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			h := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Layout: oldhost.Layout{Format: format}})
			a := h.Account("bob@example.org")
			if _, err := os.Stat(filepath.Join(h.Local(a.Maildir), file)); err != nil {
				t.Errorf("not the files of %s: %v\n%s", format, err, tree(h.MailDir))
			}
			if got := h.Mailboxes(t, a.Address); total(got) != 3 {
				t.Errorf("folders: %+v, want three messages", got)
			}
		})
	}
}

// TestThisMachine: ssh lands here, as root, with this machine's files and engine.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	name, dir := oldName(t)
	ssh := oldhost.ThisMachine(t, oldhost.Options{Name: name, Dir: dir})
	file := filepath.Join(t.TempDir(), "it's \"here\"")
	if err := os.WriteFile(file, []byte("a secret of this machine"), 0o600); err != nil {
		t.Fatal(err)
	}
	quoted := "'" + strings.ReplaceAll(file, "'", `'\''`) + "'"
	if got := ssh.Run(t, "id -u; cat "+quoted); got != "0\na secret of this machine" {
		t.Errorf("the file reads %q", got)
	}
	if got := strings.TrimSpace(ssh.Run(t, "docker ps --quiet --filter name="+name)); got == "" {
		t.Error("this machine's engine does not show the container of sshd")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if r := program(ctx, nil, "ssh", "-F", ssh.Config, ssh.Alias, "exit 7"); r.code != 7 {
		t.Errorf("the exit status of a remote command is lost: %v", r)
	}
}
