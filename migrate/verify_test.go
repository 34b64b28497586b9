package migrate

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailstack/migrate/maildir"
)

// TestVerifyNames: whatever is changed here, exactly that difference is named, and
// where.
func TestVerifyNames(t *testing.T) {
	const address = "alice@example.org"
	for _, test := range []struct {
		name   string
		change func(h here)
		want   []string
		detail string // in that of the first
	}{
		{"nothing", func(here) {}, nil, ""},
		{"message missing", func(h here) { h.remove("cur/1.M1P1.old,S=16,W=19:2,S") }, []string{"INBOX/missing"}, `"1.M1P1.old,S=16,W=19:2,S"`},
		{"messages missing", func(h here) {
			h.remove("cur/1.M1P1.old,S=16,W=19:2,S")
			h.remove("cur/2.M1P1.old,S=17,W=20:2,S")
		}, []string{"INBOX/missing"}, "messages missing here, 2"},
		{"message missing in a folder", func(h here) { h.remove(".Sent/cur/7.M1P1.old:2,Sab") }, []string{"Sent/missing"}, ""},
		{"message too many", func(h here) { h.write("cur/99:2,S", "x") }, []string{"INBOX/extra"}, `"99:2,S"`},
		{"folder missing", func(h here) { h.remove(".Entw&APw-rfe") }, []string{"Entwürfe/folder-missing"}, "with 1 messages"},
		{"empty folder missing", func(h here) { h.remove(".Archive.2019") }, []string{"Archive/2019/folder-missing"}, ""},
		{"folder too many", func(h here) { h.write(".More/cur/1:2,", "x") }, []string{"More/folder-extra"}, ""},
		{"octets", func(h here) { h.change("cur/1.M1P1.old,S=16,W=19:2,S", "Subject: 1\n\nx\n") }, []string{"INBOX/content", "INBOX/size", "false-size"}, ""},
		{"content", func(h here) { h.change("cur/1.M1P1.old,S=16,W=19:2,S", "Subject: 1\n\nyyy\n") }, []string{"INBOX/content"}, ""},
		{"flags", func(h here) { h.rename("cur/1.M1P1.old,S=16,W=19:2,S", "cur/1.M1P1.old,S=16,W=19:2,FS") }, []string{"INBOX/flags"}, `"S" there, "FS" here`},
		{"seen", func(h here) { h.rename("cur/1.M1P1.old,S=16,W=19:2,S", "cur/1.M1P1.old,S=16,W=19:2,") }, []string{"INBOX/flags"}, ""},
		{"recent", func(h here) { h.rename("new/6.M1P1.old,S=21,W=24", "cur/6.M1P1.old,S=21,W=24") }, []string{"INBOX/recent"}, ""},
		{"date", func(h here) { h.date("cur/1.M1P1.old,S=16,W=19:2,S", received) }, []string{"INBOX/time"}, ""},
		{"keyword of a message", func(h here) { h.rename(".Sent/cur/7.M1P1.old:2,Sab", ".Sent/cur/7.M1P1.old:2,Sa") }, []string{"Sent/keywords"}, `"$MDNSent work" there, "work" here`},
		{"what a keyword is", func(h here) { h.change(".Sent/dovecot-keywords", "0 home\n1 $MDNSent\n") }, []string{"Sent/keywords"}, ""},
		{"a keyword nobody has", func(h here) { h.change("dovecot-keywords", "0 $Forwarded\n1 junk\n") }, []string{"INBOX/control"}, "dovecot-keywords differs"},
		{"UIDVALIDITY", func(h here) { h.replace("dovecot-uidlist", "V1555555555", "V1555555557") }, []string{"INBOX/uidvalidity"}, "1555555555 there, 1555555557 here"},
		{"next UID", func(h here) { h.replace("dovecot-uidlist", "N9", "N10") }, []string{"INBOX/uidnext"}, "9 there, 10 here"},
		{"UID", func(h here) { h.replace("dovecot-uidlist", "\n5 :", "\n6 :") }, []string{"INBOX/uids"}, "5 there, 6 here"},
		{"GUID", func(h here) { h.replace("dovecot-uidlist", "G0123", "G0124") }, []string{"INBOX/control"}, "dovecot-uidlist differs"},
		{"uidlist missing", func(h here) { h.remove(".Sent/dovecot-uidlist") }, []string{"Sent/control"}, ""},
		{"uidlist broken", func(h here) { h.change(".Sent/dovecot-uidlist", "3 V1555555556 N2") }, []string{"Sent/control"}, ""},
		{"uidlist too many", func(h here) { h.write(".Archive.2019/dovecot-uidlist", "3 V1 N1\n") }, []string{"Archive/2019/control"}, ""},
		{"subscription missing", func(h here) { h.change("subscriptions", "V\t2\n\nSent\n") }, []string{"INBOX/subscriptions"}, `"Archive/2019" only there`},
		{"subscription too many", func(h here) { h.change("subscriptions", "V\t2\n\nSent\nArchive\t2019\nMore\n") }, []string{"INBOX/subscriptions"}, `"More" only here`},
		{"subscriptions in another order", func(h here) { h.change("subscriptions", "V\t2\n\nArchive\t2019\nSent\n") }, nil, ""},
		{"uidvalidity file", func(h here) { h.change("dovecot-uidvalidity", "5cc98a9c") }, []string{"INBOX/control"}, "dovecot-uidvalidity differs"},
		{"script", func(h here) { h.change("../sieve/main.sieve", "stop;") }, []string{"sieve"}, `"main.sieve" differs`},
		{"script missing", func(h here) { h.remove("../sieve/main.sieve") }, []string{"sieve"}, `"main.sieve" is missing here`},
		{"script too many", func(h here) { h.write("../sieve/more.sieve", "stop;") }, []string{"sieve"}, `"more.sieve" is only here`},
		{"no script active", func(h here) { h.remove("../.dovecot.sieve") }, []string{"sieve"}, `"main.sieve" is active there, "" here`},
		{"index", func(h here) { h.write("dovecot.index", "x") }, nil, ""},
		{"a link instead of a message", func(h here) {
			h.remove("cur/1.M1P1.old,S=16,W=19:2,S")
			if err := os.Symlink("2.M1P1.old,S=17,W=20:2,S", h.path("cur/1.M1P1.old,S=16,W=19:2,S")); err != nil {
				h.t.Fatal(err)
			}
		}, []string{"INBOX/missing"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			home := filepath.Join(w.old, "example.org/alice")
			b := w.box(address, Store{Sieve: filepath.Join(home, ".dovecot.sieve"), Scripts: filepath.Join(home, "sieve")})
			b.fill()
			b.scripts()
			w.opts.Verify.Full = true
			w.mustPass(true)
			test.change(here{w, address})
			m := w.open()
			r, err := m.Check(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			all := r.Mailboxes[0].Differences
			if got := kinds(all); !slices.Equal(got, test.want) {
				t.Errorf("differences %v, want %v", all, test.want)
			} else if len(all) > 0 && !strings.Contains(all[0].Detail, test.detail) {
				t.Errorf("it says %q, want %q", all[0].Detail, test.detail)
			}
			if r.OK() != (len(test.want) == 0) {
				t.Errorf("OK is %v", r.OK())
			}
			if len(test.want) == 0 {
				return
			}
			// The next pass mends it, whatever it is.
			m.Close()
			if r := w.pass(true); !r.OK() {
				t.Errorf("after another pass: %v", r.Mailboxes[0].Differences)
			}
		})
	}
}

// here is an account's mail on the new server.
type here struct {
	*world
	address string
}

func (h here) path(p string) string { return h.world.here(h.address, filepath.Join("Maildir", p)) }

func (h here) write(p, content string) { h.world.write(h.path(p), content) }

// change gives a file other content and keeps its date.
func (h here) change(p, content string) {
	h.t.Helper()
	info, err := os.Stat(h.path(p))
	if err != nil {
		h.t.Fatal(err)
	}
	h.remove(p)
	h.write(p, content)
	h.date(p, info.ModTime())
}

func (h here) replace(p, from, to string) {
	h.t.Helper()
	data, err := os.ReadFile(h.path(p))
	if err != nil {
		h.t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(from)) {
		h.t.Fatalf("no %q in %s", from, p)
	}
	h.change(p, strings.Replace(string(data), from, to, 1))
}

func (h here) remove(p string) {
	h.t.Helper()
	if err := os.RemoveAll(h.path(p)); err != nil {
		h.t.Fatal(err)
	}
}

func (h here) rename(from, to string) {
	h.t.Helper()
	if err := os.Rename(h.path(from), h.path(to)); err != nil {
		h.t.Fatal(err)
	}
}

func (h here) date(p string, when time.Time) {
	h.t.Helper()
	if err := os.Chtimes(h.path(p), when, when); err != nil {
		h.t.Fatal(err)
	}
}

// scripts gives the home of a mailbox two Sieve scripts.
func (b box) scripts() {
	b.t.Helper()
	home := filepath.Dir(b.dir)
	b.write(filepath.Join(home, "sieve/main.sieve"), "keep;\n")
	b.write(filepath.Join(home, "sieve/holiday.sieve"), "stop;\n")
	b.write(filepath.Join(home, "sieve/main.svbin"), "compiled")
	if err := os.Symlink("sieve/main.sieve", filepath.Join(home, ".dovecot.sieve")); err != nil {
		b.t.Fatal(err)
	}
}

// TestVerifyThere: what changes there after the last pass is a difference, in the
// same words.
func TestVerifyThere(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	w.mustPass(true)
	b.message("new/9.M1P1.old", 9)
	m := w.open()
	r, err := m.Check(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if got := kinds(r.Mailboxes[0].Differences); !slices.Equal(got, []string{"INBOX/missing"}) {
		t.Errorf("differences %v", r.Mailboxes[0].Differences)
	}
}

// TestLivePass: what people change while a pass runs is no fault of it, and is told
// apart from what is one.
func TestLivePass(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	w.opts.Progress = &atPhase{Verifying, func() {
		b.message("new/9.M1P1.old", 9)
		w.write(w.here("alice@example.org", "Maildir/.Sent/cur/10.here:2,"), "x")
	}}
	r := w.pass(false)
	m := r.Mailboxes[0]
	if got := kinds(m.Changing); !slices.Equal(got, []string{"INBOX/missing"}) {
		t.Errorf("changing %v", m.Changing)
	}
	if got := kinds(m.Differences); !slices.Equal(got, []string{"Sent/extra"}) {
		t.Errorf("differences %v", m.Differences)
	}
}

// TestEncoded: messages that are stored compressed are found out: this server
// would show their owner rubbish.
func TestEncoded(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("Subject: x\n\nx\n")); err != nil {
		t.Fatal(err)
	}
	z.Close()
	size := itoa(packed.Len())
	b.file("cur/1.M1P1.old,S="+size+",W="+size+":2,S", packed.String()) // it came like that
	w.opts.Verify.Full = true
	w.mustPass(true)
	b.file("cur/2.M1P1.old,S=14,W=17:2,S", packed.String())
	b.file("cur/3.M1P1.old:2,S", packed.String())
	for _, full := range []bool{true, false} {
		w.opts.Verify = Verify{Full: full}
		r := w.pass(true)
		all := r.Mailboxes[0].Differences
		if got := kinds(all); !slices.Equal(got, []string{"encoded"}) || all[0].Count != 2 {
			t.Errorf("differences %v", all)
		}
	}
}

// TestFalseSize: messages that Dovecot would not show to their owner, as their names
// state another size than they have, are found out and named. A false size with CRLF
// is none of them, as Dovecot mends it, nor is what is no size.
func TestFalseSize(t *testing.T) {
	for _, full := range []bool{true, false} {
		w := newWorld(t)
		b := w.box("alice@example.org", Store{})
		b.file("cur/1.M1P1.old,S=13,W=15:2,S", "Subject: 1\n\nx")
		b.file("cur/2.M1P1.old,S=-5,W=-5:2,S", "Subject: 2\n\nx")
		b.file("cur/3.M1P1.old,S=13,W=99:2,S", "Subject: 3\n\nx")
		w.opts.Verify = Verify{Full: full}
		w.mustPass(true)
		b.file("cur/4.M1P1.old,S=14,W=16:2,S", "Subject: 4\n\nx")
		b.file("new/5.M1P1.old,S=99999999999,W=-5", "Subject: 5\n\nx")
		all := w.pass(true).Mailboxes[0].Differences
		if got := kinds(all); !slices.Equal(got, []string{"false-size"}) || all[0].Count != 2 ||
			!strings.Contains(all[0].Detail, `"cur/4.M1P1.old,S=14,W=16:2,S", "new/5.M1P1.old,S=99999999999,W=-5"`) {
			t.Errorf("full %v: differences %v", full, all)
		}
	}
}

// TestExpectedOctets: sizes as IMAP and POP3 count them are known, by the names, by
// the uidlist or by reading.
func TestExpectedOctets(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.file("cur/1,W=100:2,S", "not read\n")
	b.file("cur/2:2,S", "not read\n")
	b.file("cur/3:2,S", "one\ntwo\r\nthree\n\nfour")
	b.file("dovecot-uidlist", "3 V1 N3\n2 W200 :2\n")
	r := w.mustPass(true)
	want := maildir.Expected{Folder: "INBOX", Messages: 3, Octets: 300 + 23, UIDValidity: 1, UIDNext: 5}
	if got := r.Mailboxes[0].Expected[0]; got != want {
		t.Errorf("expected %+v, want %+v", got, want)
	}
}

func TestCRLFCounter(t *testing.T) {
	for _, test := range []struct {
		parts []string
		want  int64
	}{
		{nil, 0},
		{[]string{""}, 0},
		{[]string{"a\n"}, 3},
		{[]string{"a\r\n"}, 3},
		{[]string{"a\r", "\nb\n", "\n"}, 8},
		{[]string{"\n", "\r\n", "\r"}, 5},
		{[]string{"\n\n\n"}, 6},
	} {
		c := &crlfCounter{}
		for _, p := range test.parts {
			if _, err := c.Write([]byte(p)); err != nil {
				t.Fatal(err)
			}
		}
		if c.octets != test.want {
			t.Errorf("%q counts %d, want %d", test.parts, c.octets, test.want)
		}
	}
}
