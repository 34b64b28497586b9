package docker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailstack/docker"
	"mailstack/stack"
)

func TestBuild(t *testing.T) {
	engine := connectWithBox(t)
	ref := prefix + randomName() + ":1"
	var said []string
	err := build(t, engine, ref, "RUN [\"/box\", \"print-to-both\"]\n", func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Step 1/", "Step 2/", `RUN ["/box", "print-to-both"]`, "\nto stdout\n", "\nto stderr\n"} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("no %q in %q", want, said)
		}
	}
	if slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, "--->") || line == "" }) {
		t.Errorf("noise in %q", said)
	}
	image, err := engine.Image(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if image.Labels["test"] != ref || image.ID == "" || image.Bytes == 0 || time.Since(image.Created).Abs() > time.Hour {
		t.Errorf("image %+v", image)
	}
	if diff := cmp.Diff([]string{ref}, image.Tags); diff != "" {
		t.Error("tags:", diff)
	}
	listed, err := engine.Images(t.Context(), "test="+ref)
	if err != nil || len(listed) != 1 || listed[0].ID != image.ID {
		t.Errorf("images with the label: %+v, %v", listed, err)
	}
	if err := engine.TagImage(t.Context(), ref, ref+"-too"); err != nil {
		t.Fatal(err)
	}
	if again, err := engine.Image(t.Context(), ref+"-too"); err != nil || again.ID != image.ID {
		t.Errorf("by its other name: %+v, %v", again, err)
	}
	if err := engine.RemoveImage(t.Context(), ref+"-too"); err != nil {
		t.Fatal(err)
	}
	spec := newSpec("stay")
	spec.Image = ref
	create(t, engine, spec)
	if err := engine.RemoveImage(t.Context(), ref); !errors.Is(err, stack.ErrConflict) {
		t.Errorf("removing an image in use: %v", err)
	}
}

// build builds ref on the box, with a label of that name, and removes the image
// when the test ends.
func build(t *testing.T, engine *docker.Engine, ref, steps string, progress func(string)) error {
	t.Helper()
	tarball, err := tarOf(map[string][]byte{"Dockerfile": []byte("ARG BASE\nFROM ${BASE}\n" + steps)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := removeImage(ctx, engine, ref); err != nil {
			t.Error(err)
		}
	})
	return engine.BuildImage(t.Context(), stack.BuildSpec{
		Ref: ref, Context: bytes.NewReader(tarball), NoCache: true,
		Args: map[string]string{"BASE": box.ref}, Labels: map[string]string{"test": ref},
	}, progress)
}

func TestBuildFails(t *testing.T) {
	engine := connectWithBox(t)
	ref := prefix + randomName() + ":1"
	err := build(t, engine, ref, "RUN [\"/box\", \"exit\", \"3\"]\n", nil)
	var failed *docker.BuildError
	if !errors.As(err, &failed) {
		t.Fatalf("error %v is no *BuildError", err)
	}
	if !strings.Contains(failed.Step, "/box") || !slices.Contains(failed.Output, "exiting with 3") ||
		!strings.Contains(err.Error(), "code: 3") || !strings.Contains(err.Error(), "exiting with 3") {
		t.Errorf("error %v\nstep %q, output %q", err, failed.Step, failed.Output)
	}
	if _, err := engine.Image(t.Context(), ref); !errors.Is(err, stack.ErrNotFound) {
		t.Errorf("the image: %v", err)
	}

	if err := build(t, engine, ref, "NONSENSE\n", nil); !errors.As(err, &failed) || !strings.Contains(err.Error(), "NONSENSE") {
		t.Errorf("a Dockerfile with an error: %v", err)
	}
}

func TestBuildEndsWithContext(t *testing.T) {
	engine := connectWithBox(t)
	tarball, err := tarOf(map[string][]byte{"Dockerfile": []byte("FROM " + box.ref + "\nRUN [\"/box\", \"stay\"]\n")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = engine.BuildImage(ctx, stack.BuildSpec{Ref: prefix + "none:1", Context: bytes.NewReader(tarball)}, func(line string) {
		if strings.Contains(line, "RUN") {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestImportFails: what is not a whole root file system gets no name.
func TestImportFails(t *testing.T) {
	engine := connect(t)
	whole, err := tarOf(map[string][]byte{"file": bytes.Repeat([]byte("x"), 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk on fire")
	for name, rootfs := range map[string]io.Reader{
		"no tar":   strings.NewReader("this is no tar"),
		"cut off":  bytes.NewReader(whole[:len(whole)/2]),
		"unread":   io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), brokenReader{broken}),
		"no start": brokenReader{broken},
	} {
		t.Run(name, func(t *testing.T) {
			ref := prefix + randomName() + ":1"
			if err := engine.ImportImage(t.Context(), ref, rootfs); err == nil {
				t.Error("no error")
			} else if name[0] == 'u' && !errors.Is(err, broken) {
				t.Errorf("error %v does not carry its cause", err)
			}
			if _, err := engine.Image(t.Context(), ref); !errors.Is(err, stack.ErrNotFound) {
				t.Errorf("the image: %v", err)
			}
		})
	}
}

// TestPullWithoutRegistry: nobody listens on port 1.
func TestPullWithoutRegistry(t *testing.T) {
	engine := connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	err := engine.PullImage(ctx, "127.0.0.1:1/none:1", nil)
	if err == nil || ctx.Err() != nil || !strings.HasPrefix(err.Error(), "pull image 127.0.0.1:1/none:1: ") {
		t.Errorf("error %v, context %v", err, ctx.Err())
	}
}
