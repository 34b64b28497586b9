package migrate

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestTidy: a run that was killed after it had opened accounts leaves nothing for
// ever, and nothing goes that somebody still waits for.
func TestTidy(t *testing.T) {
	const alice, bob = "alice@example.org", "bob@example.org"
	w := newWorld(t)
	w.box(alice, Store{}).fill()
	w.box(bob, Store{}).fill()
	w.mustPass(true)
	tidy := func(want bool, waiting ...string) {
		t.Helper()
		if freed, err := Tidy(w.opts.To, waiting); err != nil || freed != want {
			t.Errorf("freed %v, %v", freed, err)
		}
	}
	marked := func(address string) bool { _, err := os.Stat(w.here(address, marker)); return err == nil }
	m := w.open()
	tidy(false) // while it runs
	if err := m.Opening([]string{alice, bob}); err != nil {
		t.Fatal(err)
	}
	m.Close() // killed
	tidy(false, bob)
	if marked(alice) || !marked(bob) {
		t.Errorf("marked: alice %v, bob %v, who waits", marked(alice), marked(bob))
	}
	before := files(t, w.volume+"/data")
	delete(before, "example.org/bob/"+marker)
	tidy(true)
	for p, content := range files(t, w.volume+"/data") {
		if before[p] != content {
			t.Errorf("%s was changed", p)
		}
		delete(before, p)
	}
	if left := files(t, w.volume+"/migrate"); len(before) != 0 || len(left) != 1 {
		t.Errorf("gone: %v; left in migrate: %v", before, left)
	}
	tidy(false)
	m = w.open()
	if !slices.Equal(m.Opened(), []string{alice, bob}) {
		t.Errorf("opened: %v", m.Opened())
	}
}

// TestTidyUnmarked: nothing is removed from a volume that is not the stack's.
func TestTidyUnmarked(t *testing.T) {
	w := newWorld(t)
	w.box("alice@example.org", Store{}).fill()
	w.mustPass(true)
	before := len(files(t, w.volume))
	w.opts.To.Marked = func() error { return os.ErrNotExist }
	if _, err := Tidy(w.opts.To, nil); err == nil {
		t.Error("it is taken")
	}
	if after := files(t, w.volume); len(after) != before {
		t.Errorf("%d files were %d", len(after), before)
	}
}

// TestHeld: who waits because of a server is remembered, and no longer when the move
// has ended or the account is gone.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"alice", "bob", "carol"} {
		w.box(name+"@example.org", Store{}).fill()
	}
	w.mustPass(false)
	w.accounts = w.accounts[:2] // carol is gone there
	m := w.open()
	if got := m.Held(); len(got) != 3 {
		t.Errorf("held: %v", got)
	}
	if err := m.Finish([]string{"alice@example.org"}); err != nil {
		t.Fatal(err)
	}
	if err := m.Forget("carol@example.org"); err != nil {
		t.Fatal(err)
	}
	if err := m.SetAliases(map[string][]string{"a@example.org": {"bob@example.org"}}); err != nil {
		t.Fatal(err)
	}
	m.Close()
	w.accounts = w.accounts[1:]
	m = w.open()
	if got := m.Held(); !slices.Equal(got, []string{"bob@example.org"}) {
		t.Errorf("held: %v", got)
	}
	if got := m.Aliases(); len(got) != 1 || got["a@example.org"][0] != "bob@example.org" {
		t.Errorf("aliases: %v", got)
	}
}

// TestBrought: what a run has brought needs no room in the next one, also where it was
// cut off, and what was opened none at all.
func TestBrought(t *testing.T) {
	const alice, bob = "alice@example.org", "bob@example.org"
	w := newWorld(t)
	expect := func(when string, octets int64, opened ...string) {
		t.Helper()
		got, names, err := Brought(w.volume, w.host.Target())
		if err != nil || got != octets || !slices.Equal(names, opened) {
			t.Errorf("%s: %d octets, opened %q, %v; want %d and %q", when, got, names, err, octets, opened)
		}
	}
	expect("before the first pass", 0)
	w.box(alice, Store{}).file("cur/1:2,S", strings.Repeat("x", 1000))
	w.box(bob, Store{}).file(".Sent/cur/1:2,S", strings.Repeat("x", 500))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.host.before = func(string) {
		if octets, _, err := Brought(w.volume, w.host.Target()); err == nil && octets == 1500 {
			cancel() // with all copied, before it is compared
		}
	}
	m := w.open()
	if _, err := m.Pass(ctx, false); err == nil {
		t.Fatal("it was not cut off")
	}
	m.Close()
	w.host.before = nil
	expect("after a pass that was cut off", 1500)
	w.mustPass(false)
	expect("after a whole one", 1500)
	m = w.open()
	if err := errors.Join(m.Opening([]string{alice, bob}), m.Finish([]string{alice, bob})); err != nil {
		t.Fatal(err)
	}
	expect("in the end", 0, alice, bob)
	m.Close()
	const imap = "imaps://old.example.org"
	for _, address := range []string{bob, bob} {
		if err := Remember(w.opts.To, imap, []string{address}); err != nil {
			t.Fatal(err)
		}
	}
	if got, opened, err := Brought(w.volume, imap); err != nil || got != 0 || !slices.Equal(opened, []string{bob}) {
		t.Errorf("by IMAP: %d octets, opened %q, %v", got, opened, err)
	}
	expect("by ssh", 0, alice, bob)
	w.opts.To.Marked = func() error { return os.ErrNotExist }
	if err := Remember(w.opts.To, imap, []string{alice}); err == nil {
		t.Error("something is written to a volume that is not the stack's")
	}
	if got, _, err := Brought(w.volume, "root@other.example.org"); err != nil || got != 0 {
		t.Errorf("from another server: %d octets, %v", got, err)
	}
	if _, _, err := Brought(w.volume+"/none", w.host.Target()); err == nil {
		t.Error("no error of a volume that is not there")
	}
}
