package source

import (
	"os/exec"
	"strings"
	"testing"

	"mailstack/migrate"
)

func TestPreflight(t *testing.T) {
	good := func() *Facts {
		return &Facts{Target: "old", UID: 0, OS: "Debian", Rsync: "3.2.7", Dovecot: Dovecot{Version: "2.3.19.1", Mail: parseLocation("maildir:~/Maildir")}, MTA: MTA{Name: "Postfix 3.7", Queue: 0}}
	}
	one := func(seen Seen) (*Listing, *Stores) {
		list := listing(map[string]columns{"a": {}})
		list.Schema, list.Database = "ispmail", "mail"
		list.Accounts[0].Hash = "{SHA512-CRYPT}$6$x$y"
		list.Accounts[0].Store = migrate.Store{Maildir: "/m/a", Layout: "maildir++", Bytes: 95 << 20, Files: 7}
		list.Schemes = []SchemeCount{{"SHA512-CRYPT", 1, false}}
		return list, &Stores{ByAddress: map[string]Seen{"a@example.org": seen}, Asked: true}
	}
	for _, test := range []struct {
		name   string
		change func(f *Facts, l *Listing, s *Stores)
		check  string
		want   string // level: part of the text
	}{
		{"all well", func(*Facts, *Listing, *Stores) {}, "accounts", "ok: 1 account, 0 aliases, 0 domains (ispmail, database mail)"},
		{"all well", func(*Facts, *Listing, *Stores) {}, "passwords", "ok: carried over: SHA512-CRYPT 1"},
		{"all well", func(*Facts, *Listing, *Stores) {}, "stores", "ok: mail of 1 account found (as Dovecot says)"},
		{"all well", func(*Facts, *Listing, *Stores) {}, "size", "warn: 95 MiB in 7 files, and only 100 MiB are free here"},
		{"too much", func(_ *Facts, l *Listing, _ *Stores) { l.Accounts[0].Store.Bytes = 150 << 20 }, "size", "fail: 150 MiB in 7 files, and 100 MiB are free here"},
		{"half of it is here", func(_ *Facts, l *Listing, _ *Stores) { l.Accounts[0].Store.Bytes = 150 << 20 }, "size", "ok: 150 MiB in 7 files, of which 75 MiB are here already; 100 MiB are free here"},
		{"all well", func(*Facts, *Listing, *Stores) {}, "time", "ok: under a minute for the first copy, at 20 MiB/s"},
		{"much", func(_ *Facts, l *Listing, _ *Stores) { l.Accounts[0].Store.Bytes = 60 << 30 }, "time", "ok: about 51m for the first copy, at 20 MiB/s"},
		{"not root", func(f *Facts, _ *Listing, _ *Stores) { f.UID = 1000 }, "rights", "warn: ssh logs in as uid 1000"},
		{"no rsync", func(f *Facts, _ *Listing, _ *Stores) { f.Rsync = "" }, "rsync", "fail: rsync is not installed"},
		{"old rsync", func(f *Facts, _ *Listing, _ *Stores) { f.Rsync = "3.0.9" }, "rsync", "fail: check rsync on old: want version 3.1 or later"},
		{"owner", func(_ *Facts, _ *Listing, s *Stores) {
			s.ByAddress["a@example.org"] = Seen{State: Found, UID: 5000, GID: 8}
		}, "stores", "ok: mail of 1 account found (as Dovecot says); it belongs there to 5000:8"},
		{"no rsync here", func(*Facts, *Listing, *Stores) {}, "rsync", "fail: find rsync on this machine"},
		{"no Dovecot", func(f *Facts, _ *Listing, _ *Stores) { f.Dovecot = Dovecot{} }, "dovecot", "warn: no Dovecot"},
		{"two Dovecots", func(f *Facts, _ *Listing, _ *Stores) { f.Dovecot, f.Boxes = Dovecot{}, []string{"a", "b"} }, "dovecot", "fail: several containers may be the one that runs Dovecot: a, b"},
		{"mdbox", func(f *Facts, _ *Listing, _ *Stores) { f.Dovecot.Mail = parseLocation("mdbox:~/mdbox") }, "format", "fail: mail there cannot be copied as files: its format is mdbox"},
		{"UTF-8 names", func(f *Facts, _ *Listing, _ *Stores) { f.Dovecot.Mail = parseLocation("maildir:~/m:UTF-8") }, "format", "fail: mail there cannot be copied as files: its location has UTF-8"},
		{"index layout", func(f *Facts, _ *Listing, _ *Stores) { f.Dovecot.Mail = parseLocation("maildir:~/m:LAYOUT=index") }, "format", "fail: "},
		{"mail_crypt", func(f *Facts, _ *Listing, _ *Stores) { f.Dovecot.Plugins = []string{"mail_crypt"} }, "encryption", "fail: "},
		{"zlib unused", func(f *Facts, _ *Listing, _ *Stores) { f.Dovecot.Plugins = []string{"zlib"} }, "compression", "ok: messages may be compressed there, but none is"},
		{"zlib", func(f *Facts, _ *Listing, s *Stores) {
			f.Dovecot.Plugins = []string{"zlib"}
			s.ByAddress["a@example.org"] = Seen{State: Unusable, Compressed: true}
		}, "compression", "fail: 1 account has compressed"},
		{"MD5", func(_ *Facts, l *Listing, _ *Stores) {
			l.Schemes = []SchemeCount{{"MD5-CRYPT", 3, true}, {"", 1, true}}
		}, "new-passwords", "warn: 4 accounts need a new password, as Dovecot 2.4 does not verify what there is: MD5-CRYPT 3, none 1"},
		{"nobody", func(_ *Facts, l *Listing, _ *Stores) { l.Accounts = nil }, "accounts", "fail: there are no accounts"},
		{"queue", func(f *Facts, _ *Listing, _ *Stores) { f.MTA.Queue = 4 }, "queue", "warn: 4 messages"},
		{"namespaces", func(f *Facts, _ *Listing, _ *Stores) { f.Dovecot.Others = []string{"archive"} }, "namespaces", "warn: mail in these namespaces"},
		{"left", func(_ *Facts, l *Listing, _ *Stores) { l.Left = []string{"alias x: why", "y"} }, "left", "warn: 2 things are not carried over; the first: alias x: why"},
		{"leftovers", func(_ *Facts, _ *Listing, s *Stores) {
			s.ByAddress["a@example.org"] = Seen{State: Found, Dotted: 2, Plain: 2}
		}, "layout", "warn: "},
		{"wrong layout", func(_ *Facts, _ *Listing, s *Stores) { s.ByAddress["a@example.org"] = Seen{State: Found, Plain: 2} }, "layout", "fail: the folders there are not of LAYOUT=maildir++, as Dovecot says: it would leave 2 messages behind, of a@example.org"},
		{"wrong fs", func(_ *Facts, l *Listing, s *Stores) {
			l.Accounts[0].Store.Layout, s.Given = "fs", true
			s.ByAddress["a@example.org"] = Seen{State: Found, Dotted: 3}
		}, "layout", "fail: the folders there are not of LAYOUT=fs, as --layout says: it would leave 3 messages behind"},
		{"leftovers only, as --layout confirms", func(_ *Facts, _ *Listing, s *Stores) {
			s.Given = true
			s.ByAddress["a@example.org"] = Seen{State: Found, Plain: 2}
		}, "layout", "warn: "},
		{"mail elsewhere", func(_ *Facts, _ *Listing, s *Stores) {
			s.ByAddress["a@example.org"] = Seen{State: Unusable, Problem: "x", Elsewhere: "/m/b"}
		}, "layout", "fail: 1 account has no mail where --layout says, and some where Dovecot says: a@example.org: /m/b"},
		{"mail elsewhere too", func(_ *Facts, _ *Listing, s *Stores) {
			s.ByAddress["a@example.org"] = Seen{State: Found, Elsewhere: "/m/b"}
		}, "elsewhere", "warn: 1 account has mail also in another place"},
		{"UIDs elsewhere", func(_ *Facts, _ *Listing, s *Stores) {
			s.ByAddress["a@example.org"] = Seen{State: Found, Control: "/c/a"}
		}, "control", "fail: UIDs and subscriptions of 1 account are not where --layout says, but where Dovecot says: a@example.org: /c/a"},
		{"no mail", func(_ *Facts, _ *Listing, s *Stores) { s.ByAddress["a@example.org"] = Seen{State: Absent} }, "stores", "fail: there is no mail of any account (as Dovecot says): nothing is in /m/a"},
		{"chosen ones without mail", func(_ *Facts, _ *Listing, s *Stores) { s.ByAddress["a@example.org"] = Seen{State: Absent} }, "no-mail", "warn: 1 account has no mail there: a@example.org"},
		{"leftovers only, where Dovecot names no place", func(f *Facts, _ *Listing, s *Stores) {
			f.Dovecot.Mail = Location{}
			s.Given = true
			s.ByAddress["a@example.org"] = Seen{State: Found, Plain: 2}
		}, "layout", "warn: "},
		{"UIDLs", func(f *Facts, _ *Listing, _ *Stores) {
			f.Dovecot.settings, _ = parseSettings("protocol pop3 {\n  pop3_uidl_format = %g\n}\n")
		}, "pop3", "warn: POP3 programs that leave mail on the server download it again, as UIDLs are of another form there (pop3_uidl_format = %g)"},
		{"UIDLs kept", func(f *Facts, _ *Listing, _ *Stores) {
			f.Dovecot.settings, _ = parseSettings("pop3_save_uidl = yes\nprotocol pop3 {\n  pop3_uidl_format = %g\n}\n")
		}, "pop3", "ok: "},
		{"UIDLs as here", func(f *Facts, _ *Listing, _ *Stores) {
			f.Dovecot.settings, _ = parseSettings("pop3_uidl_format = %{uid | hex(8)}%{uidvalidity | hex(8)}\n")
		}, "pop3", ""},
		{"false sizes", func(_ *Facts, _ *Listing, s *Stores) { s.ByAddress["a@example.org"] = Seen{State: Found, Odd: 2} }, "false-sizes", "warn: there are messages whose file names state another size (,S=) than they have, which Dovecot cannot show: a@example.org"},
		{"one mailbox for two", func(_ *Facts, l *Listing, s *Stores) {
			l.Accounts = append(l.Accounts, migrate.Account{Address: "b@example.org"})
			s.ByAddress["b@example.org"] = Seen{State: Found, Real: "/m/a"}
		}, "same-mail", "fail: a@example.org, b@example.org have the same mail (/m/a)"},
		{"broken Dovecot", func(f *Facts, _ *Listing, s *Stores) { f.Dovecot.Error = "Fatal: no"; s.Asked = false }, "stores", "ok: mail of 1 account found (as its configuration and tables say"},
		{"DKIM", func(f *Facts, _ *Listing, _ *Stores) { f.DKIM = []string{"/etc/dkimkeys/a", "/etc/dkimkeys/b"} }, "dkim", "warn: mail is signed there (/etc/dkimkeys/a and 1 more)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := good()
			l, s := one(Seen{State: Found, Real: "/m/a", UID: -1})
			test.change(f, l, s)
			var here error
			if test.name == "no rsync here" {
				here = &migrate.NoRsyncError{Err: exec.ErrNotFound}
			}
			needs := Needs{FreeBytes: 100 << 20, Rsync: here, OctetsPerSecond: 20 << 20}
			if test.name == "half of it is here" {
				needs.BroughtBytes = 75 << 20
			}
			needs.Chosen = strings.HasPrefix(test.name, "chosen")
			got := ""
			for _, c := range Preflight(f, l, s, needs) {
				if c.Name == test.check {
					got = c.Level.String() + ": " + c.Text
				}
				if c.Level == Fail && c.Remedy == "" || strings.Contains(c.Text+c.Remedy, "\n") {
					t.Errorf("a check without a way out, or of two lines: %+v", c)
				}
			}
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("%s is %q, want %q", test.check, got, test.want)
			}
		})
	}
}
