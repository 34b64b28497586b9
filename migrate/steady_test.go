package migrate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// atPhase calls what when a phase begins.
type atPhase struct {
	phase Phase
	what  func()
}

func (a *atPhase) Report(e Event) {
	if e.Phase == a.phase && e.Mailboxes == 0 && !e.Ended && e.Done == (Amount{}) && a.what != nil {
		what := a.what
		a.what = nil
		what()
	}
}

// swapper is somebody who has a mailbox on the old server and swaps a directory of
// it for a link to another one, which he may not read.
type swapper struct {
	box
	secret string
}

// newSwapper makes a mailbox of somebody's who is not root, and a directory of
// root's with files of the same names, sizes and dates.
func newSwapper(t *testing.T) swapper {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test gives a mailbox away, which only root can: run it as root")
	}
	w := newWorld(t)
	w.host.slots = 1
	s := swapper{w.box("mallory@example.org", Store{}), filepath.Join(w.volume, "../secret")}
	for i := range 3 {
		name := fmt.Sprintf("%d.M1P1.old:2,S", i)
		s.message("cur/"+name, i)
		info, err := os.Stat(filepath.Join(s.dir, "cur", name))
		if err != nil {
			t.Fatal(err)
		}
		w.write(filepath.Join(s.secret, name), strings.Repeat("secret", 9)[:info.Size()])
		s.date(filepath.Join(s.secret, name), info.ModTime())
	}
	if err := filepath.WalkDir(s.dir, func(p string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(p, 12345, 12345)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s swapper) swap() {
	s.rename("cur", "away")
	s.link(s.secret, filepath.Join(s.dir, "cur"))
}

func (s swapper) swapBack() {
	s.remove("cur")
	s.rename("away", "cur")
}

// duringRsync makes rsync one that runs between two commands of sh(1).
func (s swapper) duringRsync(before, after string) {
	s.t.Helper()
	s.opts.Rsync = filepath.Join(s.volume, "../rsync")
	s.write(s.opts.Rsync, "#!/bin/sh\n[ \"$1\" = --version ] && exec rsync --version\ncd "+s.dir+" || exit\n"+before+"\nrsync \"$@\"\nstatus=$?\n"+after+"\nexit $status\n")
	if err := os.Chmod(s.opts.Rsync, 0o700); err != nil {
		s.t.Fatal(err)
	}
}

func (s swapper) swapDuringRsync() {
	s.t.Helper()
	s.duringRsync("mv cur away && ln -s "+s.secret+" cur", "rm cur && mv away cur")
}

// stolen says whether something of the secret is here.
func (s swapper) stolen() bool {
	s.t.Helper()
	for _, content := range files(s.t, s.here("mallory@example.org", "")) {
		if strings.Contains(content, "secret") {
			return true
		}
	}
	return false
}

// TestSwappedWhileCopied: what came through a link that was put in the place of a
// directory is found out, and copied again from where it is.
func TestSwappedWhileCopied(t *testing.T) {
	s := newSwapper(t)
	s.swapDuringRsync()
	r := s.pass(false)
	if !s.stolen() {
		t.Error("nothing came through the link: this test shows nothing")
	}
	if got := kinds(append(r.Mailboxes[0].Differences, r.Mailboxes[0].Changing...)); len(got) != 1 || got[0] != "INBOX/content" {
		t.Errorf("%+v", r.Mailboxes[0])
	}
	s.opts.Rsync = ""
	s.mustPass(true)
	s.expectSame("mallory@example.org")
}

// TestSwappedWhileCompared: nor does it help to have the comparison look there, too.
func TestSwappedWhileCompared(t *testing.T) {
	for _, final := range []bool{false, true} {
		s := newSwapper(t)
		s.opts.Verify.Full = true
		s.swapDuringRsync()
		scripts := -100
		s.opts.Progress = &atPhase{Verifying, func() { scripts = 0 }}
		s.host.before = func(program string) {
			if program == "sh" {
				scripts++
			}
			switch { // look, listing, sums, look
			case program == "sh" && scripts == 3:
				s.swap()
			case program == "sh" && scripts == 4:
				s.swapBack()
			}
		}
		r := s.pass(final)
		if scripts != 4 || !s.stolen() {
			t.Errorf("it took %d scripts: this test shows nothing", scripts)
		}
		if final && (r.OK() || !strings.Contains(r.Mailboxes[0].Problem, "/cur on the old server was changed while")) {
			t.Errorf("%+v", r.Mailboxes[0])
		}
		s.host.before, s.opts.Rsync, s.opts.Progress = nil, "", nil
		if r = s.pass(true); r.OK() && s.stolen() {
			t.Errorf("final %v: all is well, and what came through the link is here", final)
		}
		s.mustPass(true)
		s.expectSame("mallory@example.org")
	}
}

// TestProven: what was copied while mail arrived, or by a run that was killed, is
// compared before it counts, and not copied again.
func TestProven(t *testing.T) {
	for _, test := range []struct {
		name string
		pass func(s swapper)
	}{
		{"mail arrives", func(s swapper) {
			s.duringRsync("", "cp cur/0.M1P1.old:2,S new/9.M1P1.old")
			s.pass(false)
		}},
		{"killed", func(s swapper) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			looks := 0
			s.host.before = func(program string) {
				if program == "sh" {
					looks++
				}
				if looks == 3 { // listing, look, rsync
					cancel()
				}
			}
			m := s.open()
			if _, err := m.Pass(ctx, false); err == nil {
				t.Error("it went through")
			}
			m.Close()
			s.host.before = nil
		}},
		{"something else changes", func(s swapper) {
			s.duringRsync("touch cur/x && rm cur/x", "")
			s.mustPass(false)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSwapper(t)
			s.t = t
			test.pass(s)
			s.opts.Rsync = ""
			r := s.mustPass(true)
			if r.Copied.Messages > 1 {
				t.Errorf("copied %d messages again", r.Copied.Messages)
			}
			s.expectSame("mallory@example.org")
			s.expectRights("mallory@example.org")
		})
	}
}

