package stack

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// Two stacks on a fresh host want the same image at the same moment: one builds it,
// and the other waits and takes that one.
func TestImageOfAnotherStack(t *testing.T) {
	w := newWorld(t)
	d, _, err := w.plan(Options{})
	if err != nil {
		t.Fatal(err)
	}
	image := d.Image("dovecot")
	locks := t.TempDir()
	theirs := &Executor{Engine: w.engine, Desired: d, BuildLocks: locks}
	ours := &Executor{Engine: w.engine, Desired: d, BuildLocks: locks}

	begun, waiting, built := make(chan struct{}), make(chan struct{}), make(chan error)
	wait := sync.OnceFunc(func() { close(waiting) })
	go func() {
		built <- theirs.building(t.Context(), "dovecot", func(string) {}, func() error {
			close(begun)
			<-waiting
			w.engine.mu.Lock()
			defer w.engine.mu.Unlock()
			w.engine.images[image.Ref] = Image{ID: "sha256:theirs", Tags: []string{image.Ref}}
			return nil
		})
	}()
	<-begun
	if err := ours.buildImage(t.Context(), image, func(string) { wait() }); err != nil {
		t.Error(err)
	}
	wait()
	if err := <-built; err != nil {
		t.Error(err)
	}
	if got := w.engine.images[image.Ref].ID; got != "sha256:theirs" || slices.Contains(w.engine.calls, "build image "+image.Ref) {
		t.Errorf("the image is %s after %q", got, w.engine.calls)
	}
}

// Who waits for another stack's build can be stopped.
func TestBuildLockEndsWithContext(t *testing.T) {
	x := &Executor{BuildLocks: t.TempDir()}
	ctx, stop := context.WithCancel(t.Context())
	err := x.building(t.Context(), "base", func(string) {}, func() error {
		return x.building(ctx, "base", func(string) { stop() }, func() error { return nil })
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
