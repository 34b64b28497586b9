package migrate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPass: what is mail arrives with its names, dates and rights, and nothing
// else; a second pass finds nothing to do.
func TestPass(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	if err := os.Chmod(filepath.Join(b.dir, "cur/1.M1P1.old,S=16,W=19:2,S"), 0o6755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	c := w.box("bob@example.net", Store{})
	c.message("cur/1.M1P1.old:2,", 1)
	r := w.mustPass(false)
	b.expectSame("alice@example.org")
	c.expectSame("bob@example.net")
	if r.Total.Messages != 9 || r.Copied.Messages != 9 || r.Copied.Bytes <= r.Total.Bytes || !r.OK() {
		t.Errorf("total %v, copied %v, OK %v", r.Total, r.Copied, r.OK())
	}
	w.expectRights("alice@example.org")

	r = w.mustPass(true)
	if r.Copied.Messages != 0 || r.Renamed != 0 || r.Removed != 0 {
		t.Errorf("the second pass copied %v, renamed %d, removed %d", r.Copied, r.Renamed, r.Removed)
	}
}

// expectRights: directories are 0700, files 0600.
func (w *world) expectRights(address string) {
	w.t.Helper()
	err := filepath.Walk(w.here(address, ""), func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = os.ModeDir | 0o700
		}
		if info.Mode() != want && info.Mode()&os.ModeSymlink == 0 {
			w.t.Errorf("%s is %v, want %v", p, info.Mode(), want)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestChangesBetweenPasses: what people do between two passes is done here, too,
// and a message whose flags change is not copied again.
func TestChangesBetweenPasses(t *testing.T) {
	const address = "alice@example.org"
	for _, test := range []struct {
		name             string
		change           func(b box)
		copied           int64 // messages
		renamed, removed int
	}{
		{"flags", func(b box) { b.rename("cur/1.M1P1.old,S=16,W=19:2,S", "cur/1.M1P1.old,S=16,W=19:2,RS") }, 0, 1, 0},
		{"seen", func(b box) { b.rename("new/6.M1P1.old,S=21,W=24", "cur/6.M1P1.old,S=21,W=24:2,S") }, 0, 1, 0},
		{"keyword", func(b box) {
			b.rename("cur/2.M1P1.old,S=17,W=20:2,S", "cur/2.M1P1.old,S=17,W=20:2,Sc")
			b.file("dovecot-keywords", "0 $Forwarded\n1 Junk\n2 new\n")
		}, 0, 1, 1},
		{"new message", func(b box) { b.message("new/9.M1P1.old", 9) }, 1, 0, 0},
		{"deleted", func(b box) { b.remove("cur/3.M1P1.old,S=18,W=21:2,S") }, 0, 0, 1},
		{"moved to another folder", func(b box) {
			b.rename("cur/3.M1P1.old,S=18,W=21:2,S", ".Sent/cur/3.M1P1.old,S=18,W=21:2,S")
		}, 1, 0, 1},
		{"new folder", func(b box) { b.folder(".New"); b.message(".New/cur/9:2,", 9) }, 1, 0, 0},
		{"empty folder", func(b box) { b.folder(".New") }, 0, 0, 0},
		{"deleted folder", func(b box) { b.remove(".Sent") }, 0, 0, 4},
		{"renamed folder", func(b box) { b.rename(".Sent", ".Gesendet") }, 1, 0, 4},
		{"another date", func(b box) { b.date(filepath.Join(b.dir, "new/6.M1P1.old,S=21,W=24"), received) }, 1, 0, 1},
		{"control file of the same size", func(b box) { b.file("dovecot-keywords", "0 $Forwarded\n1 Spam\n") }, 0, 0, 1},
		{"subscriptions", func(b box) { b.file("subscriptions", "V\t2\n\nSent\n") }, 0, 0, 1},
		{"a directory where a message was", func(b box) {
			b.remove("cur/3.M1P1.old,S=18,W=21:2,S")
			b.file("cur/3.M1P1.old,S=18,W=21:2,S/x", "")
			b.remove("cur/3.M1P1.old,S=18,W=21:2,S")
		}, 0, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.box(address, Store{})
			b.fill()
			w.mustPass(false)
			// What Dovecot leaves when somebody looks, and what people do by hand.
			w.write(w.here(address, "Maildir/dovecot.index"), "an index")
			w.write(w.here(address, "Maildir/.Stray/cur/1"), "not from the old server")
			w.write(w.here(address, "Maildir/cur/77.M1P1.here:2,"), "not from the old server")
			w.write(w.here(address, "Maildir/tmp/78"), "half")
			test.change(b)
			r := w.mustPass(true)
			b.expectSame(address)
			if r.Copied.Messages != test.copied || r.Renamed != test.renamed || r.Removed != test.removed {
				t.Errorf("copied %d messages, renamed %d, removed %d; want %d, %d, %d",
					r.Copied.Messages, r.Renamed, r.Removed, test.copied, test.renamed, test.removed)
			}
		})
	}
}

// TestDeletionLimit: an old server that has lost more than people delete changes
// nothing here, and says so.
func TestDeletionLimit(t *testing.T) {
	const address = "alice@example.org"
	for _, test := range []struct {
		name           string
		lost, max      int
		refused, final bool
	}{
		{"few", 100, 0, false, true},
		{"more than a tenth", 101, 0, true, true},
		{"in a live pass, too", 101, 0, true, false},
		{"as many as allowed", 101, 101, false, true},
		{"one more", 102, 101, true, true},
		{"one of none", 1, -1, true, true},
		{"all", 300, 0, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b := w.box(address, Store{})
			other := w.box("bob@example.org", Store{})
			for i := range 300 {
				b.message(fmt.Sprintf("cur/%d.M1P1.old:2,", i), i)
			}
			w.mustPass(false)
			for i := range test.lost {
				b.remove(fmt.Sprintf("cur/%d.M1P1.old:2,", i))
			}
			other.message("new/1", 1)
			w.opts.MaxDelete = test.max
			before := files(t, w.here(address, ""))
			r := w.pass(test.final)
			other.expectSame("bob@example.org")
			if !test.refused {
				b.expectSame(address)
				if !r.OK() {
					t.Errorf("%+v", r.Mailboxes)
				}
				return
			}
			if diff := cmp.Diff(before, files(t, w.here(address, ""))); diff != "" {
				t.Errorf("it was changed (-before +after):\n%s", diff)
			}
			if p := r.Mailboxes[0].Problem; r.OK() || !strings.Contains(p, fmt.Sprintf("%d messages that were copied before are gone", test.lost)) ||
				!strings.HasSuffix(p, fmt.Sprintf("run it again with --max-delete %d", test.lost)) {
				t.Errorf("problem %q, OK %v", p, r.OK())
			}
		})
	}
}

// TestNoMaildirYet: somebody who never got mail has no Maildir there, and an empty
// one here. If nobody has one, something else is wrong.
func TestNoMaildirYet(t *testing.T) {
	w := newWorld(t)
	b := w.box("new@example.org", Store{})
	b.remove("")
	r := w.pass(true)
	if p := r.Mailboxes[0].Problem; !strings.Contains(p, "is a disk not mounted there?") || r.OK() {
		t.Errorf("nobody has mail: problem %q", p)
	}
	w.box("bob@example.org", Store{})
	r = w.mustPass(true)
	if m := r.Mailboxes[0]; len(m.Expected) != 1 || m.Expected[0].Messages != 0 || len(m.Notes) != 1 {
		t.Errorf("expected %+v, notes %q", m.Expected, m.Notes)
	}
	if _, err := os.Stat(w.here("new@example.org", "Maildir/new")); err != nil {
		t.Error(err)
	}
	b.message("new/1", 1)
	w.mustPass(true)
	b.expectSame("new@example.org")
}

// TestGoneMaildir: a Maildir that is not there any more, as when its disk is not
// mounted, is a problem of its account, and nothing is deleted.
func TestGoneMaildir(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	other := w.box("bob@example.org", Store{})
	w.mustPass(false)
	before := files(t, w.here("alice@example.org", ""))
	b.remove("")
	other.message("new/1", 1)
	r := w.pass(true)
	if diff := cmp.Diff(before, files(t, w.here("alice@example.org", ""))); diff != "" {
		t.Errorf("it was changed (-before +after):\n%s", diff)
	}
	other.expectSame("bob@example.org")
	if p := r.Mailboxes[0].Problem; !strings.Contains(p, "its mail was copied before") || r.OK() {
		t.Errorf("problem %q", p)
	}
}

// TestOccupied: mail that no migration has brought is never touched.
func TestOccupied(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	w.write(w.here("alice@example.org", "Maildir/.Sent/cur/1.M1P1.here:2,S"), "somebody's")
	before := files(t, w.volume+"/data")
	r := w.pass(false)
	if diff := cmp.Diff(before, files(t, w.volume+"/data")); diff != "" {
		t.Errorf("it was changed (-before +after):\n%s", diff)
	}
	if p := r.Mailboxes[0].Problem; !strings.Contains(p, "there is mail in ") {
		t.Errorf("problem %q", p)
	}
}

// TestFinish: once it is over, a later pass does not touch the mail, which has
// gone on without the old server.
func TestFinish(t *testing.T) {
	const address = "alice@example.org"
	w := newWorld(t)
	b := w.box(address, Store{})
	b.fill()
	w.mustPass(true)
	m := w.open()
	if err := m.Finish([]string{address}); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if left := files(t, w.volume+"/migrate"); len(left) != 1 {
		t.Errorf("left in migrate: %v", left)
	}
	b.expectSame(address)
	w.write(w.here(address, "Maildir/new/1.here"), "new mail")
	before := files(t, w.here(address, ""))
	r := w.pass(true)
	if diff := cmp.Diff(before, files(t, w.here(address, ""))); diff != "" {
		t.Errorf("it was changed (-before +after):\n%s", diff)
	}
	if r.OK() {
		t.Error("all is well")
	}
}

// TestFinishSome: accounts that move another day are not copied again.
func TestFinishSome(t *testing.T) {
	w := newWorld(t)
	w.box("alice@example.org", Store{}).fill()
	w.box("bob@example.org", Store{}).fill()
	w.mustPass(false)
	all := w.accounts
	for i := range all {
		w.accounts = all[i : i+1]
		if r := w.mustPass(true); r.Copied.Messages != 0 {
			t.Errorf("the last copy of %s copied %d messages again", all[i].Address, r.Copied.Messages)
		}
		m := w.open()
		if err := m.Finish([]string{all[i].Address}); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	if left := files(t, w.volume+"/migrate"); len(left) != 1 {
		t.Errorf("left in migrate: %v", left)
	}
}

// TestOneAtATime: two migrations into one volume would undo each other's work.
func TestOneAtATime(t *testing.T) {
	w := newWorld(t)
	w.open()
	var busy *BusyError
	if _, err := Open(w.opts); !errors.As(err, &busy) {
		t.Errorf("a second migration: %v", err)
	}
}

// TestUnmarked: nothing is written where the mark is not the stack's.
func TestUnmarked(t *testing.T) {
	w := newWorld(t)
	w.opts.To.Marked = func() error { return errors.New("it carries no mark") }
	if _, err := Open(w.opts); err == nil || !strings.Contains(err.Error(), "it carries no mark") {
		t.Errorf("opened: %v", err)
	}
	if names, _ := os.ReadDir(w.volume); len(names) != 1 {
		t.Errorf("in the volume: %v", names)
	}
}

// TestSharedMaildir: of accounts with one mailbox none is copied, nor is one that lies
// in a folder of another's: a link may lead to somebody else's mail. One that lies
// beside the folders is.
func TestSharedMaildir(t *testing.T) {
	w := newWorld(t)
	b := w.box("alice@example.org", Store{})
	b.fill()
	link := filepath.Join(w.old, "link")
	if err := os.Symlink(b.dir, link); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(w.old, "inner")
	carol := w.box("carol@example.org", Store{})
	carol.message(".Archive/cur/1:2,S", 1)
	if err := os.Symlink(carol.dir+"/.Archive", inner); err != nil {
		t.Fatal(err)
	}
	dave := w.box("dave@example.org", Store{})
	dave.message("cur/1:2,S", 1)
	dave.message("erin/cur/1:2,S", 2) // another's, and no folder
	w.accounts = append(
		w.accounts,
		Account{Address: "aaron@example.org", Store: Store{Maildir: link, Layout: "maildir++"}},
		Account{Address: "frank@example.org", Store: Store{Maildir: inner, Layout: "maildir++"}},
		Account{Address: "erin@example.org", Store: Store{Maildir: dave.dir + "/erin", Layout: "maildir++"}},
	)
	said := map[string]string{}
	for _, m := range w.pass(true).Mailboxes {
		said[m.Address] = m.Problem
	}
	for address, other := range map[string]string{
		"alice@example.org": "aaron@example.org", "aaron@example.org": "alice@example.org",
		"carol@example.org": "frank@example.org", "frank@example.org": "carol@example.org",
	} {
		if !strings.Contains(said[address], "that of "+other) {
			t.Errorf("%s: problem %q", address, said[address])
		}
		if _, err := os.Stat(w.here(address, "")); err == nil {
			t.Errorf("%s has mail here", address)
		}
	}
	for _, address := range []string{"dave@example.org", "erin@example.org"} {
		if said[address] != "" {
			t.Errorf("%s: %s", address, said[address])
		}
	}
}

// TestBadAccounts: an account that cannot be is its own problem.
func TestBadAccounts(t *testing.T) {
	w := newWorld(t)
	good := w.box("alice@example.org", Store{})
	good.fill()
	for _, a := range []Account{
		{Address: "x"},
		{Address: "../../x@example.org"},
		{Address: "x@../y"},
		{Address: "x@.removed"},
		{Address: "a\nb@example.org"},
		{Address: "nowhere@example.org"},
		{Address: "a@example.org", Store: Store{Maildir: "relative", Layout: "maildir++"}},
		{Address: "b@example.org", Store: Store{Maildir: "/", Layout: "maildir++"}},
		{Address: "c@example.org", Store: Store{Maildir: "/a/../b", Layout: "maildir++"}},
		{Address: "d@example.org", Store: Store{Maildir: "/a\nb", Layout: "maildir++"}},
		{Address: "e@example.org", Store: Store{Maildir: "/a", Layout: "mbox"}},
	} {
		if a.Store.Maildir == "" && a.Address != "nowhere@example.org" {
			a.Store = Store{Maildir: good.dir, Layout: "maildir++"}
		}
		w.accounts = append(w.accounts, a)
	}
	r := w.pass(true)
	good.expectSame("alice@example.org")
	for _, m := range r.Mailboxes[1:] {
		if m.Problem == "" {
			t.Errorf("%q has no problem", m.Address)
		}
	}
	domains, err := os.ReadDir(w.volume + "/data")
	if err != nil || len(domains) != 1 {
		t.Errorf("in the mail store: %v, %v", domains, err)
	}
	if !slices.ContainsFunc(r.Mailboxes, Result.OK) {
		t.Error("nothing is well")
	}
}
