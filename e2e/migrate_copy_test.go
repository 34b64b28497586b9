package e2e

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
	"mailstack/migrate"
	"mailstack/migrate/maildir"
	"mailstack/migrate/remote"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestMigrateCopies: from the oddest layouts, over a real ssh, arrives what the old
// Dovecot says there is: a first pass while people use it, then the last one. No
// stack is needed for it: what a server has to say of the files is in the result.
func TestMigrateCopies(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]oldhost.Options{
		"hashed, apart, by sudo": {Kind: oldhost.PostfixAdmin, Sudo: true, Layout: oldhost.Layout{
			Hashed: true, Subdir: "Maildir", Apart: true, Prefix: "INBOX.",
		}},
		"fs, apart": {Kind: oldhost.PostfixAdmin, Layout: oldhost.Layout{FS: true, Apart: true, Separator: '/', Prefix: "INBOX/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts.Spool = oldhost.Small()
			if *long {
				opts.Spool = oldhost.Large()
			}
			old := oldHost(t, opts)
			host, err := remote.Connect(t.Context(), remote.Options{Target: old.SSH.Alias, ConfigFile: old.SSH.Config, Sudo: opts.Sudo, Slots: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close(t.Context())
			m := openMigration(t, old, host)
			defer m.Close()
			if _, err := m.Pass(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := old.Send(t.Context(), "bob@example.org", "between two passes"); err != nil {
				t.Fatal(err)
			}
			old.Drain(t)
			want := old.AllMailboxes(t)
			old.Exec(t, "sh", "-c", old.Freeze)
			report, err := m.Pass(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range report.Mailboxes {
				a := old.Account(r.Address)
				for _, d := range r.Differences {
					if !a.Hostile || d.Kind != maildir.FalseSize {
						t.Errorf("%s: %v", r.Address, d)
					}
				}
				if r.Problem != "" || a.Hostile && len(r.Differences) != 1 {
					t.Errorf("%s: %s %v", r.Address, r.Problem, r.Differences)
				}
				if !a.Hostile && !a.Disabled {
					expectCopied(t, r, want[r.Address])
				}
			}
		})
	}
}

// openMigration opens a migration of all accounts into a volume of its own.
func openMigration(t *testing.T, old *oldhost.Host, host *remote.Host) *migrate.Migration {
	t.Helper()
	volume := t.TempDir()
	store := filepath.Join(volume, "data")
	if err := os.Mkdir(store, 0o700); err != nil {
		t.Fatal(err)
	}
	var list []migrate.Account
	for _, a := range old.Accounts {
		s := migrate.Store{Maildir: a.Maildir, Layout: string(maildir.PlusPlus), Separator: '.', Prefix: old.Layout.Prefix}
		if old.Layout.FS {
			s.Layout, s.Separator = string(maildir.FS), '/'
		}
		if old.Layout.Apart {
			local, domain, _ := strings.Cut(a.Address, "@")
			s.Control = path.Join("/var/lib/dovecot-control", domain, local)
		}
		if a.Sieve != "" {
			s.Sieve, s.Scripts = a.Sieve, path.Join(a.Home, "sieve")
		}
		list = append(list, migrate.Account{Address: a.Address, Store: s})
	}
	m, err := migrate.Open(migrate.Options{
		From: migrate.Over(host), Accounts: list, Verify: migrate.Verify{Full: true},
		To: migrate.Destination{Volume: volume, Store: store, UID: 5302, GID: 5302, Marked: func() error { return nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// expectCopied compares what a server has to say of the files here with what the
// old one said.
func expectCopied(t *testing.T, r migrate.Result, want []oldhost.Folder) {
	t.Helper()
	var got []oldhost.Folder
	for _, e := range r.Expected {
		if e.Unspeakable {
			t.Errorf("%s: nobody can say %q", r.Address, e.Folder)
		}
		got = append(got, oldhost.Folder{
			Name: e.Folder, Messages: e.Messages, Octets: e.Octets, Unseen: e.Unseen, UIDValidity: e.UIDValidity, UIDNext: e.UIDNext,
		})
	}
	if len(want) == 0 { // nobody ever got mail there; here is an inbox for it
		want = []oldhost.Folder{{Name: "INBOX"}}
	}
	byName := cmpopts.SortSlices(func(a, b oldhost.Folder) bool { return a.Name < b.Name })
	if diff := cmp.Diff(want, got, byName, cmpopts.IgnoreFields(oldhost.Folder{}, "Subscribed"), cmpopts.IgnoreUnexported(oldhost.Folder{})); diff != "" {
		t.Errorf("%s: the old Dovecot said (-), the files here say (+)\n%s", r.Address, diff)
	}
}
