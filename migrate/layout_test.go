package migrate

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLayouts: wherever an old server keeps its mail, here it is a Maildir++ in
// <domain>/<localpart>/Maildir.
func TestLayouts(t *testing.T) {
	const address = "alice@example.org"
	plain := map[string]string{
		"cur/1:2,S": "Subject: 1\n\nx\n", ".A.B/cur/2:2,": "Subject: 2\n\nxx\n", ".v1\\2e0/new/3": "Subject: 3\n\nxxx\n",
		"dovecot-uidlist": "3 V7 N2\n1 :1\n", ".A.B/dovecot-uidlist": "3 V8 N2\n1 :2\n", "subscriptions": "V\t2\n\nA\tB\nv1\\2e0\n",
	}
	for _, test := range []struct {
		name  string
		store func(old string) Store
		make  func(b box)
		want  map[string]string
	}{
		{"flat", func(old string) Store { return Store{Maildir: old + "/example.org/alice"} }, box.fillPlain, plain},
		{"one directory an address", func(old string) Store { return Store{Maildir: old + "/alice@example.org"} }, box.fillPlain, plain},
		{"hashed", func(old string) Store { return Store{Maildir: old + "/example.org/a/al/alice/mail"} }, box.fillPlain, plain},
		{"with a prefix", func(string) Store { return Store{Prefix: "INBOX.", Separator: '.'} }, box.fillPlain, plain},
		{"odd path", func(old string) Store { return Store{Maildir: old + "/a [b]*?\\ 'c' \"d\" $(e)/-f/März"} }, box.fillPlain, plain},
		{
			"fs", func(string) Store { return Store{Layout: "fs", Separator: '/'} },
			func(b box) {
				b.message("cur/1:2,S", 1)
				b.message("A/B/cur/2:2,", 2)
				b.message("v1.0/new/3", 3)
				b.file("dovecot-uidlist", "3 V7 N2\n1 :1\n")
				b.file("A/B/dovecot-uidlist", "3 V8 N2\n1 :2\n")
				b.file("subscriptions", "A/B\nv1.0\n")
			}, plain,
		},
		{
			"control files apart", func(old string) Store { return Store{Control: old + "/control/alice"} },
			func(b box) {
				b.fillPlain()
				control := filepath.Join(b.old, "control/alice")
				for there, p := range map[string]string{".INBOX/dovecot-uidlist": "dovecot-uidlist", ".A.B/dovecot-uidlist": ".A.B/dovecot-uidlist", "subscriptions": "subscriptions"} {
					content, err := os.ReadFile(filepath.Join(b.dir, p))
					if err != nil {
						b.t.Fatal(err)
					}
					b.write(filepath.Join(control, there), string(content))
				}
				b.file("dovecot-uidlist", "3 V1 N1\n") // of an earlier time
				b.file(".A.B/dovecot-keywords", "0 old\n")
			}, plain,
		},
		{
			"fs, control files apart", func(old string) Store {
				return Store{Layout: "fs", Control: old + "/control/alice"}
			},
			func(b box) {
				b.message("cur/1:2,S", 1)
				b.message("A/B/cur/2:2,", 2)
				b.message("v1.0/new/3", 3)
				control := filepath.Join(b.old, "control/alice")
				b.write(filepath.Join(control, "INBOX/dovecot-uidlist"), "3 V7 N2\n1 :1\n")
				b.write(filepath.Join(control, "A/B/dovecot-uidlist"), "3 V8 N2\n1 :2\n")
				b.write(filepath.Join(control, "subscriptions"), "V\t2\n\nA\tB\nv1.0\n")
			}, plain,
		},
		{
			"names in UTF-8", func(string) Store { return Store{} },
			func(b box) {
				b.message(".Entwürfe/cur/1:2,S", 1)
				b.file("subscriptions", "Entwürfe\n")
			},
			map[string]string{".Entw&APw-rfe/cur/1:2,S": "Subject: 1\n\nx\n", "subscriptions": "V\t2\n\nEntw&APw-rfe\n"},
		},
		{"nothing", func(string) Store { return Store{} }, func(box) {}, map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.box(address, test.store(w.old))
			test.make(b)
			w.mustPass(true)
			w.mustPass(true)
			if diff := cmp.Diff(test.want, files(t, w.here(address, "Maildir"))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func (b box) fillPlain() {
	b.t.Helper()
	b.message("cur/1:2,S", 1)
	b.message(".A.B/cur/2:2,", 2)
	b.message(".v1\\2e0/new/3", 3)
	b.file("dovecot-uidlist", "3 V7 N2\n1 :1\n")
	b.file(".A.B/dovecot-uidlist", "3 V8 N2\n1 :2\n")
	b.file("subscriptions", "V\t2\n\nA\tB\nv1\\2e0\n")
}

// TestManyFiles: directories that are copied whole hold the same as those that are
// copied by names.
func TestManyFiles(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	for i := range 2 * minWhole {
		b.message("cur/"+itoa(i)+".M1P1.old:2,S", i%50)
	}
	for i := range 10 {
		b.message(".Few/cur/"+itoa(i)+":2,S", i)
	}
	b.file("cur/.hidden", "x")
	b.file("cur/dir/x", "x")
	r := w.pass(true)
	if all := r.Mailboxes[0].Differences; len(all) > 0 || r.Copied.Messages != 2*minWhole+10 {
		t.Errorf("copied %v, differences %v", r.Copied, all)
	}
	want := mail(t, b.dir)
	delete(want, "cur/.hidden")
	delete(want, "cur/dir/x")
	if diff := cmp.Diff(want, files(t, w.here("alice@example.org", "Maildir"))); diff != "" {
		t.Errorf("there (-) and here (+):\n%s", diff)
	}
	w.expectRights("alice@example.org")
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// TestScripts: Sieve scripts come to where ManageSieve here looks for them.
func TestScripts(t *testing.T) {
	const address = "alice@example.org"
	for _, test := range []struct {
		name  string
		store func(home string) Store
		make  func(b box, home string)
		want  map[string]string
		note  string
	}{
		{
			"scripts and a link", func(home string) Store {
				return Store{Sieve: home + "/.dovecot.sieve", Scripts: home + "/sieve"}
			},
			func(b box, _ string) { b.scripts() },
			map[string]string{"sieve/main.sieve": "keep;\n", "sieve/holiday.sieve": "stop;\n", ".dovecot.sieve": "-> sieve/main.sieve"},
			"",
		},
		{
			"an absolute link", func(home string) Store {
				return Store{Sieve: home + "/active", Scripts: home + "/scripts"}
			},
			func(b box, home string) {
				b.write(home+"/scripts/a.sieve", "stop;")
				b.link(home+"/scripts/a.sieve", home+"/active")
			},
			map[string]string{"sieve/a.sieve": "stop;", ".dovecot.sieve": "-> sieve/a.sieve"},
			"",
		},
		{
			"one script alone", func(home string) Store { return Store{Sieve: home + "/.dovecot.sieve"} },
			func(b box, home string) { b.write(home+"/.dovecot.sieve", "stop;") },
			map[string]string{"sieve/dovecot.orig.sieve": "stop;", ".dovecot.sieve": "-> sieve/dovecot.orig.sieve"},
			"",
		},
		{
			"none active", func(home string) Store {
				return Store{Sieve: home + "/.dovecot.sieve", Scripts: home + "/sieve"}
			},
			func(b box, home string) { b.write(home+"/sieve/a.sieve", "stop;") },
			map[string]string{"sieve/a.sieve": "stop;"},
			"",
		},
		{
			"a link to elsewhere", func(home string) Store {
				return Store{Sieve: home + "/.dovecot.sieve", Scripts: home + "/sieve"}
			},
			func(b box, home string) {
				b.write(home+"/sieve/a.sieve", "stop;")
				b.link("/etc/passwd", home+"/.dovecot.sieve")
				b.link("/etc/passwd", home+"/sieve/b.sieve")
			},
			map[string]string{"sieve/a.sieve": "stop;"},
			`is a link to "/etc/passwd"`,
		},
		{
			"folders by other names", func(home string) Store {
				return Store{Sieve: home + "/.dovecot.sieve", Prefix: "INBOX.", Separator: '.'}
			},
			func(b box, home string) { b.write(home+"/.dovecot.sieve", `fileinto "INBOX.Lists.go";`) },
			map[string]string{"sieve/dovecot.orig.sieve": `fileinto "Lists/go";`, ".dovecot.sieve": "-> sieve/dovecot.orig.sieve"},
			"",
		},
		{
			"none", func(home string) Store {
				return Store{Sieve: home + "/.dovecot.sieve", Scripts: home + "/sieve"}
			}, func(box, string) {}, map[string]string{}, "",
		},
		{
			"in the Maildir itself", func(home string) Store {
				return Store{Maildir: home, Sieve: home + "/.dovecot.sieve", Scripts: home + "/sieve"}
			},
			func(b box, home string) {
				b.write(home+"/sieve/a.sieve", "stop;")
				b.link("sieve/a.sieve", home+"/.dovecot.sieve")
			},
			map[string]string{"sieve/a.sieve": "stop;", ".dovecot.sieve": "-> sieve/a.sieve"},
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			home := filepath.Join(w.old, "example.org/alice")
			b := w.box(address, test.store(home))
			test.make(b, home)
			b.message("cur/1:2,S", 1)
			w.mustPass(false)
			r := w.mustPass(true)
			got := files(t, w.here(address, ""))
			maps.DeleteFunc(got, func(p, _ string) bool { return p == marker || strings.HasPrefix(p, "Maildir/") })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			notes := r.Mailboxes[0].Notes
			if noted := slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, test.note) }); test.note != "" && !noted || test.note == "" && len(notes) > 0 {
				t.Errorf("notes %q, want %q", notes, test.note)
			}

			// A script that goes there goes here.
			for p := range test.want {
				if strings.HasPrefix(p, "sieve/") && test.note == "" && b.Sieve(home, p) {
					w.mustPass(true)
					if _, err := os.Lstat(w.here(address, p)); err == nil {
						t.Errorf("%s is still here", p)
					}
					break
				}
			}
		})
	}
}

// Sieve removes a script there; false: it has another name there.
func (b box) Sieve(home, p string) bool {
	return os.Remove(filepath.Join(home, p)) == nil
}

func (b box) link(target, p string) {
	b.t.Helper()
	b.mkdir(filepath.Dir(p))
	if err := os.Symlink(target, p); err != nil {
		b.t.Fatal(err)
	}
}
