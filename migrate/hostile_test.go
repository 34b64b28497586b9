package migrate

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailstack/migrate/maildir"

	"golang.org/x/sys/unix"
)

// TestHostileThere: nothing in a mailbox leads out of it, is run or is waited for,
// and messages with the oddest names arrive all the same.
func TestHostileThere(t *testing.T) {
	const address = "mallory@example.org"
	w := newWorld(t)
	secret := filepath.Join(w.volume, "../secret")
	w.write(filepath.Join(secret, "cur/1"), "a secret")
	b := w.box(address, Store{})
	other := w.box("bob@example.org", Store{})
	other.fill()

	b.link(secret+"/cur/1", b.dir+"/cur/1.link:2,S")
	b.link("../../../bob/Maildir/cur", b.dir+"/cur/2.link")
	b.link(secret, b.dir+"/.Secret")
	b.mkdir(b.dir + "/.Out/new")
	b.link(secret+"/cur", b.dir+"/.Out/cur")
	b.link(secret+"/cur/1", b.dir+"/.Out/dovecot-uidlist")
	b.link(".", b.dir+"/.Loop")
	for p, mode := range map[string]uint32{"cur/3.fifo:2,": unix.S_IFIFO, "tmp/fifo": unix.S_IFIFO, "new/4.socket": unix.S_IFSOCK, "dovecot-keywords": unix.S_IFIFO} {
		if err := unix.Mknod(filepath.Join(b.dir, p), mode|0o600, 0); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, name := range []string{
		"$(touch owned)", "`touch owned`", ";touch owned;", "'\"\\ two  words", "tab\there", "line\nfeed:2,S", "\x1b[31mred\x07", "\xff\xfe",
		"-e touch owned", "--delete", "#comment", ";comment", "*?[a-z]{x}", strings.Repeat("x", 255), ":2,S", "a:b:2,S", "%s%n", "~root",
	} {
		names = append(names, "cur/"+name)
	}
	for _, folder := range []string{".$(touch owned)", ".line\nfeed", ".tab\tstop", ".'quote\"d", ".-rf", ".&&&-", ".a..b", ".trailing.", ".*", ".\\2e\\2e", ".~root", "." + strings.Repeat("y", 250)} {
		names = append(names, folder+"/cur/1:2,S")
	}
	for i, name := range names {
		b.message(name, i)
	}
	b.file("subscriptions", "V\t2\n\nSent\n../../bob\nline\x01nfeed\n$(touch owned)\n")
	b.file("dovecot-uidlist", "3 V1 N99999999999\n../../x :../../y\n")
	b.file(".ssh/authorized_keys", "ssh-ed25519 AAAA\n")

	for range 2 {
		r := w.pass(true)
		for _, m := range r.Mailboxes {
			if !m.OK() {
				t.Errorf("%s: %q, %v", m.Address, m.Problem, m.Differences)
			}
		}
		if len(r.Mailboxes[0].Notes) == 0 {
			t.Error("nothing is noted")
		}
	}
	got := files(t, w.here(address, "Maildir"))
	for i, name := range names {
		at := name
		if folder, rest, _ := strings.Cut(name, "/"); folder != "cur" {
			at = maildir.PlusPlus.Key(folder) + "/" + rest
		}
		if !strings.HasPrefix(got[at], "Subject: "+itoa(i)+"\n") {
			t.Errorf("%q is %.50q here", name, got[at])
		}
	}
	for p, content := range got {
		if strings.Contains(content, "secret") || strings.HasPrefix(content, "-> ") || strings.Contains(content, "ssh-") {
			t.Errorf("%q came here: %q", p, content)
		}
	}
	if err := filepath.Walk(filepath.Dir(w.volume), func(p string, _ os.FileInfo, err error) error {
		if filepath.Base(p) == "owned" {
			t.Errorf("a name was run: %s", p)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	other.expectSame("bob@example.org")
}

// TestHostileHere: no link in the mail store is followed, wherever it was laid.
func TestHostileHere(t *testing.T) {
	const address = "alice@example.org"
	for _, link := range []string{"example.org", "example.org/alice", "example.org/alice/Maildir", "example.org/alice/Maildir/cur", "example.org/alice/Maildir/.Sent", "example.org/alice/sieve"} {
		for _, passed := range []bool{false, true} {
			t.Run(strings.ReplaceAll(link, "/", "_")+map[bool]string{true: "_later"}[passed], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				home := filepath.Join(w.old, "example.org/alice")
				b := w.box(address, Store{Sieve: home + "/.dovecot.sieve", Scripts: home + "/sieve"})
				b.fill()
				b.scripts()
				if passed {
					w.mustPass(false)
					b.message("new/9", 9)
				}
				victim := filepath.Join(w.volume, "../victim")
				for _, p := range []string{"cur/1", ".Sent/cur/2", "alice/Maildir/cur/3", "Maildir/cur/4", "main.sieve"} {
					w.write(filepath.Join(victim, p), "the victim's")
				}
				before := files(t, victim)
				at := filepath.Join(w.volume, "data", link)
				if err := os.RemoveAll(at); err != nil {
					t.Fatal(err)
				}
				b.link(victim, at)
				r := w.pass(true)
				after := files(t, victim)
				if len(after) != len(before) {
					t.Errorf("the link was followed: %v", after)
				}
				// Either it was refused, or the link gave way to what belongs there.
				if info, err := os.Lstat(at); err != nil || info.Mode()&os.ModeSymlink != 0 && r.OK() {
					t.Errorf("%v, %v, and all is well", info, err)
				}
			})
		}
	}
}

// TestForeignOwner: a directory of somebody else's in the mail store is refused.
func TestForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test gives a directory away, which only root can: run it as root")
	}
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	w.mkdir(w.here("alice@example.org", ""))
	if err := os.Chown(w.here("alice@example.org", ""), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	r := w.pass(true)
	if p := r.Mailboxes[0].Problem; !strings.Contains(p, "belongs to uid 12345") {
		t.Errorf("problem %q", p)
	}
}

// TestFetchHostile: an old server that answers with what was not asked for is
// refused.
func TestFetchHostile(t *testing.T) {
	w := newWorld(t)
	w.write(w.old+"/a", "content")
	for _, test := range []struct {
		name, script string
		ok           bool
	}{
		{"as asked", `cat >/dev/null; cd / && tar -b1 -cf - .` + w.old + `/a; printf 'the end'`, true},
		{"cut off", `cat >/dev/null; cd / && tar -b1 -cf - .` + w.old + `/a | head -c 700`, false},
		{"no end", `cat >/dev/null; cd / && tar -b1 -cf - .` + w.old + `/a`, false},
		{"no tar", `cat >/dev/null; printf 'the end'`, false},
		{"too large", `cat >/dev/null; head -c 9999 /dev/zero > ` + w.old + `/a; cd / && tar -b1 -cf - .` + w.old + `/a; printf 'the end'`, false},
		{"another file", `cat >/dev/null; cd / && tar -b1 -cf - ./etc/passwd; printf 'the end'`, false},
		{"a link", `cat >/dev/null; rm ` + w.old + `/a; ln -s x ` + w.old + `/a; cd / && tar -b1 -cf - .` + w.old + `/a; printf 'the end'`, false},
		{"fails", `cat >/dev/null; cd / && tar -b1 -cf - .` + w.old + `/a; printf 'the end'; exit 1`, false},
	} {
		h := &answering{w.host, test.script}
		data, err := fetch(t.Context(), h, 0, map[string]int64{w.old + "/a": 100})
		if (err == nil) != test.ok {
			t.Errorf("%s: %q, %v", test.name, data, err)
		}
	}
	for _, line := range []string{"", "x", "abc *./a\n", strings.Repeat("0", 64) + " ./a\n", strings.Repeat("z", 64) + " *./a\n", strings.Repeat("0", 66) + " *./a\n"} {
		if err := parseSum(line, nil); err == nil {
			t.Errorf("%q is a checksum", line)
		}
	}
}

// answering is an old server on which each program is another one.
type answering struct {
	*localHost
	script string
}

func (a *answering) Stream(ctx context.Context, slot int, stdin io.Reader, _ string, _ ...string) (io.ReadCloser, error) {
	return a.localHost.Stream(ctx, slot, stdin, "sh", "-c", a.script)
}
