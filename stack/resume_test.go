package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var errInterrupted = errors.New("interrupted")

// finished is the state after an up that nothing disturbed.
func finished(t *testing.T) string {
	t.Helper()
	w := newWorld(t)
	w.mustUp()
	w.checkFinished()
	return w.state()
}

// An up that is interrupted before any of its operations, and run again, ends
// in the same state.
func TestUpAfterInterruption(t *testing.T) {
	want := finished(t)
	plan := newWorld(t).mustUp()
	for i, op := range plan.Operations {
		t.Run(fmt.Sprintf("%02d %s %s", i, op.Action.Verb(), filepath.Base(op.Subject)), func(t *testing.T) {
			w := newWorld(t)
			_, err := w.up(Options{}, func(n int, _ Operation) error {
				if n == i {
					return errInterrupted
				}
				return nil
			})
			if !errors.Is(err, errInterrupted) {
				t.Fatalf("interrupted up: %v", err)
			}
			w.mustUp()
			w.checkFinished()
			checkState(t, w.state(), want)
		})
	}
}

// The same for a failure of any call to the engine, before it has had its
// effect and after: a killed process never learns which.
func TestUpAfterEngineFailure(t *testing.T) {
	want := finished(t)
	calls := func() []string { w := newWorld(t); w.mustUp(); return w.engine.calls }()
	slices.Sort(calls)
	for _, call := range slices.Compact(calls) {
		for _, when := range []string{"before", "after"} {
			t.Run(when+" "+filepath.Base(call), func(t *testing.T) {
				w := newWorld(t)
				die := func(c string) error {
					if c == call {
						// A killed process cleans nothing up.
						w.engine.before = func(string) error { return errInterrupted }
						return errInterrupted
					}
					return nil
				}
				if when == "before" {
					w.engine.before = die
				} else {
					w.engine.after = die
				}
				if _, err := w.up(Options{}, nil); !errors.Is(err, errInterrupted) {
					t.Fatalf("failed up: %v", err)
				}
				w.engine.before, w.engine.after = nil, nil
				w.mustUp()
				w.checkFinished()
				checkState(t, w.state(), want)
			})
		}
	}
}

