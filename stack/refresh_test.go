package stack

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// packagesOf scripts the package lists of images: fresh ones have other
// versions of the named packages.
func packagesOf(newer string) func(ContainerSpec) string {
	return func(spec ContainerSpec) string {
		version := "1"
		if strings.HasSuffix(spec.Image, "-refresh") && strings.Contains(spec.Image, newer) {
			version = "2"
		}
		return "libc6 1\nopenssl " + version + "\n"
	}
}

// refresh collects what it says.
func (w *world) refresh(t *testing.T) (changes []string, said string, err error) {
	t.Helper()
	d, _, err := w.plan(Options{})
	must(t, err)
	var mu sync.Mutex
	changes, err = Refresh(t.Context(), w.engine, d, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		said += line + "\n"
	})
	return changes, said, err
}

// An image whose packages are the same is kept: it must not cost a restart.
func TestRefresh(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	before := maps.Clone(w.engine.images)
	w.engine.output = packagesOf("dovecot")
	changes, _, err := w.refresh(t)
	must(t, err)
	want := []string{
		"image of mysql: its packages are current", "image of dovecot: rebuilt: openssl 1 -> 2", "image of postfix: its packages are current",
	}
	if !slices.Equal(changes, want) {
		t.Errorf("changes %q", changes)
	}
	for ref, image := range w.engine.images {
		switch same := before[ref].ID == image.ID; {
		case strings.HasSuffix(ref, "-refresh"):
			t.Errorf("left %s", ref)
		case same == strings.Contains(ref, "dovecot"):
			t.Errorf("%s is the same: %v", ref, same)
		}
	}
	if len(w.engine.containers) != 3 {
		t.Errorf("left containers: %v", slices.Sorted(maps.Keys(w.engine.containers)))
	}
	p := w.mustUp()
	if p.String() != "replace  container demo-dovecot  its image was rebuilt\nwait     dovecot                 until it answers\n" {
		t.Errorf("plan after the refresh:\n%s", p)
	}
	w.checkFinished()
}

// A base made here is replaced by one that has other packages only: images that
// are kept share it with those that are built next.
func TestRenewBase(t *testing.T) {
	for newer, want := range map[string]string{"nothing": "old", "base": "new"} {
		w := newWorld(t)
		w.mustUp()
		d, _, err := w.plan(Options{})
		must(t, err)
		must(t, w.engine.ImportImage(t.Context(), LocalBase, strings.NewReader("old")))
		w.engine.output = packagesOf(newer)
		must(t, renewBase(t.Context(), w.engine, d, func(ref string) error {
			return w.engine.ImportImage(t.Context(), ref, strings.NewReader("new"))
		}))
		if got := w.engine.images[LocalBase].ID; got != digest(want) {
			t.Errorf("newer: %s; the base is not the %s one", newer, want)
		}
		if _, left := w.engine.images[LocalBase+"-refresh"]; left {
			t.Errorf("newer: %s; the other one is left", newer)
		}
		w.checkFinished()
	}
}

// Without a registry the base that is here serves on.
func TestRefreshWithoutRegistry(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	w.engine.registry = nil
	w.engine.output = packagesOf("nothing")
	_, said, err := w.refresh(t)
	if err != nil || !strings.Contains(said, "cannot be pulled again") {
		t.Errorf("%v, said %q", err, said)
	}
}

// A failed build changes nothing.
func TestRefreshThatFails(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	before := maps.Clone(w.engine.images)
	w.engine.output = packagesOf("postfix")
	failed := errors.New("no package answers")
	w.engine.before = func(call string) error {
		if strings.HasPrefix(call, "build image mailstack/postfix") {
			return failed
		}
		return nil
	}
	if _, _, err := w.refresh(t); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	w.engine.before = nil
	for ref, image := range before {
		if w.engine.images[ref].ID != image.ID {
			t.Errorf("%s changed", ref)
		}
	}
	w.checkFinished()
}

func TestUpdates(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	w.engine.output = func(spec ContainerSpec) string {
		if strings.Contains(spec.Image, "mysql") {
			return "openssl 1 2\nlibc6 1 3\n"
		}
		return "\n"
	}
	d, _, err := w.plan(Options{})
	must(t, err)
	updates, err := Updates(t.Context(), w.engine, d)
	must(t, err)
	if !slices.Equal(updates["mysql"], []string{"openssl 1 2", "libc6 1 3"}) || len(updates["dovecot"]) != 0 || len(updates) != 3 {
		t.Errorf("updates %q", updates)
	}
	w.checkFinished() // no container is left
}

func TestDiffPackages(t *testing.T) {
	for _, test := range []struct{ before, after, want string }{
		{"a 1\nb 1\n", "a 1\nb 1\n", ""},
		{"a 1\nb 1\n", "b 1\na 1", ""},
		{"a 1\nb 1\n", "a 2\nb 1\n", "rebuilt: a 1 -> 2"},
		{"a 1\n", "a 1\nb 1\n", "rebuilt: with b 1"},
		{"a 1\nb 1\n", "a 1\n", "rebuilt: without b"},
		{"a 1\nb 1\nc 1\nd 1\ne 1\nf 1\ng 1\n", "a 2\nb 2\nc 2\nd 2\ne 2\nf 2\ng 2\n", "rebuilt: a 1 -> 2, b 1 -> 2, c 1 -> 2, d 1 -> 2, e 1 -> 2, and 2 more"},
	} {
		if got := diffPackages(test.before, test.after); got != test.want {
			t.Errorf("from %q to %q: %q, want %q", test.before, test.after, got, test.want)
		}
	}
}
