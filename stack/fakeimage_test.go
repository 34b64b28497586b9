package stack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

func (e *fakeEngine) Image(ctx context.Context, ref string) (img Image, err error) {
	err = e.call(ctx, false, "inspect image "+ref, func() error {
		var ok bool
		if img, ok = e.images[ref]; !ok {
			return ErrNotFound
		}
		return nil
	})
	return img, err
}

func (e *fakeEngine) Images(ctx context.Context, label string) (list []Image, err error) {
	err = e.call(ctx, false, "list images", func() error {
		for _, ref := range slices.Sorted(maps.Keys(e.images)) {
			if _, ok := e.images[ref].Labels[label]; ok {
				list = append(list, e.images[ref])
			}
		}
		return nil
	})
	return list, err
}

func (e *fakeEngine) TagImage(ctx context.Context, ref, newRef string) error {
	return e.call(ctx, true, "tag image "+newRef, func() error {
		img, ok := e.images[ref]
		if !ok {
			return ErrNotFound
		}
		e.images[newRef] = img
		return nil
	})
}

func (e *fakeEngine) RemoveImage(ctx context.Context, ref string) error {
	return e.call(ctx, true, "remove image "+ref, func() error {
		if _, ok := e.images[ref]; !ok {
			return ErrNotFound
		}
		delete(e.images, ref)
		return nil
	})
}

func (e *fakeEngine) PullImage(ctx context.Context, ref string, progress func(string)) error {
	return e.call(ctx, true, "pull image "+ref, func() error {
		content, ok := e.registry[ref]
		if !ok {
			return errors.New("no registry answers")
		}
		progress("pulling " + ref)
		e.images[ref] = Image{ID: digest(content), Tags: []string{ref}}
		return nil
	})
}

func (e *fakeEngine) ImportImage(ctx context.Context, ref string, rootfs io.Reader) error {
	return e.call(ctx, true, "import image "+ref, func() error {
		content, err := io.ReadAll(rootfs)
		if err != nil {
			return err
		}
		e.images[ref] = Image{ID: digest(string(content)), Tags: []string{ref}}
		return nil
	})
}

func (e *fakeEngine) BuildImage(ctx context.Context, spec BuildSpec, progress func(string)) error {
	return e.call(ctx, true, "build image "+spec.Ref, func() error {
		base, ok := e.images[spec.Args["BASE"]]
		if !ok {
			return fmt.Errorf("base %q: %w", spec.Args["BASE"], ErrNotFound)
		}
		content, err := io.ReadAll(spec.Context)
		if err != nil {
			return err
		}
		fresh := ""
		if spec.NoCache {
			fresh = e.id("build")
		}
		progress("Step 1/1 : FROM " + spec.Args["BASE"])
		e.images[spec.Ref] = Image{ID: digest(base.ID + string(content) + fresh), Tags: []string{spec.Ref}, Labels: spec.Labels}
		return nil
	})
}

func digest(content string) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
}
