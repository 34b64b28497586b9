package source

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func dovecotOf(t *testing.T, name, version string, files map[string]string) Dovecot {
	t.Helper()
	text, err := os.ReadFile("testdata/doveconf/" + name + ".conf")
	if err != nil {
		t.Fatal(err)
	}
	d := Dovecot{Version: version}
	d.settings, d.Error = parseSettings(string(text))
	d.read(files)
	return d
}

func TestDoveconf(t *testing.T) {
	sqlFile := map[string]string{"/etc/dovecot/dovecot-sql.conf.ext": "driver = mysql\nconnect = host=localhost dbname=mailserver\n"}
	for _, test := range []struct {
		name, version string
		files         map[string]string
		want          Dovecot
	}{
		{"ispmail-bookworm", "2.3.19.1", sqlFile, Dovecot{
			Mail: Location{Driver: "maildir", Path: "~/Maildir", Layout: "maildir++"}, Home: "/var/vmail/%d/%n",
			Plugins: []string{"imap_quota", "imap_sieve", "quota", "sieve"},
			Inbox:   Namespace{"inbox", "INBOX.", '.'},
			Sieve:   "~/.dovecot.sieve", Scripts: "~/sieve",
			PassDB: []string{"sql"}, UserDB: []string{"prefetch", "sql"}, DefaultScheme: "MD5",
		}},
		{"iredmail", "2.3.16", map[string]string{
			"/etc/dovecot/dovecot-mysql.conf": "connect = host=127.0.0.1 port=3306 dbname=vmail user=vmail password=x\ndefault_pass_scheme = CRYPT\n",
		}, Dovecot{
			Mail:    Location{Driver: "maildir", Path: "%Lh/Maildir/", Layout: "maildir++"},
			Plugins: []string{"acl", "last_login", "mail_log", "mailbox_alias", "notify", "quota", "sieve"},
			Inbox:   Namespace{"inbox", "", '/'},
			Shared:  []string{"Shared/%%u/"},
			Sieve:   "~/sieve/dovecot.sieve", Scripts: "~/sieve",
			PassDB: []string{"sql", "passwd-file"}, UserDB: []string{"sql"}, DefaultScheme: "CRYPT",
		}},
		{"mailcow", "2.3.21.1", nil, Dovecot{
			Error: "Error: ssl enabled, but ssl_cert not set",
			Mail:  Location{Driver: "maildir", Path: "~/", Layout: "maildir++"}, Home: "/var/vmail/%d/%n",
			Plugins: []string{"acl", "fts", "fts_flatcurve", "lazy_expunge", "listescape", "mail_crypt", "mail_crypt_acl", "mail_log", "notify", "quota", "replication", "sieve", "zlib"},
			Inbox:   Namespace{"inbox", "", '/'},
			Sieve:   "/var/vmail/sieve/%u.sieve", Scripts: "/var/vmail/sieve/%u",
			PassDB: []string{"lua"},
		}},
		{"mdbox", "2.3.4.1", nil, Dovecot{
			Mail:   Location{Driver: "mdbox", Path: "/srv/mail/%d/%n", Odd: []string{"ALT=/srv/old/%d/%n"}},
			Others: []string{"archive"},
			PassDB: []string{"passwd-file"}, DefaultScheme: "SSHA256",
		}},
		{"ispmail-trixie", "2.4.1-4", nil, Dovecot{
			Mail:    Location{Driver: "maildir", Path: "~/Maildir", Layout: "maildir++"},
			Home:    "/var/vmail/%{user|domain}/%{user|username}",
			Plugins: []string{"quota", "sieve"},
			Inbox:   Namespace{"inbox", "", '.'},
			Sieve:   "~/.dovecot.sieve", Scripts: "~/sieve",
			PassDB: []string{"sql"}, UserDB: []string{"sql"}, DefaultScheme: "SHA256-CRYPT",
		}},
		{"dms-v16", "2.4.1-4", nil, Dovecot{
			Mail: Location{
				Driver: "maildir", Path: "/var/mail/%{user | domain}/%{user | username}", Layout: "fs", Control: "/var/mail-control/%{user}",
				Odd: []string{"mailbox_list_utf8 = yes"},
			},
			Home:    "/var/mail/%{user | domain}/%{user | username}/home",
			Plugins: []string{"imap_quota", "mail_compress", "quota"},
			PassDB:  []string{"passwd-file"}, UserDB: []string{"passwd-file"}, DefaultScheme: "SHA512-CRYPT",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Version = test.version
			got := dovecotOf(t, test.name, test.version, test.files)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Dovecot{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUserDatabases(t *testing.T) {
	for _, test := range []struct{ block, home, mail string }{
		{"driver = static\n  args = uid=vmail gid=vmail home=/var/vmail/%d/%n mail=maildir:~/M", "/var/vmail/%d/%n", "~/M"},
		{"driver = passwd-file\n  args = username_format=%u /etc/dovecot/users\n  default_fields = uid=1 home=/var/mail/%d/%n/home/", "/var/mail/%d/%n/home/", ""},
		{"driver = sql\n  args = /etc/x\n  override_fields = home=/o/%u\n  default_fields = home=/d/%u", "/o/%u", ""},
		{"driver = sql\n  args = /etc/sql", "/q/%d/%n", ""},
		{"driver = sql\n  args = /etc/own", "", ""},
		{"driver = sql\n  query = SELECT '/v/%{user | domain}' as \"home\" FROM u", "/v/%{user | domain}", ""},
		{"driver = passwd-file\n  fields {\n    home:default = /f/%{user}\n  }", "/f/%{user}", ""},
	} {
		var d Dovecot
		d.settings, _ = parseSettings("userdb {\n  " + test.block + "\n}\n")
		d.read(map[string]string{
			"/etc/sql": "connect = dbname=m\nuser_query = SELECT email AS user, \\\n  '/q/%d/%n' AS home, 5000 AS uid FROM users\n",
			"/etc/own": "connect = dbname=m\nuser_query = SELECT concat('/q/', maildir) AS home FROM users\n",
		})
		if d.Home != test.home || d.Mail.Path != test.mail {
			t.Errorf("%s: home %q, mail %+v", test.block, d.Home, d.Mail)
		}
	}
}

func TestParseLocation(t *testing.T) {
	for in, want := range map[string]Location{
		"":                                  {},
		"maildir:~/Maildir":                 {Driver: "maildir", Path: "~/Maildir", Layout: "maildir++"},
		"maildir:/srv/a::b/%u":              {Driver: "maildir", Path: "/srv/a:b/%u", Layout: "maildir++"},
		"maildir:/m/%u:LAYOUT=fs":           {Driver: "maildir", Path: "/m/%u", Layout: "fs"},
		"maildir:/m/%u:INDEX=MEMORY":        {Driver: "maildir", Path: "/m/%u", Layout: "maildir++"},
		"maildir:/m:CONTROL=/c/%u:INDEX=/i": {Driver: "maildir", Path: "/m", Layout: "maildir++", Control: "/c/%u", Index: "/i"},
		"maildir:/m:INBOX=/var/mail/%u":     {Driver: "maildir", Path: "/m", Layout: "maildir++", Odd: []string{"INBOX=/var/mail/%u"}},
		"maildir:/m:UTF-8":                  {Driver: "maildir", Path: "/m", Layout: "maildir++", Odd: []string{"UTF-8"}},
		"MDBOX:~/mdbox":                     {Driver: "mdbox", Path: "~/mdbox"},
		"/var/vmail/%d/%n":                  {Path: "/var/vmail/%d/%n"},
		"~/Maildir":                         {Path: "~/Maildir"},
		"mbox:~/mail:INBOX=/var/mail/%u":    {Driver: "mbox", Path: "~/mail", Odd: []string{"INBOX=/var/mail/%u"}},
	} {
		if diff := cmp.Diff(want, parseLocation(in), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func TestResolve(t *testing.T) {
	alice := user{"alice@example.org", "/home/Alice"}
	for _, test := range []struct{ in, want, wrong string }{
		{"", "", ""},
		{"/var/vmail/%d/%n", "/var/vmail/example.org/alice", ""},
		{"/var/vmail/%u/", "/var/vmail/alice@example.org", ""},
		{"~/Maildir", "/home/Alice/Maildir", ""},
		{"%h/Maildir", "/home/Alice/Maildir", ""},
		{"%Lh//Maildir", "/home/alice/Maildir", ""},
		{"/v/%Ud", "/v/EXAMPLE.ORG", ""},
		{"/v/%1n/%n", "/v/a/alice", ""},
		{"/v/%1.1n/%.2n", "/v/l/al", ""},
		{"/v/%99.1n/x", "/v/x", ""},
		{"/v/100%%", "/v/100%", ""},
		{"/v/%{user}/%{username}/%{domain}", "/v/alice@example.org/alice/example.org", ""},
		{"/v/%{user | domain | upper}", "/v/EXAMPLE.ORG", ""},
		{"/v/%{user|username|substr(0,2)}/%{user | substr(6)}", "/v/al/example.org", ""},
		{`%{userdb:mail_path | default("~/Maildir")}`, "/home/Alice/Maildir", ""},
		{`~/%{userdb:active_script | default('.dovecot.sieve')}`, "/home/Alice/.dovecot.sieve", ""},
		{`%{home | default("/nowhere")}/x`, "/home/Alice/x", ""},
		{"/v/%2.256Nu", "", "not supported"},
		{"/v/%{if;%d;eq;x;a;b}", "", "not known"},
		{"/v/%{user | md5}", "", `"md5" is not supported`},
		{"/v/%{userdb:x}", "", "not known"},
		{"/v/%", "", "bare %"},
		{"/v/%{user", "", "brace"},
		{"/v/%-1n", "", "width"},
		{"/v/%99999999999999999999n", "", "width"},
		{"/v/%s", "", "%s is not supported"},
		{"Maildir", "", "not an absolute path"},
		{"~root/x", "", "not an absolute path"},
		{"/v/../etc", "", ".. is refused"},
		{"/v/a\nb", "", "control characters"},
		{"/", "", "root directory"},
		{"//.//", "", "root directory"},
		{"/v/" + strings.Repeat("x", 5000), "", "too long"},
	} {
		got, err := alice.resolve(test.in)
		if got != test.want || (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%.60q: %q, %v, want %q, %q", test.in, got, err, test.want, test.wrong)
		}
	}
	// What a name holds does not leave its directory.
	if got, err := (user{name: "../../etc@x"}).resolve("/v/%n"); err == nil {
		t.Errorf("a name with ..: %q", got)
	}
	if got, err := (user{name: "a@b"}).resolve("~/Maildir"); err == nil {
		t.Errorf("no home: %q", got)
	}
}

func TestConnections(t *testing.T) {
	for _, test := range []struct {
		text string
		want *Connection
	}{
		{"driver = mysql\nconnect = host=127.0.0.1 port=3307 dbname=mail user=me password=p=w\\\n\ndefault_pass_scheme = SHA512-CRYPT\n" +
			"user_query = SELECT '/var/vmail/%d/%n' AS home, \\\n  5000 AS uid\n", &Connection{
			Driver: "mysql", Host: "127.0.0.1", Port: "3307", Database: "mail", User: "me", Password: `p=w`, Scheme: "SHA512-CRYPT",
			Query: "SELECT '/var/vmail/%d/%n' AS home,  5000 AS uid",
		}},
		{"#connect = host=x\nconnect = \"host=/run/mysqld/mysqld.sock dbname=mail\"\n", &Connection{Driver: "mysql", Socket: "/run/mysqld/mysqld.sock", Database: "mail"}},
		{"driver=pgsql\nconnect=host=db dbname=mail\n", &Connection{Driver: "pgsql", Host: "db", Database: "mail"}},
		{"user = me\npassword = secret word\nhosts = unix:/run/m.sock\ndbname = postfix\nquery = SELECT goto FROM alias\n  WHERE address='%s'\n", &Connection{
			Driver: "mysql", Socket: "/run/m.sock", Database: "postfix", User: "me", Password: "secret word",
		}},
		{"hosts = inet:db.example.org:3307, other\ndbname = postfix\n", &Connection{Driver: "mysql", Host: "db.example.org", Port: "3307", Database: "postfix"}},
		{"ssl = yes\n", nil},
		{"", nil},
	} {
		got, found := fileConnection("/etc/x", test.text)
		if !found {
			if test.want != nil {
				t.Errorf("%q: not found", test.text)
			}
			continue
		}
		if test.want == nil {
			t.Errorf("%q: found %+v", test.text, got)
			continue
		}
		test.want.From = "/etc/x"
		if diff := cmp.Diff(*test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.text, diff)
		}
	}
	blocks := blockConnections("mysql /run/mysqld/mysqld.sock {\n  dbname = mail\n  password = \"a#b \"\n  user = me\n}\nmysql db {\n  mysql_dbname = other\n}\n")
	want := []Connection{
		{From: "doveconf: mysql /run/mysqld/mysqld.sock", Driver: "mysql", Socket: "/run/mysqld/mysqld.sock", Database: "mail", User: "me", Password: "a#b "},
		{From: "doveconf: mysql db", Driver: "mysql", Host: "db", Database: "other"},
	}
	if diff := cmp.Diff(want, blocks); diff != "" {
		t.Errorf("blocks (-want +got):\n%s", diff)
	}
}
