package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// recorder keeps events. It has no lock of its own: events come one at a time.
type recorder struct{ events []Event }

func (r *recorder) Report(e Event) { r.events = append(r.events, e) }

func (r *recorder) count(kind EventKind) (n int) {
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// task is an operation that does what it is given.
func task(name string, do func(context.Context) error, needs ...int) Operation {
	return Operation{Subject: name, Cause: "test", Needs: needs, Action: RunTask{Task{
		Name: name, Do: func(ctx context.Context, _ func(string)) error { return do(ctx) },
	}}}
}

func nothing(context.Context) error { return nil }

func apply(ctx context.Context, r Reporter, step func(int, Operation) error, ops ...Operation) error {
	x := &Executor{Engine: newFakeEngine(), Desired: &Desired{}, Reporter: r, Now: time.Now, Step: step}
	return x.Apply(ctx, &Plan{Operations: ops})
}

func TestApplyKeepsOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	op := func(name string, needs ...int) Operation {
		return task(name, func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return nil
		}, needs...)
	}
	r := &recorder{}
	if err := apply(t.Context(), r, nil, op("a"), op("b", 0), op("c", 1), op("d", 0, 2)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, ""); got != "abcd" {
		t.Errorf("order %s", got)
	}
	if r.count(Started) != 4 || r.count(Done) != 4 {
		t.Errorf("%d started, %d done, want 4 each", r.count(Started), r.count(Done))
	}
}

// Operations that do not need each other run at the same time: each waits
// here until the other has begun.
func TestApplyIsParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var both sync.WaitGroup
		both.Add(2)
		meet := func(context.Context) error { both.Done(); both.Wait(); return nil }
		if err := apply(t.Context(), silent{}, nil, task("a", meet), task("b", meet)); err != nil {
			t.Error(err)
		}
	})
}

// After a failure what has begun ends, nothing else begins, and every error is
// told.
func TestApplyAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := errors.New("first"), errors.New("second")
		running := make(chan struct{})
		ended := false
		r := &recorder{}
		err := apply(t.Context(), r, nil,
			task("fails", func(context.Context) error { <-running; return first }),
			task("ends", func(ctx context.Context) error {
				close(running)
				time.Sleep(time.Second) // of the bubble: all others have come to rest
				ended = ctx.Err() == nil
				return second
			}),
			task("dependent", func(context.Context) error { t.Error("an operation ran without what it needs"); return nil }, 0),
			task("dependent of that", func(context.Context) error { t.Error("an operation ran without what it needs"); return nil }, 2),
			task("late", func(context.Context) error { t.Error("an operation began after a failure"); return nil }, 1),
		)
		if !errors.Is(err, first) || !errors.Is(err, second) {
			t.Errorf("error %v, want both", err)
		}
		var op *OperationError
		if !errors.As(err, &op) || !strings.Contains(err.Error(), "update fails: first") {
			t.Errorf("error %q does not say what was being done", err)
		}
		if !ended {
			t.Error("an operation under way did not end by itself")
		}
		if r.count(Failed) != 2 || r.count(Started) != 2 {
			t.Errorf("%d started, %d failed", r.count(Started), r.count(Failed))
		}
	})
}

func TestApplyCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := apply(ctx, silent{}, nil,
		task("cancelled", func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }),
		task("dependent", func(context.Context) error { t.Error("an operation began after the cancellation"); return nil }, 0),
	)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := apply(ctx, silent{}, nil, task("never", func(context.Context) error { t.Error("ran"); return nil })); !errors.Is(err, context.Canceled) {
		t.Errorf("error of a cancelled context: %v", err)
	}
}

func TestStepInterrupts(t *testing.T) {
	stop := errors.New("interrupted")
	r := &recorder{}
	err := apply(t.Context(), r, func(i int, _ Operation) error {
		if i == 1 {
			return stop
		}
		return nil
	}, task("a", nothing), task("b", nothing, 0), task("c", nothing, 1))
	if !errors.Is(err, stop) || r.count(Started) != 1 {
		t.Errorf("error %v, %d started, want one", err, r.count(Started))
	}
}

