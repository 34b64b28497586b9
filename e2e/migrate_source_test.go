package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"

	"github.com/google/go-cmp/cmp"
)

// reach connects to an old host as a user would.
func reach(t *testing.T, ssh oldhost.SSH, sudo bool) *remote.Host {
	t.Helper()
	host, err := remote.Connect(t.Context(), remote.Options{Target: ssh.Alias, ConfigFile: ssh.Config, Sudo: sudo, Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return host
}

// look finds out all there is about an old host.
func look(t *testing.T, host *remote.Host) (*source.Facts, *source.Listing, *source.Stores) {
	t.Helper()
	facts, err := source.Inspect(t.Context(), host, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var list *source.Listing
	if facts.Files != "" {
		list, err = source.ReadFiles(t.Context(), host, facts, "")
	} else {
		var dumper source.Dumper
		if dumper, err = source.FindDumper(t.Context(), host, facts); err == nil {
			list, err = source.ReadAccounts(t.Context(), dumper, facts, source.AccountOptions{})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	stores, err := source.Locate(t.Context(), host, facts, list, source.LocateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return facts, list, stores
}

// TestMigrateSource: what is found out about an old host is what was put there.
func TestMigrateSource(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		opts oldhost.Options
		want migrate.Store // but for paths
	}{
		{"postfixadmin", oldhost.Options{Kind: oldhost.PostfixAdmin}, migrate.Store{Layout: "maildir++", Separator: '.'}},
		{"hashed and apart", oldhost.Options{Kind: oldhost.PostfixAdmin, Sudo: true, Layout: oldhost.Layout{
			Hashed: true, Subdir: "Maildir", Apart: true, Prefix: "INBOX.",
		}}, migrate.Store{Layout: "maildir++", Separator: '.', Prefix: "INBOX."}},
		{
			"ispmail",
			oldhost.Options{Kind: oldhost.ISPmail, Layout: oldhost.Layout{FS: true, Separator: '/', Prefix: "INBOX/"}},
			migrate.Store{Layout: "fs", Separator: '/', Prefix: "INBOX/"},
		},
		{"docker-mailserver", oldhost.Options{Kind: oldhost.DockerMailserver}, migrate.Store{Layout: "maildir++", Separator: '.'}},
		// Nobody can be asked where mail is.
		{
			"stopped",
			oldhost.Options{Kind: oldhost.DockerMailserver, Stopped: true, Layout: oldhost.Layout{Separator: '/'}},
			migrate.Store{Layout: "maildir++", Separator: '/'},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.opts.Spool = oldhost.Small()
			h := oldHost(t, test.opts)
			host := reach(t, h.SSH, test.opts.Sudo)
			before := h.Exec(t, "sh", "-c", "cd /var && find mail vmail -printf '%p %s %T@\n' | sort")
			facts, list, stores := look(t, host)
			if after := h.Exec(t, "sh", "-c", "cd /var && find mail vmail -printf '%p %s %T@\n' | sort"); after != before {
				t.Errorf("looking changed the mail (-before +after):\n%s", cmp.Diff(before, after))
			}
			if stores.Asked == test.opts.Stopped || list.Schema != string(test.opts.Kind) || list.Database != h.Database {
				t.Errorf("Dovecot asked: %v; schema %s of database %q", stores.Asked, list.Schema, list.Database)
			}
			sourceAccounts(t, h, list)
			sourceAliases(t, h, list)
			for _, a := range h.Accounts {
				sourceStore(t, h, a, list, stores, test.want)
			}
			levels := map[string]source.Level{}
			for _, check := range source.Preflight(facts, list, stores, source.Needs{FreeBytes: 1 << 40}) {
				levels[check.Name] = check.Level
				if check.Level == source.Fail {
					t.Errorf("check %s: %s", check.Name, check.Text)
				}
			}
			for name, want := range map[string]source.Level{
				"rights": source.OK, "rsync": source.OK, "dovecot": source.OK, "format": source.OK, "accounts": source.OK, "stores": source.OK,
				"size": source.OK, "sieve": source.OK, "new-passwords": source.Warn, "left": source.Warn, "sieve-links": source.Warn,
			} {
				if got, found := levels[name]; !found || got != want {
					t.Errorf("check %s is %v (%v), want %v", name, got, found, want)
				}
			}
		})
	}
}

func sourceAccounts(t *testing.T, h *oldhost.Host, list *source.Listing) {
	t.Helper()
	type account struct {
		Address, Hash string
		Quota         int64
		Disabled      bool
	}
	var want, got []account
	for _, a := range h.Accounts {
		hash := a.Hash
		for prefix, scheme := range map[string]string{"$1$": "{MD5-CRYPT}", "$2y$": "{BLF-CRYPT}", "$6$": "{SHA512-CRYPT}"} {
			if bare := strings.TrimPrefix(hash, "{CRYPT}"); strings.HasPrefix(bare, prefix) {
				hash = scheme + bare
			}
		}
		want = append(want, account{a.Address, hash, a.QuotaBytes, a.Disabled})
	}
	for _, a := range list.Accounts {
		got = append(got, account{a.Address, string(a.Hash), a.QuotaBytes, a.Disabled})
	}
	byAddress := func(x, y account) int { return strings.Compare(x.Address, y.Address) }
	slices.SortFunc(want, byAddress)
	slices.SortFunc(got, byAddress)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("accounts (- there, + read):\n%s", diff)
	}
	domains := slices.Clone(h.Domains)
	if h.Kind == oldhost.PostfixAdmin {
		domains = append(domains, "closed.example") // inactive
	}
	slices.Sort(domains)
	if diff := cmp.Diff(domains, list.Domains); diff != "" {
		t.Errorf("domains (- there, + read):\n%s", diff)
	}
}

// sourceAliases: each is read or reported.
func sourceAliases(t *testing.T, h *oldhost.Host, list *source.Listing) {
	t.Helper()
	got := map[string]migrate.Alias{}
	for _, alias := range list.Aliases {
		got[alias.Address] = alias
	}
	lost := []string{"former@example.org", "ping@example.org", "pong@example.org", "bob@example.org", "heidi@example.net", "niaj@example.net"}
	for _, want := range h.Aliases {
		if slices.Contains(lost, want.Address) {
			said := slices.ContainsFunc(list.Left, func(line string) bool { return strings.Contains(line, want.Address) })
			if _, read := got[want.Address]; read || !said {
				t.Errorf("alias %s: read %v, reported %v", want.Address, read, said)
			}
			continue
		}
		if diff := cmp.Diff(migrate.Alias(want), got[want.Address]); diff != "" {
			t.Errorf("alias %s (- there, + read):\n%s", want.Address, diff)
		}
	}
	if h.Kind == oldhost.PostfixAdmin {
		for _, address := range []string{"alice@example.com", "info@example.com"} {
			if len(got[address].Targets) == 0 {
				t.Errorf("nothing comes of %s by the alias domain", address)
			}
		}
	}
}

func sourceStore(t *testing.T, h *oldhost.Host, a oldhost.Account, list *source.Listing, stores *source.Stores, want migrate.Store) {
	t.Helper()
	i := slices.IndexFunc(list.Accounts, func(x migrate.Account) bool { return x.Address == a.Address })
	got, seen := list.Accounts[i].Store, stores.ByAddress[a.Address]
	if got.Maildir != a.Maildir || got.Layout != want.Layout || got.Separator != want.Separator || got.Prefix != want.Prefix {
		t.Errorf("store of %s: %+v, want %s with %+v", a.Address, got, a.Maildir, want)
		return
	}
	if local, domain, _ := strings.Cut(a.Address, "@"); h.Layout.Apart && got.Control != "/var/lib/dovecot-control/"+domain+"/"+local {
		t.Errorf("control files of %s: %s", a.Address, got.Control)
	}
	state := source.Found
	if _, err := os.Stat(filepath.Join(h.Local(a.Maildir), "cur")); err != nil {
		state = source.Absent
	}
	if seen.State != state || seen.Problem != "" {
		t.Errorf("store of %s was seen as %+v", a.Address, seen)
		return
	}
	if a.Hostile {
		if got.Sieve != "" || seen.Outside != "/etc/passwd" {
			t.Errorf("the script of %s is %q, outside %q", a.Address, got.Sieve, seen.Outside)
		}
		return
	}
	messages := 0
	for _, f := range a.Folders {
		messages += f.Messages
	}
	if seen.Messages != int64(messages) || state == source.Found && (seen.UID != 5000 || got.Files < seen.Messages) || messages > 0 && got.Bytes == 0 {
		t.Errorf("store of %s: %+v, %+v; there are %d messages", a.Address, seen, got, messages)
	}
	if (a.Sieve == "") != (got.Sieve == "") {
		t.Errorf("the script of %s is %q, want %q", a.Address, got.Sieve, a.Sieve)
	}
	if a.Sieve == "" || got.Sieve == "" {
		return
	}
	script, err := os.ReadFile(h.Local(got.Sieve))
	active, errActive := os.ReadFile(h.Local(a.Sieve))
	if err != nil || errActive != nil || string(script) != string(active) || len(script) == 0 {
		t.Errorf("the script of %s: %s, %v, %v", a.Address, got.Sieve, err, errActive)
	}
}

// TestMigrateSourceRefused: what cannot be copied as files is refused before
// anything is.
func TestMigrateSourceRefused(t *testing.T) {
	t.Parallel()
	t.Run("mdbox", func(t *testing.T) {
		t.Parallel()
		host := reach(t, oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Layout: oldhost.Layout{Format: "mdbox"}}).SSH, false)
		facts, list, stores := look(t, host)
		for name, text := range map[string]string{"format": "its format is mdbox", "unusable": "22 accounts"} {
			checks := source.Preflight(facts, list, stores, source.Needs{FreeBytes: -1})
			i := slices.IndexFunc(checks, func(c source.Check) bool { return c.Name == name && c.Level == source.Fail })
			if i < 0 || !strings.Contains(checks[i].Text, text) || !strings.Contains(checks[i].Remedy, "--imap-from") {
				t.Errorf("%s: %+v", name, checks)
			}
		}
	})
	t.Run("compressed", func(t *testing.T) {
		t.Parallel()
		h := oldHost(t, oldhost.Options{Kind: oldhost.DockerMailserver})
		// As compressed by hand: the name says how long the message is.
		cur := filepath.Join(h.Local(h.Account("bob@example.org").Maildir), "cur")
		if err := errors.Join(os.MkdirAll(cur, 0o700), os.WriteFile(filepath.Join(cur, "1.M1P1.old,S=1000:2,SZ"), []byte("\x1f\x8b\x08\x00gzip"), 0o600)); err != nil {
			t.Fatal(err)
		}
		facts, list, stores := look(t, reach(t, h.SSH, false))
		checks := source.Preflight(facts, list, stores, source.Needs{FreeBytes: -1})
		i := slices.IndexFunc(checks, func(c source.Check) bool { return c.Name == "unusable" && c.Level == source.Fail })
		if i < 0 || !strings.Contains(checks[i].Text, "its messages are compressed") || !strings.Contains(checks[i].Text, "(bob@example.org)") ||
			!strings.Contains(checks[i].Remedy, "mailstack migrate --imap-from") {
			t.Errorf("compressed messages: %+v", checks)
		}
	})
	t.Run("stopped database", func(t *testing.T) {
		t.Parallel()
		host := reach(t, oldHost(t, oldhost.Options{Kind: oldhost.ISPmail, Stopped: true}).SSH, false)
		facts, err := source.Inspect(t.Context(), host, source.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = source.FindDumper(t.Context(), host, facts)
		var hinted interface{ Hint() string }
		if err == nil || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "--mysql-datadir") || strings.Contains(err.Error(), "isp-secret") {
			t.Errorf("a database that is stopped: %v", err)
		}
	})
}

// TestMigrateSourceMailstack: another mailstack is an old host like others, with
// its database and its mail in containers' volumes.
func TestMigrateSourceMailstack(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, _ := s.account(t)
	name, dir := oldName(t)
	host := reach(t, oldhost.ThisMachine(t, oldhost.Options{Name: name, Dir: dir}), false)
	facts, err := source.Inspect(t.Context(), host, source.Options{Container: s.container("dovecot")})
	if err != nil {
		t.Fatal(err)
	}
	dumper, err := source.FindDumper(t.Context(), host, facts)
	if err != nil {
		t.Fatal(err)
	}
	list, err := source.ReadAccounts(t.Context(), dumper, facts, source.AccountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list.Accounts = slices.DeleteFunc(list.Accounts, func(a migrate.Account) bool { return a.Address != user })
	stores, err := source.Locate(t.Context(), host, facts, list, source.LocateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	local, domain, _ := strings.Cut(user, "@")
	want := filepath.Join(s.data(), "vmail", "data", domain, local, "Maildir")
	if len(list.Accounts) != 1 || list.Schema != "mailstack" || !strings.HasPrefix(string(list.Accounts[0].Hash), "{ARGON2ID}") ||
		list.Accounts[0].Store.Maildir != want || list.Accounts[0].Store.Separator != '/' {
		t.Errorf("read %s: %+v, %+v; want mail in %s", list.Schema, list.Accounts, stores, want)
	}
}
