package stack

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func (w *world) down(t *testing.T) (int, error) {
	t.Helper()
	id, err := ReadID(w.set.Layout)
	must(t, err)
	return Down(t.Context(), w.engine, w.graph, "demo", id, func(string) {})
}

// Down goes in the reverse order of the start, leaves the data, and up brings
// everything back.
func TestDown(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	want := w.state()
	id, err := ReadID(w.set.Layout)
	must(t, err)
	w.engine.containers["demo-mysql-init"] = &fakeContainer{Container: Container{
		Name: "demo-mysql-init", State: "exited", Labels: map[string]string{LabelStack: "demo", LabelID: id, LabelService: "mysql"},
	}}
	w.engine.networks["other"] = Network{Name: "other"}
	before := len(w.engine.calls)
	removed, err := w.down(t)
	if err != nil || removed != 6 || len(w.engine.containers) != 0 || len(w.engine.networks) != 1 {
		t.Errorf("removed %d: %v, left %v %v", removed, err, w.engine.containers, w.engine.networks)
	}
	var stopped []string
	for _, call := range w.engine.calls[before:] {
		if name, ok := strings.CutPrefix(call, "stop container demo-"); ok {
			stopped = append(stopped, name)
		}
	}
	if !slices.Equal(stopped, []string{"postfix", "dovecot", "mysql", "mysql-init"}) {
		t.Errorf("stopped %v", stopped)
	}
	if removed, err := w.down(t); err != nil || removed != 0 {
		t.Errorf("second down removed %d: %v", removed, err)
	}
	delete(w.engine.networks, "other")
	w.mustUp()
	w.checkFinished()
	checkState(t, w.state(), want)
}

// A stack of the same name is left as it is, all of it.
func TestDownOfAnotherStack(t *testing.T) {
	for _, change := range []func(*fakeEngine){
		func(e *fakeEngine) { e.containers["demo-mysql"].Labels[LabelID] = otherID },
		func(e *fakeEngine) { delete(e.containers["demo-postfix"].Labels, LabelID) },
		func(e *fakeEngine) {
			e.networks["demo-dovecot"] = Network{Name: "demo-dovecot", Labels: map[string]string{LabelStack: "demo", LabelID: otherID}}
		},
	} {
		w := newWorld(t)
		w.mustUp()
		change(w.engine)
		before := len(w.engine.calls)
		var obstacle *ObstacleError
		removed, err := w.down(t)
		if !errors.As(err, &obstacle) || removed != 0 || len(w.engine.calls) != before {
			t.Errorf("removed %d: %v, calls %q", removed, err, w.engine.calls[before:])
		}
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// purge purges what the world's stack has.
func (w *world) purge(t *testing.T) error {
	t.Helper()
	id, err := ReadID(w.set.Layout)
	must(t, err)
	_, err = w.down(t)
	must(t, err)
	return Purge(w.set.Layout, Volumes(w.graph), id)
}

func TestPurge(t *testing.T) {
	w := newWorld(t)
	own := filepath.Join(memoryDir(t), "mail")
	w.set.Layout.Paths = map[string]string{"vmail": own}
	w.mustUp()
	tree(t, w.set.Layout.Content("vmail"), map[string]string{"example.org/me/Maildir/new/1": "mail"})
	must(t, w.purge(t))
	if exists(t, w.set.Layout.Dir) || exists(t, own) {
		t.Error("something is left")
	}
	// As if it had never been.
	w.schema = false
	must(t, claimDir(w.set.Layout))
	if p := w.mustUp(); !strings.HasPrefix(p.String(), "begin ") {
		t.Errorf("up after purge:\n%s", p)
	}
	w.checkFinished()
}

// Only what carries this stack's mark is deleted.
func TestPurgeSpares(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	l := w.set.Layout
	id, err := ReadID(l)
	must(t, err)
	kept := []string{"vmail/data/mail", "queue/data/mail", "socket/mysql/run/other", "mysql/notes", "elsewhere/data/mail"}
	for _, name := range kept {
		tree(t, l.Dir, map[string]string{name: "x"})
	}
	must(t, os.Remove(filepath.Join(l.Volume("vmail"), MarkName)))
	tree(t, l.Volume("queue"), map[string]string{MarkName: markOf(otherID, "queue", 1)})
	tree(t, l.Volume("socket/mysql"), map[string]string{MarkName: markOf(otherID, "socket/mysql", 1)})
	// A link to another stack's volume leads to its mark.
	tree(t, l.Dir, map[string]string{"elsewhere/" + MarkName: markOf(otherID, "vmail", 1)})
	must(t, os.RemoveAll(l.Volume("socket/postfix")))
	must(t, os.Symlink(filepath.Join(l.Dir, "elsewhere"), l.Volume("socket/postfix")))
	// A link within the content is removed, not what it leads to.
	must(t, os.Symlink(filepath.Join(l.Dir, "elsewhere"), filepath.Join(l.Content("mysql"), "link")))
	must(t, Purge(l, Volumes(w.graph), id))
	for _, name := range kept {
		if !exists(t, filepath.Join(l.Dir, name)) {
			t.Errorf("%s is gone", name)
		}
	}
	for _, name := range []string{"mysql/data", "mysql/" + MarkName, "socket/dovecot", "secrets", "run", "stack-id", "lock"} {
		if exists(t, filepath.Join(l.Dir, name)) {
			t.Errorf("%s is left", name)
		}
	}
}

// The content of a volume may not be a link: what it leads to belongs to who
// knows whom, and the id is kept to try again.
func TestPurgeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, w *world, other string){
		"content is a link": func(t *testing.T, w *world, other string) {
			must(t, os.RemoveAll(w.set.Layout.Content("vmail")))
			must(t, os.Symlink(other, w.set.Layout.Content("vmail")))
		},
		"mark cannot be read": func(t *testing.T, w *world, _ string) {
			must(t, os.WriteFile(filepath.Join(w.set.Layout.Volume("vmail"), MarkName), []byte("{"), 0o600))
		},
	} {
		w := newWorld(t)
		w.mustUp()
		other := t.TempDir()
		tree(t, other, map[string]string{"mail": "x"})
		spoil(t, w, other)
		if err := w.purge(t); err == nil || !strings.Contains(err.Error(), "purge volume vmail: ") {
			t.Errorf("%s: %v", name, err)
		}
		if !exists(t, filepath.Join(other, "mail")) || !exists(t, w.set.Layout.IDFile()) || !exists(t, w.set.Layout.SecretFile(AdminSecret)) {
			t.Errorf("%s: too much is gone", name)
		}
	}
}