// An initialisation that is interrupted at any of its steps is redone, or
// finished, and what it left is gone.
func TestUpAfterInterruptedInit(t *testing.T) {
	want := finished(t)
	write := func(t *testing.T, path, data string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Each step is what is on disk when the initialisation of mysql dies there.
	steps := []struct {
		name string
		do   func(*testing.T, volumeInit)
	}{
		{"directory", func(t *testing.T, i volumeInit) { must(t, os.Mkdir(i.layout.Volume("mysql"), 0o700)) }},
		{"temporary directory", func(t *testing.T, i volumeInit) { must(t, i.begin()) }},
		{"half of the content", func(t *testing.T, i volumeInit) { write(t, filepath.Join(i.tmp(), "half"), "x") }},
		{"mark being written", func(t *testing.T, i volumeInit) {
			must(t, os.Remove(filepath.Join(i.tmp(), "half")))
			write(t, filepath.Join(i.tmp(), "made-by-init"), "mysql")
			write(t, filepath.Join(i.layout.Volume("mysql"), "."+pendingMark(i.id)+".tmp-123"), "{")
		}},
		{"pending mark", func(t *testing.T, i volumeInit) {
			must(t, os.Remove(filepath.Join(i.layout.Volume("mysql"), "."+pendingMark(i.id)+".tmp-123")))
			must(t, i.writePending(testTime))
		}},
		{"renamed", func(t *testing.T, i volumeInit) { must(t, os.Rename(i.tmp(), i.layout.Content("mysql"))) }},
		{"marked", func(t *testing.T, i volumeInit) { must(t, i.mark()) }},
	}
	for n := range steps {
		t.Run(steps[n].name, func(t *testing.T) {
			w := newWorld(t)
			// Everything before the initialisation of mysql is done.
			_, err := w.up(Options{}, func(_ int, op Operation) error {
				if _, ok := op.Action.(InitVolume); ok {
					return errInterrupted
				}
				return nil
			})
			if !errors.Is(err, errInterrupted) {
				t.Fatal(err)
			}
			id, err := ReadID(w.set.Layout)
			must(t, err)
			s, _ := w.graph.Service("mysql")
			for _, step := range steps[:n+1] {
				step.do(t, volumeInit{layout: w.set.Layout, name: "mysql", id: id, owner: s.Volumes[0].Owner})
			}
			w.mustUp()
			w.checkFinished()
			checkState(t, w.state(), want)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The one-shot container of an up that was killed may still run and write.
func TestInitRemovesItsPredecessorFirst(t *testing.T) {
	w := newWorld(t)
	_, err := w.up(Options{}, func(_ int, op Operation) error {
		if _, ok := op.Action.(InitVolume); ok {
			return errInterrupted
		}
		return nil
	})
	if !errors.Is(err, errInterrupted) {
		t.Fatal(err)
	}
	id, err := ReadID(w.set.Layout)
	must(t, err)
	tmp := volumeInit{layout: w.set.Layout, name: "mysql", id: id}.tmp()
	must(t, makeParents(tmp))
	w.engine.containers["demo-mysql-init"] = &fakeContainer{Container: Container{
		Name: "demo-mysql-init", State: "running", Labels: map[string]string{LabelStack: "demo", LabelID: id, LabelService: "mysql"},
	}}
	w.engine.before = func(call string) error {
		if call == "remove container demo-mysql-init" {
			if _, err := os.Lstat(tmp); err != nil {
				t.Errorf("the directory was taken away under the running container: %v", err)
			}
			w.engine.before = nil
		}
		return nil
	}
	w.mustUp()
	if w.engine.before != nil {
		t.Error("the old one-shot container was not removed")
	}
	w.checkFinished()
}

// A second up does nothing.
func TestSecondUp(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	before := len(w.engine.calls)
	if p := w.mustUp(); p.String() != "nothing to do\n" {
		t.Errorf("second plan:\n%s", p)
	}
	if calls := w.engine.calls[before:]; len(calls) > 0 {
		t.Errorf("second up called %q", calls)
	}
}

// A socket that was removed, or is another kind of file, is made anew by the next up:
// the container restarts although it is healthy, no other does, and none that has not
// answered yet.
func TestUpMakesSocketsAnew(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	for _, s := range w.graph.Services {
		for _, socket := range s.Provides {
			for _, replace := range []func(path string) error{
				func(string) error { return nil },
				func(path string) error { return os.WriteFile(path, nil, 0o600) },
				func(path string) error { return os.Symlink("/dev/null", path) },
			} {
				path := w.set.Layout.Socket(s.Name, socket.Name)
				if err := errors.Join(os.Remove(path), replace(path)); err != nil {
					t.Fatal(err)
				}
				w.engine.containers["demo-"+s.Name].HealthStatus = "starting"
				if _, p, err := w.plan(Options{}); err != nil || strings.Contains(p.String(), "restart") {
					t.Errorf("%s, which is starting, %v:\n%s", s.Name, err, p)
				}
				w.engine.containers["demo-"+s.Name].HealthStatus = "healthy"
				before := len(w.engine.calls)
				p := w.mustUp()
				if cause := "its socket " + socket.Name + " is gone"; !strings.Contains(p.String(), cause) {
					t.Errorf("the plan does not say that %s:\n%s", cause, p)
				}
				if calls := w.engine.calls[before:]; !slices.Equal(calls, []string{"restart container demo-" + s.Name}) {
					t.Errorf("without %s %q", path, calls)
				}
				if p := w.mustUp(); p.String() != "nothing to do\n" {
					t.Errorf("and then:\n%s", p)
				}
			}
		}
	}
}

// A renewed certificate is served, also when up dies between installing it and
// the reload.
func TestReloadAfterInterruption(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	w.certificate = "certificate 2"
	_, err := w.up(Options{}, func(_ int, op Operation) error {
		if _, ok := op.Action.(ReloadContainer); ok {
			return errInterrupted
		}
		return nil
	})
	if !errors.Is(err, errInterrupted) {
		t.Fatal(err)
	}
	before := len(w.engine.calls)
	w.mustUp()
	w.checkFinished()
	for _, name := range []string{"demo-dovecot", "demo-postfix"} {
		if w.served[name] != "certificate 2" {
			t.Errorf("%s serves %q", name, w.served[name])
		}
	}
	for _, call := range w.engine.calls[before:] {
		if call != "exec mailstack-reload in demo-dovecot" && call != "exec mailstack-reload in demo-postfix" {
			t.Errorf("more than a reload: %s", call)
		}
	}
}

// An up of a stack that changed, interrupted anywhere, converges too.
func TestUpAfterInterruptedChange(t *testing.T) {
	change := func(w *world) {
		w.certificate = "certificate 2"
		w.set.MessageBytes = 1 << 20
		w.set.Ports["smtp"] = 2525
		must(w.t, os.Remove(w.set.Layout.SecretFile("dovecot")))
		w.engine.containers["demo-mysql"].stop()
	}
	changed := func() (*world, *Plan) { w := newWorld(t); w.mustUp(); change(w); return w, w.mustUp() }
	w, plan := changed()
	w.checkFinished()
	want := w.state()
	for i, op := range plan.Operations {
		t.Run(fmt.Sprintf("%02d %s %s", i, op.Action.Verb(), filepath.Base(op.Subject)), func(t *testing.T) {
			w := newWorld(t)
			w.mustUp()
			change(w)
			_, err := w.up(Options{}, func(n int, _ Operation) error {
				if n == i {
					return errInterrupted
				}
				return nil
			})
			if !errors.Is(err, errInterrupted) {
				t.Fatalf("interrupted up: %v", err)
			}
			w.mustUp()
			w.checkFinished()
			checkState(t, w.state(), want)
		})
	}
}

// Once the stack was up, an empty volume is never made without being told to.
func TestLostVolume(t *testing.T) {
	for _, volume := range []string{"mysql", "vmail", "queue", "socket/mysql", "socket/dovecot", "socket/postfix"} {
		w := newWorld(t)
		w.mustUp()
		must(t, os.RemoveAll(w.set.Layout.Volume(volume)))
		before := len(w.engine.calls)
		var obstacle *ObstacleError
		if _, err := w.up(Options{}, nil); !errors.As(err, &obstacle) {
			t.Errorf("up without %s: %v", volume, err)
		}
		if calls := w.engine.calls[before:]; len(calls) > 0 {
			t.Errorf("up without %s called %q", volume, calls)
		}
		if _, err := os.Lstat(w.set.Layout.Volume(volume)); err == nil {
			t.Errorf("up made %s", volume)
		}
		if _, err := w.up(Options{InitVolumes: []string{volume}}, nil); err != nil {
			t.Errorf("up --init-volume %s: %v", volume, err)
		}
		w.checkFinished()
		// Nobody goes on with the directory that was there before.
		for name, c := range w.engine.containers {
			for _, m := range c.spec.Mounts {
				if m.Source == w.set.Layout.Content(volume) && !slices.Contains(w.engine.calls[before:], "create container "+name) {
					t.Errorf("%s still has the old %s", name, volume)
				}
			}
		}
	}
}

// What a killed up has asked for, the engine may finish only after the next up
// has looked.
func TestEngineFinishesLate(t *testing.T) {
	want := finished(t)
	for _, late := range []string{"network demo-dovecot", "container demo-mysql", "container demo-postfix-init"} {
		w := newWorld(t)
		d, p, err := w.plan(Options{})
		must(t, err)
		labels := map[string]string{LabelStack: "demo", LabelID: d.ID}
		kind, name, _ := strings.Cut(late, " ")
		w.engine.before = func(call string) error {
			if call == "create "+late {
				if kind == "network" {
					w.engine.networks[name] = Network{ID: "late", Name: name, Labels: labels}
				} else {
					w.engine.containers[name] = &fakeContainer{Container: Container{Name: name, State: "running", Labels: labels}}
				}
				w.engine.before = nil
			}
			return nil
		}
		x := &Executor{Engine: w.engine, Desired: d, Reporter: silent{}, ReadyTimeout: time.Minute, Now: time.Now}
		if err := x.Apply(t.Context(), p); err != nil {
			t.Errorf("%s came late: %v", late, err)
		}
		w.checkFinished()
		checkState(t, w.state(), want)
	}
}

// One of another hand that came in between is in the way, and stays.
func TestForeignComesBetween(t *testing.T) {
	for _, late := range []string{"network demo-dovecot", "container demo-mysql", "container demo-postfix-init"} {
		w := newWorld(t)
		kind, name, _ := strings.Cut(late, " ")
		w.engine.before = func(call string) error {
			if call == "create "+late {
				if kind == "network" {
					w.engine.networks[name] = Network{ID: "foreign", Name: name}
				} else {
					w.engine.containers[name] = &fakeContainer{Container: Container{ID: "foreign", Name: name}}
				}
				w.engine.before = nil
			}
			return nil
		}
		if _, err := w.up(Options{}, nil); err == nil {
			t.Errorf("%s was taken", late)
		}
		if kind == "network" && w.engine.networks[name].ID != "foreign" || kind == "container" && w.engine.containers[name].ID != "foreign" {
			t.Errorf("%s is gone", late)
		}
	}
}
