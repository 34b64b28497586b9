package source

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailstack/migrate"

	"github.com/google/go-cmp/cmp"
)

// store makes files below a directory.
func store(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, found := strings.CutPrefix(text, "-> "); found {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// listing has accounts in example.org, with a column each.
func listing(names map[string]columns) *Listing {
	l := &Listing{columns: map[string]columns{}}
	for name, c := range names {
		address := name + "@example.org"
		c.raw = first(c.raw, address)
		l.columns[address] = c
		l.Accounts = append(l.Accounts, migrate.Account{Address: address})
	}
	slices.SortFunc(l.Accounts, func(x, y migrate.Account) int { return strings.Compare(x.Address, y.Address) })
	return l
}

func (l *Listing) storeOf(name string) migrate.Store {
	for _, account := range l.Accounts {
		if account.Address == name+"@example.org" {
			return account.Store
		}
	}
	return migrate.Store{}
}

// doveadm answers for some users; the others are unknown to it.
func doveadm(answers map[string][]string) string {
	script := `[ "$1" = user ] || exit 64
case $2 in
`
	for _, name := range sortedKeys(answers) {
		script += name + "@example.org)\n\tprintf 'field\\tvalue\\nuid\\t5000\\ngid\\t5000\\n'\n"
		for i := 0; i < len(answers[name]); i += 2 {
			script += fmt.Sprintf("\tprintf '%%s\\t%%s\\n' '%s' '%s'\n", answers[name][i], answers[name][i+1])
		}
		script += "\t;;\n"
	}
	return script + "*) echo; echo \"userdb lookup: user $2 doesn't exist\"; exit 67 ;;\nesac"
}

func sortedKeys[V any](m map[string]V) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

const letter = "Subject: x\n\nx\n"

// crowd is a mail store in which everything is that there may be. What of it
// Dovecot knows is in answers.
func crowd(t *testing.T, root string) (list *Listing, answers map[string][]string) {
	t.Helper()
	store(t, root, map[string]string{
		"example.org/alice/Maildir/cur/1.a,S=14:2,S":             letter,
		"example.org/alice/Maildir/new/2.a":                      letter,
		"example.org/alice/Maildir/.Sent items/cur/3.a,S=14:2,S": letter,
		"example.org/alice/Maildir/subscriptions":                "Sent items\n",
		"example.org/alice/sieve/filter.sieve":                   "keep;",
		"example.org/alice/.dovecot.sieve":                       "-> sieve/filter.sieve",
		"example.org/bob/Maildir/cur/1.b":                        letter,
		"example.org/comp/Maildir/cur/1.c,S=14:2,S":              gzipped(t, letter),
		"example.org/crypt/Maildir/cur/1.c,S=14:2,S":             "CRYPTED\x03\x07\x02 and more",
		"example.org/wrong/Maildir/cur/1.c,S=99:2,S":             letter,
		"example.org/thief/Maildir/cur/1":                        letter,
		"example.org/thief/.dovecot.sieve":                       "-> /etc/passwd",
		"example.org/box/mdbox/storage/m.1":                      "x",
		"example.org/file/Maildir":                               "From x",
		"example.org/flat/Maildir/cur/1":                         letter,
		"example.org/flat/Maildir/Folder/cur/1":                  letter,
		"other/dave/cur/1":                                       letter,
	})
	list = listing(map[string]columns{
		"alice": {}, "bob": {}, "comp": {}, "crypt": {}, "wrong": {}, "thief": {}, "box": {}, "file": {}, "flat": {}, "nomail": {}, "evil": {},
		"dave": {maildir: "maildir:" + filepath.Join(root, "other/dave") + ":LAYOUT=fs"},
		"lost": {raw: "Lost@Example.Org"},
		"mdb":  {format: "mdbox"},
	})
	answers = map[string][]string{
		"evil": {"home", root + "/../etc", "mail", "maildir:~/x"},
		"box":  {"home", root + "/example.org/box", "mail", "maildir:~/mdbox"},
	}
	for _, name := range []string{"alice", "comp", "crypt", "wrong", "thief", "file", "flat", "nomail"} {
		answers[name] = []string{"home", root + "/example.org/" + name, "mail", "maildir:~/Maildir", "quota_rule", "*:bytes=0"}
	}
	return list, answers
}

func TestLocate(t *testing.T) {
	root := t.TempDir()
	home := func(name string) string { return filepath.Join(root, "example.org", name) }
	list, answers := crowd(t, root)
	facts := &Facts{Dovecot: Dovecot{
		Version: "2.3.19.1", Mail: parseLocation("maildir:~/Maildir"), Sieve: "~/.dovecot.sieve", Scripts: "~/sieve",
		Inbox: Namespace{"inbox", "INBOX.", 0},
	}}
	looked, places := -1, 0
	stores, err := Locate(t.Context(), newHost(t, map[string]string{"doveadm": doveadm(answers)}), facts, list, LocateOptions{
		Progress: func(done, total int) { looked, places = done, total },
	})
	if err != nil {
		t.Fatal(err)
	}
	if !stores.Asked || looked != places {
		t.Errorf("asked %v, looked at %d of %d places", stores.Asked, looked, places)
	}
	want := migrate.Store{
		Maildir: home("alice") + "/Maildir", Layout: "maildir++", Separator: '.', Prefix: "INBOX.",
		Sieve: home("alice") + "/sieve/filter.sieve", Scripts: home("alice") + "/sieve", Files: 4, Bytes: int64(3*len(letter) + len("Sent items\n")),
	}
	if diff := cmp.Diff(want, list.storeOf("alice")); diff != "" {
		t.Errorf("alice (-want +got):\n%s", diff)
	}
	seen := Seen{State: Found, UID: os.Getuid(), GID: os.Getgid(), Real: home("alice") + "/Maildir", Messages: 3, Subscriptions: true, Dotted: 1}
	if diff := cmp.Diff(seen, stores.ByAddress["alice@example.org"]); diff != "" {
		t.Errorf("alice as seen (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		name    string
		state   State
		maildir string
		problem string
	}{
		{"bob", Found, home("bob") + "/Maildir", ""}, // disabled: learnt from the others
		{"dave", Found, root + "/other/dave", ""},
		{"wrong", Found, home("wrong") + "/Maildir", ""},
		{"thief", Found, home("thief") + "/Maildir", ""},
		{"flat", Found, home("flat") + "/Maildir", ""},
		{"nomail", Absent, home("nomail") + "/Maildir", ""},
		{"lost", Absent, home("lost") + "/Maildir", ""},
		{"comp", Unusable, "", "compressed"},
		{"crypt", Unusable, "", "encrypted"},
		{"box", Unusable, "", "is dbox"},
		{"file", Unusable, "", "mbox?"},
		{"mdb", Unusable, "", "mdbox, not Maildir"},
		{"evil", Unusable, "", ".. is refused"},
	} {
		got := stores.ByAddress[test.name+"@example.org"]
		if got.State != test.state || list.storeOf(test.name).Maildir != test.maildir || !strings.Contains(got.Problem, test.problem) || (test.problem == "") != (got.Problem == "") {
			t.Errorf("%s: %+v, store %+v; want state %d, %q, %q", test.name, got, list.storeOf(test.name), test.state, test.maildir, test.problem)
		}
	}
	if s := stores.ByAddress["thief@example.org"]; s.Outside != "/etc/passwd" || list.storeOf("thief").Sieve != "" {
		t.Errorf("a link out of the home: %+v, %+v", s, list.storeOf("thief"))
	}
	if s := list.storeOf("dave"); s.Layout != "fs" || s.Separator != '/' {
		t.Errorf("dave: %+v", s)
	}
	if s := stores.ByAddress["wrong@example.org"]; s.Odd != 1 || s.Compressed || s.Encrypted {
		t.Errorf("a message of another size: %+v", s)
	}
	levels := map[string]Level{}
	for _, check := range Preflight(facts, list, stores, Needs{FreeBytes: 1}) {
		levels[check.Name] = check.Level
	}
	for name, level := range map[string]Level{"stores": OK, "no-mail": Warn, "unusable": Fail, "layout": Warn, "size": Fail, "sieve": OK, "sieve-links": Warn} {
		if got, found := levels[name]; !found || got != level {
			t.Errorf("check %s: %v (%v), want %v", name, got, found, level)
		}
	}
}

// Where Dovecot is down, its configuration and the tables say where mail is.
func TestLocateStopped(t *testing.T) {
	root := t.TempDir()
	store(t, root, map[string]string{
		"vmail/example.org/alice/cur/1":  "x", // the column is the Maildir
		"vmail/h/bob/Maildir/cur/1":      "x", // the column is the home
		"home/example.org/carol/m/cur/1": "x", // by mail_home
		"vmail/2/dora/cur/1":             "x", // found twice
		"home/example.org/dora/m/cur/1":  "x",
		"vmail/example.org/erin/Notes":   "a directory of another kind",
	})
	list := listing(map[string]columns{
		"alice": {maildir: "example.org/alice/"}, "bob": {home: filepath.Join(root, "vmail/h/bob"), maildir: "maildir:~/Maildir"}, "carol": {},
		"dora": {maildir: "2/dora/"}, "erin": {maildir: "example.org/erin/"}, "zoe": {maildir: "../../etc/"},
	})
	facts := &Facts{
		Dovecot: Dovecot{Version: "2.3.19.1", Mail: parseLocation("maildir:~/m"), Home: filepath.Join(root, "home/%d/%n")},
		SQL:     []Connection{{Driver: "mysql", Query: "SELECT CONCAT('" + root + "/vmail/', maildir) AS home"}},
	}
	host := newHost(t, map[string]string{"doveadm": "exit 75"})
	stores, err := Locate(t.Context(), host, facts, list, LocateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if stores.Asked {
		t.Error("it says that Dovecot answered")
	}
	for _, test := range []struct {
		name    string
		state   State
		maildir string
	}{
		{"alice", Found, "vmail/example.org/alice"},
		{"bob", Found, "vmail/h/bob/Maildir"},
		{"carol", Found, "home/example.org/carol/m"},
		{"dora", Unusable, ""},
		{"erin", Absent, "vmail/example.org/erin/m"},
		{"zoe", Absent, "home/example.org/zoe/m"},
	} {
		want := ""
		if test.maildir != "" {
			want = filepath.Join(root, test.maildir)
		}
		got := stores.ByAddress[test.name+"@example.org"]
		if got.State != test.state || list.storeOf(test.name).Maildir != want {
			t.Errorf("%s: %+v, store %+v; want state %d, %q", test.name, got, list.storeOf(test.name), test.state, want)
		}
	}
	if s := stores.ByAddress["dora@example.org"]; !strings.Contains(s.Problem, "say which it is (--layout)") {
		t.Errorf("two places: %+v", s)
	}
}

func TestLayoutOption(t *testing.T) {
	root := t.TempDir()
	store(t, root, map[string]string{"org/a/al/mail/cur/1": "x", "org/a/al/mail/Sub/cur/1": "x"})
	list := listing(map[string]columns{"al": {maildir: "nowhere"}})
	host := newHost(t, nil)
	layout := "maildir:" + root + "/org/%1n/%n/mail:LAYOUT=fs:CONTROL=" + root + "/control/%u"
	stores, err := Locate(t.Context(), host, &Facts{}, list, LocateOptions{Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	s := list.storeOf("al")
	if s.Maildir != root+"/org/a/al/mail" || s.Layout != "fs" || s.Separator != '/' || s.Control != root+"/control/al@example.org" || stores.ByAddress["al@example.org"].Plain != 1 {
		t.Errorf("%+v, %+v", s, stores.ByAddress)
	}
	for _, layout := range []string{"/srv/mail", "mdbox:/srv/mail", "maildir:", "maildir:/m/%Hn", "maildir:~/x", "maildir:/m:INBOX=/x"} {
		if _, err := Locate(t.Context(), host, &Facts{}, list, LocateOptions{Layout: layout}); err == nil || !strings.Contains(err.Error(), "layout") {
			t.Errorf("%s: %v", layout, err)
		}
	}
}

// TestLayoutAgainstDovecot: a layout that leaves behind what Dovecot knows of is found
// out, account by account.
func TestLayoutAgainstDovecot(t *testing.T) {
	root := t.TempDir()
	store(t, root, map[string]string{
		"org/al/cur/1": "x", "old/al/cur/1": "x", "org/al/home/.dovecot.sieve": "keep;",
		"org/bo/cur/1": "x", "own/bo/cur/1": "x",
		"own/cy/cur/1": "x",
		"org/di/cur/1": "x",
	})
	facts := &Facts{Dovecot: Dovecot{Version: "2.3.19.1", Mail: parseLocation("maildir:" + root + "/org/%n"), Sieve: "~/.dovecot.sieve"}}
	host := newHost(t, map[string]string{"doveadm": doveadm(map[string][]string{
		"al": {"home", root + "/org/al/home", "mail", "maildir:" + root + "/org/al"},
		"bo": {"home", root + "/own/bo", "mail", "maildir:" + root + "/own/bo"},
		"cy": {"home", root + "/own/cy", "mail", "maildir:" + root + "/own/cy"},
		"di": {"home", root + "/org/di", "mail", "maildir:" + root + "/org/di:CONTROL=" + root + "/control/di"},
	})})
	list := listing(map[string]columns{"al": {}, "bo": {}, "cy": {}, "di": {}})
	stores, err := Locate(t.Context(), host, facts, list, LocateOptions{Layout: "maildir:" + root + "/org/%n"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Seen{
		"al": {State: Found},
		"bo": {State: Found, Elsewhere: root + "/own/bo"},
		"cy": {State: Unusable, Elsewhere: root + "/own/cy"},
		"di": {State: Found, Control: root + "/control/di"},
	} {
		got := stores.ByAddress[name+"@example.org"]
		if got.State != want.State || got.Elsewhere != want.Elsewhere || got.Control != want.Control || (got.Problem != "") != (got.State == Unusable) {
			t.Errorf("%s was seen as %+v, want %+v", name, got, want)
		}
	}
	if s := list.storeOf("al").Sieve; s != root+"/org/al/home/.dovecot.sieve" {
		t.Errorf("al's script is %q", s)
	}
}

// Dovecot in a container names paths that are called otherwise outside.
func TestLocateContainer(t *testing.T) {
	root := t.TempDir()
	store(t, root, map[string]string{"data/example.org/alice/cur/1": "x", "data/example.org/bob/cur/1": "x", "data/example.org/alice/home/.dovecot.sieve": "keep;"})
	list := listing(map[string]columns{"alice": {}, "bob": {}, "out": {}})
	facts := &Facts{
		Engine: "docker", Containers: []Container{{Name: "box", Mounts: []Mount{{filepath.Join(root, "data"), "/var/mail"}}}},
		Dovecot: Dovecot{
			Version: "2.4.1", Container: "box", Mail: Location{Driver: "maildir", Path: "/var/mail/%{user|domain}/%{user|username}", Layout: "maildir++"},
			Sieve: "~/.dovecot.sieve", Scripts: "~/sieve",
		},
	}
	bin := programs(t, map[string]string{"doveadm": doveadm(map[string][]string{
		"alice": {"home", "/var/mail/example.org/alice/home", "mail_path", "/var/mail/example.org/alice"},
		"out":   {"home", "/home/out", "mail_path", "/home/out/mail"},
	})})
	host := newHost(t, map[string]string{"docker": docker("", "", bin)})
	stores, err := Locate(t.Context(), host, facts, list, LocateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(root, "data/example.org")
	alice := list.storeOf("alice")
	if alice.Maildir != data+"/alice" || alice.Sieve != data+"/alice/home/.dovecot.sieve" || list.storeOf("bob").Maildir != data+"/bob" {
		t.Errorf("alice %+v, bob %+v", alice, list.storeOf("bob"))
	}
	if s := stores.ByAddress["out@example.org"]; s.State != Unusable || !strings.Contains(s.Problem, "inside container box only") {
		t.Errorf("mail in no volume: %+v", s)
	}
}
