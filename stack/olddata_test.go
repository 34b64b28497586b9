package stack

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const oldContainer = "demo-mysql-old"

// openOldData makes the directory for a copy in a fresh stack.
func openOldData(t *testing.T, w *world) *OldData {
	t.Helper()
	id, err := ReadID(w.set.Layout)
	must(t, err)
	o, err := NewOldData(t.Context(), w.engine, w.set.Layout, "demo", id)
	must(t, err)
	return o
}

// expectNoOldData wants nothing to be left of it.
func expectNoOldData(t *testing.T, w *world) {
	t.Helper()
	_, err := os.Lstat(w.set.Layout.oldDataDir())
	if w.engine.containers[oldContainer] != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %+v, %v", w.engine.containers[oldContainer], err)
	}
}

// TestOldData: the copy is read by a container that sees nothing else, and
// nothing stays.
func TestOldData(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	w.engine.stays = func(spec ContainerSpec) bool { return spec.Name == oldContainer }
	w.engine.exec = func(_ string, command []string) *ExecResult {
		switch {
		case command[0] != "mariadb":
			return nil
		case slices.Contains(command, "--wrong"):
			return &ExecResult{ExitCode: 1, Stdout: []byte("<half"), Stderr: []byte("ERROR 1064")}
		}
		return &ExecResult{Stdout: []byte("<whole/>")}
	}
	o := openOldData(t, w)
	for dir, mode := range map[string]os.FileMode{filepath.Dir(o.Dir()): 0o700, o.Dir(): 0o700} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	must(t, os.WriteFile(filepath.Join(o.Dir(), "ibdata1"), nil, 0o600))
	must(t, o.Start(t.Context(), mustRef(t, w, "mysql")))
	spec := w.engine.containers[oldContainer].spec
	if spec.Network != "none" || len(spec.Ports) > 0 || len(spec.Capabilities) > 0 || spec.User != "5301:5301" ||
		len(spec.Mounts) != 1 || spec.Mounts[0].Source != o.Dir() || spec.Labels[LabelService] != "" {
		t.Errorf("the container is %+v", spec)
	}
	if out, err := io.ReadAll(o.Query(t.Context(), []string{"--xml"}, strings.NewReader("SELECT 1"))); string(out) != "<whole/>" || err != nil {
		t.Errorf("asked: %q, %v", out, err)
	}
	if out, err := io.ReadAll(o.Query(t.Context(), []string{"--wrong"}, nil)); err == nil || !strings.Contains(err.Error(), "ERROR 1064") {
		t.Errorf("asked in vain: %q, %v", out, err)
	}
	must(t, o.Close(t.Context()))
	expectNoOldData(t, w)
	w.checkFinished()
}

// TestOldDataUnreadable: a server that ends is not waited for, and its first
// complaint is what counts.
func TestOldDataUnreadable(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	w.engine.output = func(ContainerSpec) string {
		return "[Note] Starting\n2025 0 [ERROR] InnoDB: no\x1b good\n2025 0 [ERROR] Aborting\n"
	}
	o := openOldData(t, w)
	began := time.Now()
	err := o.Start(t.Context(), mustRef(t, w, "mysql"))
	var ended *EndedError
	if !errors.As(err, &ended) || ended.Said != "InnoDB: no  good" || time.Since(began) > time.Minute {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	must(t, o.Close(t.Context()))
	expectNoOldData(t, w)
}

// TestOldDataLeft: what a killed run left goes with the next one, and nobody
// else's container does.
func TestOldDataLeft(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	id, err := ReadID(w.set.Layout)
	must(t, err)
	left := func(id string) {
		openOldData(t, w)
		w.engine.containers[oldContainer] = &fakeContainer{Container: Container{
			Name: oldContainer, State: "running", Labels: map[string]string{LabelStack: "demo", LabelID: id},
		}}
	}
	clear := func() error {
		return RemoveOldData(t.Context(), func(context.Context) (Engine, error) { return w.engine, nil }, w.set.Layout, "demo", id)
	}
	left(id)
	must(t, clear())
	expectNoOldData(t, w)
	none := func(context.Context) (Engine, error) { return nil, errors.New("asked for an engine") }
	must(t, RemoveOldData(t.Context(), none, w.set.Layout, "demo", id))

	left(id)
	must(t, openOldData(t, w).Close(t.Context()))
	expectNoOldData(t, w)

	left(otherID)
	if err := clear(); err == nil || w.engine.containers[oldContainer] == nil {
		t.Errorf("another stack's container: %v, left %v", err, w.engine.containers[oldContainer])
	}
}

// TestOldDataPurge: nothing of another host's stays when the stack goes.
func TestOldDataPurge(t *testing.T) {
	w := newWorld(t)
	w.mustUp()
	openOldData(t, w)
	_, err := w.down(t)
	must(t, err)
	must(t, w.purge(t))
	if _, err := os.Lstat(w.set.Layout.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stack's directory is there: %v", err)
	}
}
