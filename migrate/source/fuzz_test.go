package source

import (
	"os"
	"strings"
	"testing"
	"unicode"
)

// shown fails where a text of the old server could do something to a terminal.
func shown(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(text) > 10000 {
			t.Errorf("not fit to be shown: %q", text)
		}
	}
}

func FuzzFacts(f *testing.F) {
	for _, name := range []string{"ispmail-bookworm", "iredmail", "mailcow", "mdbox", "ispmail-trixie", "dms-v16"} {
		text, err := os.ReadFile("testdata/doveconf/" + name + ".conf")
		if err != nil {
			f.Fatal(err)
		}
		f.Add("\nM uid\n0\nM dovecot\n2.3.19.1 (x)\nM doveconf\n" + string(text) + "\nM end\n")
	}
	f.Add("\nM uid\nx\nM os\nPRETTY_NAME=\"a\x1bb\"\nM rsync\nrsync  version 3.2.7\nM disks\n/dev/sda 1 2 3 4% /\nM queue\n-- 5 Kbytes in 3 Requests.\n" +
		"M containers docker\n{\"name\":\"/a\",\"image\":\"b\",\"labels\":{\"c\":\"d\"},\"mounts\":[{\"Source\":\"/s\",\"Destination\":\"/d\"}]}\nM box a\n" +
		"M file /etc/x\nconnect = host=a dbname=b password=c\nM sql\nmysql a {\n dbname = b\n}\nM postconf\nvirtual_mailbox_base = /v\nM end")
	f.Fuzz(func(t *testing.T, out string) {
		facts, err := parseFacts([]byte(out), "M")
		if err != nil {
			return
		}
		d := facts.Dovecot
		shown(t, facts.OS, facts.Rsync, d.Version, d.Error, d.DefaultScheme, d.Inbox.Name, d.Inbox.Prefix, facts.MTA.Name)
		for _, list := range [][]string{d.Plugins, d.Others, d.Shared, d.Mail.Odd, d.PassDB, d.UserDB, facts.Programs, facts.Processes, facts.Traces, facts.DKIM} {
			shown(t, list...)
		}
		for _, check := range Preflight(facts, nil, nil, Needs{FreeBytes: -1}) {
			if strings.ContainsAny(check.Text+check.Remedy, "\n\r\x1b") || check.Name == "" || check.Text == "" {
				t.Errorf("check %+v", check)
			}
		}
		for _, name := range []string{"alice@example.org", "", "@", "../x@.."} {
			for _, setting := range []string{d.Mail.Path, d.Mail.Control, d.Home, d.Sieve} {
				path, err := user{name, "/home"}.resolve(setting)
				if err == nil && path != "" && (path[0] != '/' || strings.Contains(path+"/", "/../") || strings.ContainsAny(path, "\n\x00")) {
					t.Errorf("%q with %q is %q", setting, name, path)
				}
			}
		}
	})
}

func FuzzFiles(f *testing.F) {
	f.Add("alice@example.org|{SHA512-CRYPT}$6$s$h|userdb_mail=x", "alice@example.org:5G", "info@example.org alice@example.org,info@example.org")
	f.Add("a@b|", ":", "@b a@b")
	f.Fuzz(func(t *testing.T, accounts, quotas, virtual string) {
		checkListing(t, parseFiles(map[string]string{"postfix-accounts.cf": accounts, "dovecot-quotas.cf": quotas, "postfix-virtual.cf": virtual}, ""))
	})
}

func FuzzMapping(f *testing.F) {
	f.Add("database = \"d\"\n[accounts]\ntable = \"u\"\npassword = \"p\"\naddress = \"a\"\n[aliases]\ntable = \"l\"\naddress = \"a\"\ntargets = \"t\"\n")
	f.Fuzz(func(t *testing.T, file string) {
		m, err := ParseMapping("map.toml", strings.NewReader(file))
		if err == nil {
			m.read(tables{}, "")
			m.missing(nil)
		}
	})
}

func FuzzNormalHash(f *testing.F) {
	f.Add("{CRYPT}$6$a$b", "MD5")
	f.Add("$2y$05$x", "")
	f.Fuzz(func(t *testing.T, stored, byDefault string) {
		hash, reason := normalHash(stored, byDefault)
		if (hash == "") != (reason != "") {
			t.Errorf("%q, %q", string(hash), reason)
		}
		if again, _ := normalHash(string(hash), ""); hash != "" && verifiable(hash) && again != hash {
			t.Errorf("%q is %q the second time", string(hash), string(again))
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add("\nM user 0\nfield\tvalue\nuid\t5000\nhome\t/home/a\nmail\tmaildir:~/Maildir:LAYOUT=fs\nM status 0\nM user 1\nM status 67\nM end",
		"state maildir\nreal /m\nowner 1 2\ncount 1 2 3 4 5 6\nmagic 1f8b\nsieve /x\nscripts /y\nsubscriptions")
	f.Fuzz(func(t *testing.T, users, body string) {
		for _, a := range parseUsers([]byte(users), "M") {
			_ = unsuitable(a.mail)
		}
		s := parseSight(place{}, body)
		if s.files < 0 || s.bytes < 0 || s.seen.Messages < 0 || strings.Contains(s.sieve+s.scripts, "\n") {
			t.Errorf("%+v", s)
		}
		shown(t, s.seen.Problem, s.seen.Outside)
	})
}
