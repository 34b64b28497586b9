package oldhost

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"mailstack/docker"
	"mailstack/images"
	"mailstack/stack"
)

const (
	suite      = "bookworm"
	repository = "mailstack-test/"
)

// buildContext makes the one image that all kinds share: programs, no set-up.
//
//go:embed image
var buildContext embed.FS

// building keeps parallel tests from making the same image twice.
var building sync.Mutex

// image returns the name of the image, which is made if it is not there: from
// Debian's archive in two to four minutes.
func image(t T) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	engine, err := docker.Connect(ctx, docker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()

	mirror, err := images.HostMirror("/")
	if err != nil {
		t.Fatal(err)
	}
	base := repository + suite + ":" + digest([]byte(mirror))
	archive, err := contextTar()
	if err != nil {
		t.Fatal(err)
	}
	ref := repository + "oldhost:" + digest([]byte(base), archive)
	err = ensure(ctx, engine, ref, func() error {
		err := ensure(ctx, engine, base, func() error { return makeBase(ctx, engine, base) })
		if err != nil {
			return err
		}
		return engine.BuildImage(ctx, stack.BuildSpec{
			Ref: ref, Context: bytes.NewReader(archive), Args: map[string]string{"BASE": base},
		}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// ensure calls make for an image that is not there.
func ensure(ctx context.Context, engine *docker.Engine, ref string, make func() error) error {
	_, err := engine.Image(ctx, ref)
	if errors.Is(err, stack.ErrNotFound) {
		return make()
	}
	return err
}

func makeBase(ctx context.Context, engine *docker.Engine, ref string) error {
	rootfs, err := images.Bootstrap(ctx, images.BootstrapOptions{Suite: suite}, nil)
	if err != nil {
		return err
	}
	return errors.Join(engine.ImportImage(ctx, ref, rootfs), rootfs.Close())
}

// contextTar is the same for the same files: embedding has sorted them and
// knows no times and modes.
func contextTar() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	files, err := fs.Sub(buildContext, "image")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o755}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("write build context of old host: %w", err)
	}
	return buf.Bytes(), w.Close()
}

// digest is a tag made of what it stands for.
func digest(parts ...[]byte) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d\x00", len(part))
		hash.Write(part)
	}
	return hex.EncodeToString(hash.Sum(nil))[:20]
}