// unknown is an action that the executor does not know.
type unknown struct{}

func (unknown) Verb() string { return "do" }

func TestApplyUnknownAction(t *testing.T) {
	if err := apply(t.Context(), silent{}, nil, Operation{Action: unknown{}}); err == nil {
		t.Error("an unknown action was done")
	}
}

// A container whose start fails is not left behind: the engine would never
// start it.
func TestCreateRemovesWhatDidNotStart(t *testing.T) {
	e := newFakeEngine()
	e.images["i"] = Image{ID: "1"}
	e.before = func(call string) error {
		if call == "start container c" {
			return errors.New("port is taken")
		}
		return nil
	}
	x := &Executor{Engine: e}
	if err := x.create(t.Context(), ContainerSpec{Name: "c", Image: "i", Network: "none"}); err == nil || !strings.Contains(err.Error(), "port is taken") {
		t.Errorf("error %v", err)
	}
	if len(e.containers) != 0 {
		t.Errorf("left %v", e.containers)
	}
}

// A one-shot container makes way for the next one, but never somebody else's.
func TestOneShotNeverRemovesForeign(t *testing.T) {
	e := newFakeEngine()
	e.containers["demo-mysql-init"] = &fakeContainer{Container: Container{Name: "demo-mysql-init", Labels: map[string]string{"other": "1"}}}
	spec := ContainerSpec{Name: "demo-mysql-init", Labels: map[string]string{LabelStack: "demo", LabelID: testID}}
	var obstacle *ObstacleError
	if err := removeOwn(t.Context(), e, spec); !errors.As(err, &obstacle) {
		t.Errorf("error %v", err)
	}
	if len(e.calls) > 0 {
		t.Errorf("calls %v", e.calls)
	}
	e.containers["demo-mysql-init"].Labels = spec.Labels
	if err := removeOwn(t.Context(), e, spec); err != nil || len(e.containers) != 0 {
		t.Errorf("own container: %v, left %v", err, e.containers)
	}
}

// A failed initialisation says what its container said, and leaves no
// container and no volume.
func TestFailedInit(t *testing.T) {
	w := newWorld(t)
	w.engine.init = func(ContainerSpec, string) int { return 3 }
	w.engine.output = func(ContainerSpec) string { return "one\ntwo\nno space left on device\n" }
	_, err := w.up(Options{}, nil)
	if err == nil || !strings.Contains(err.Error(), "-init ended with status 3: its log ends: one | two | no space left on device") {
		t.Errorf("error %v", err)
	}
	for name := range w.engine.containers {
		t.Errorf("left container %s", name)
	}
	for _, name := range []string{"mysql", "queue"} {
		if v := observeVolume(w.set.Layout, name, testID); v.Content || v.Mark != nil {
			t.Errorf("left volume %+v", v)
		}
	}
}

// The two builds and the two initialisations of a first start do not wait for
// each other; nothing runs before the stack is complete.
func TestFirstStartOrder(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	at := func(call string) int {
		i := slices.Index(w.engine.calls, call)
		if i < 0 {
			t.Fatalf("no call %q in %q", call, w.engine.calls)
		}
		return i
	}
	order := []string{"create container demo-mysql-init", "create container demo-mysql", "create container demo-dovecot", "create container demo-postfix"}
	for i := range order[1:] {
		if at(order[i]) > at(order[i+1]) {
			t.Errorf("%q came before %q", order[i+1], order[i])
		}
	}
	if at("create container demo-postfix-init") > at("create container demo-mysql") {
		t.Error("a service was started before all volumes were there")
	}
	if at("pull image debian:trixie-slim") > at(fmt.Sprintf("build image %s", mustRef(t, w, "dovecot"))) {
		t.Error("an image was built before its base was there")
	}
}

func mustRef(t *testing.T, w *world, service string) string {
	t.Helper()
	d, _, err := w.plan(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d.Image(service).Ref
}
