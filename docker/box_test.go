package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailstack/docker"
	"mailstack/stack"
)

// prefix begins the name of everything these tests make.
const prefix = "h-docker-test-"

// box is the image of all test containers: one static program, built here, so
// that the tests need neither a registry nor any image.
var box = struct {
	ref  string
	once sync.Once
	err  error
}{ref: prefix + randomName() + ":1"}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := removeBox(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// removeBox removes the image if a test made it. It runs after the tests, whose
// contexts have ended.
func removeBox() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	engine, err := docker.Connect(ctx, docker.Options{})
	if err != nil {
		return nil // then no test has made it
	}
	defer engine.Close()
	return removeImage(ctx, engine, box.ref)
}

// removeImage removes an image, if it is there, once nothing uses it any more:
// the engine takes away the container of a build that ended early a moment
// after the build.
func removeImage(ctx context.Context, engine *docker.Engine, ref string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := engine.RemoveImage(ctx, ref)
		switch {
		case errors.Is(err, stack.ErrNotFound):
			return nil
		case !errors.Is(err, stack.ErrConflict):
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func randomName() string { return strings.ToLower(rand.Text()[:8]) }

// connect returns the engine that the tests run on; without one they fail.
func connect(t *testing.T) *docker.Engine {
	t.Helper()
	engine, err := docker.Connect(t.Context(), docker.Options{})
	if err != nil {
		hint := ""
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			hint = "; " + hinted.Hint()
		}
		t.Fatalf("the tests of package docker need a running Docker engine: %v%s", err, hint)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return engine
}

// connectWithBox is connect, with the image box.ref in the engine.
func connectWithBox(t *testing.T) *docker.Engine {
	t.Helper()
	engine := connect(t)
	box.once.Do(func() {
		rootfs, err := boxRootfs(t)
		if err == nil {
			err = engine.ImportImage(t.Context(), box.ref, bytes.NewReader(rootfs))
		}
		box.err = err
	})
	if box.err != nil {
		t.Fatalf("make the image of the test containers: %v", box.err)
	}
	return engine
}

// boxRootfs is the tar of a root file system with nothing but the program.
func boxRootfs(t *testing.T) ([]byte, error) {
	program := filepath.Join(t.TempDir(), "box")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./testdata/box")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testdata/box: %w\n%s", err, output)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	return tarOf(map[string][]byte{"box": binary})
}

// tarOf makes a tar of executable files.
func tarOf(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

// newSpec is a container that runs the box with these arguments, as a stack of
// its own.
func newSpec(args ...string) stack.ContainerSpec {
	name := prefix + randomName()
	return stack.ContainerSpec{
		Name:       name,
		Image:      box.ref,
		Labels:     map[string]string{stack.LabelStack: name},
		Entrypoint: []string{"/box"},
		Command:    args,
		Network:    "none",
	}
}

// create makes the container and removes it when the test ends.
func create(t *testing.T, engine *docker.Engine, spec stack.ContainerSpec) {
	t.Helper()
	if err := engine.CreateContainer(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := engine.RemoveContainer(ctx, spec.Name); err != nil && !errors.Is(err, stack.ErrNotFound) {
			t.Error(err)
		}
	})
}

// start makes the container and starts it.
func start(t *testing.T, engine *docker.Engine, spec stack.ContainerSpec) {
	t.Helper()
	create(t, engine, spec)
	if err := engine.StartContainer(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
}

// run executes a command in a container and expects it to succeed.
func run(t *testing.T, engine *docker.Engine, name string, args ...string) string {
	t.Helper()
	result, err := engine.Exec(t.Context(), name, stack.ExecSpec{Command: append([]string{"/box"}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	if result.ExitCode != 0 {
		t.Fatalf("%v: exit code %d: %s%s", args, result.ExitCode, result.Stdout, result.Stderr)
	}
	return string(result.Stdout)
}

// inspect returns the container as the engine sees it.
func inspect(t *testing.T, engine *docker.Engine, name string) stack.Container {
	t.Helper()
	c, err := engine.Container(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// awaitReady follows a container's log until it has said "ready" so many times:
// only then does it take signals.
func awaitReady(t *testing.T, engine *docker.Engine, name string, times int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	log := &untilWriter{want: strings.Repeat("ready\n", times), found: cancel}
	if err := engine.Logs(ctx, name, stack.LogSpec{Follow: true}, log, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), log.want) {
		t.Fatalf("container %s said only %q", name, log.String())
	}
}

// untilWriter calls found once it has been given want.
type untilWriter struct {
	bytes.Buffer
	want  string
	found func()
}

func (w *untilWriter) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if strings.Contains(w.String(), w.want) {
		w.found()
	}
	return n, err
}

// await looks at a container until it is as wanted, for at most 20 seconds.
func await(t *testing.T, engine *docker.Engine, name, what string, wanted func(stack.Container) bool) stack.Container {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		c := inspect(t, engine, name)
		if wanted(c) {
			return c
		}
		select {
		case <-deadline:
			t.Fatalf("container %s is not %s: last seen %+v", name, what, c)
		case <-tick.C:
		}
	}
}