// TestChangedWhileRead: what changes in a live pass after both sides were listed, and
// before it is read, is no difference but in use.
func TestChangedWhileRead(t *testing.T) {
	s := newSwapper(t)
	s.file("dovecot-keywords", "0 Junk\n")
	scripts := -100
	s.opts.Progress = &atPhase{Verifying, func() { scripts = 0 }}
	s.host.before = func(program string) {
		if program == "sh" {
			scripts++
		}
		if program == "sh" && scripts == 3 { // look, listing, files
			s.file("new-keywords", "0 Spam\n")
			s.rename("new-keywords", "dovecot-keywords")
		}
	}
	r := s.pass(false)
	if m := r.Mailboxes[0]; !m.OK() || len(m.Changing) != 1 {
		t.Errorf("after %d scripts: %+v", scripts, m)
	}
}

// TestSettle: what an old server that was not stopped takes after the comparison is
// not left behind in silence.
func TestSettle(t *testing.T) {
	w := newWorld(t)
	w.box("bob@example.org", Store{}).message("cur/1.M1P1.old:2,S", 1)
	w.box("nobody@example.org", Store{}).remove("") // never got mail
	changes := map[string]func(b box){
		"arrived@example.org": func(b box) { b.message("new/9.M9P9.old", 9) },
		"first@example.org":   func(b box) { b.message("new/9.M9P9.old", 9) },
		"deleted@example.org": func(b box) { b.remove("cur/1.M1P1.old:2,S") },
		"flagged@example.org": func(b box) { b.rename("cur/1.M1P1.old:2,S", "cur/1.M1P1.old:2,FS") },
		"sent@example.org":    func(b box) { b.message(".Sent/cur/9.M9P9.old:2,S", 9) },
		"folder@example.org":  func(b box) { b.folder(".Later") },
	}
	boxes := make(map[string]box)
	for address := range changes {
		b := w.box(address, Store{})
		boxes[address] = b
		if address == "first@example.org" {
			b.remove("")
			continue
		}
		b.message("cur/1.M1P1.old:2,S", 1)
		b.folder(".Sent")
	}
	m := w.open()
	settled := func() *Report {
		t.Helper()
		r, err := m.Pass(t.Context(), true)
		if err == nil {
			err = m.Settle(t.Context(), r)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := settled(); !r.OK() {
		t.Errorf("nothing has changed: %+v", r.Mailboxes)
	}
	r, err := m.Pass(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	for address, change := range changes {
		change(boxes[address])
	}
	if err := m.Settle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, box := range r.Mailboxes {
		_, changed := changes[box.Address]
		if noticed := strings.Contains(box.Problem, "something still writes there"); noticed != changed {
			t.Errorf("%s: problem %q", box.Address, box.Problem)
		}
	}
	if r := settled(); !r.OK() {
		t.Errorf("run again: %+v", r.Mailboxes)
	}
}
