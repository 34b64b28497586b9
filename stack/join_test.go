package stack

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// grown is a stack that has been up, and whose configuration now has the services
// that can be left out.
func grown(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.mustUp()
	w.graph = graphOf(t, Catalog())
	return w
}

// A service may join a stack that has been up: its volumes are new, and wherever
// that is interrupted the next up ends in the same state.
func TestServiceJoins(t *testing.T) {
	w := grown(t)
	plan := w.mustUp()
	w.checkFinished()
	want := w.state()
	if text := plan.String(); strings.Contains(text, "is gone") || !strings.Contains(text, "none yet") {
		t.Errorf("what is new is taken for lost:\n%s", text)
	}
	for i, op := range plan.Operations {
		t.Run(op.Action.Verb()+" "+filepath.Base(op.Subject), func(t *testing.T) {
			w := grown(t)
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

// A directory of sockets that another version made gets the owner and mode that its
// service says now, with the next container of that service.
func TestSocketDirectoryIsOwned(t *testing.T) {
	needRoot(t)
	w := grown(t)
	w.mustUp()
	want := w.state()
	dir := w.set.Layout.Content(SocketVolume("filter"))
	must(t, os.Chown(dir, 0, 0))
	must(t, os.Chmod(dir, 0o700))
	must(t, w.engine.RemoveContainer(t.Context(), ContainerName(w.set.Name, "filter")))
	w.mustUp()
	checkState(t, w.state(), want)
}

// Once it has joined, a volume that is missing is lost, as those of all others.
func TestJoinedServiceLosesVolume(t *testing.T) {
	w := grown(t)
	w.mustUp()
	lost := w.set.Layout.Volume("valkey")
	if err := os.RemoveAll(lost); err != nil {
		t.Fatal(err)
	}
	var obstacle *ObstacleError
	if _, err := w.up(Options{}, nil); !errors.As(err, &obstacle) || !strings.Contains(obstacle.What, lost) {
		t.Fatalf("up with a lost volume: %v", err)
	}
	if _, err := w.up(Options{InitVolumes: []string{"valkey"}}, nil); err != nil {
		t.Fatal(err)
	}
	w.checkFinished()
}

// A service that is left out again goes; what it kept waits for its return.
func TestServiceLeaves(t *testing.T) {
	w := grown(t)
	w.mustUp()
	want := w.state()
	w.graph = catalogGraph(t)
	w.mustUp()
	w.checkFinished()
	for _, c := range w.engine.containers {
		if slices.Contains([]string{"filter", "valkey"}, c.Labels[LabelService]) {
			t.Errorf("%s is still there", c.Name)
		}
	}
	w.graph = graphOf(t, Catalog())
	w.mustUp()
	w.checkFinished()
	checkState(t, w.state(), want)
}