// A stack that was interrupted before it was complete is purged without
// leaving what the next one would trip over.
func TestPurgeOfHalfMadeStack(t *testing.T) {
	for _, stage := range []string{"begun", "pending", "renamed"} {
		w := newWorld(t)
		_, err := w.up(Options{}, func(_ int, op Operation) error {
			if a, ok := op.Action.(InitVolume); ok && a.Volume.Name == "vmail" {
				return errInterrupted
			}
			return nil
		})
		if !errors.Is(err, errInterrupted) {
			t.Fatal(err)
		}
		id, err := ReadID(w.set.Layout)
		must(t, err)
		i := volumeInit{layout: w.set.Layout, name: "vmail", id: id}
		must(t, i.begin())
		if stage != "begun" {
			must(t, i.writePending(testTime))
		}
		if stage == "renamed" {
			must(t, os.Rename(i.tmp(), w.set.Layout.Content("vmail")))
		}
		must(t, w.purge(t))
		if exists(t, w.set.Layout.Dir) {
			t.Errorf("%s: something is left", stage)
		}
		must(t, claimDir(w.set.Layout))
		w.mustUp()
		w.checkFinished()
	}
}

// Without an id nothing is anybody's.
func TestPurgeWithoutID(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	tree(t, l.Dir, map[string]string{
		"mysql/data/x": "", "mysql/" + MarkName: `{"stack_id":"","volume":"mysql","format":1}`, "vmail/data/x": "", "queue/data.tmp-/x": "", "queue/" + pendingMark(""): "",
	})
	_ = Purge(l, Volumes(catalogGraph(t)), "") // may refuse
	for _, name := range []string{"mysql/data/x", "vmail/data/x", "queue/data.tmp-/x"} {
		if !exists(t, filepath.Join(l.Dir, name)) {
			t.Errorf("%s is gone", name)
		}
	}
}
