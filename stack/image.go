package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"mailstack/images"
)

// LocalBase is the base image made here where no registry has the configured
// one. It has a name of its own so that other builds on this host never take
// it for somebody else's.
const LocalBase = "mailstack/base:trixie"

// findBase returns the base image to build on: the configured one, or the one
// made here; ErrNotFound where there is neither.
func findBase(ctx context.Context, e Engine, configured string) (string, error) {
	for _, ref := range []string{configured, LocalBase} {
		_, err := e.Image(ctx, ref)
		if err == nil {
			return ref, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return "", fmt.Errorf("look for image %s: %w", ref, err)
		}
	}
	return "", fmt.Errorf("base image %s: %w", configured, ErrNotFound)
}

// buildImage builds an image under ref.
func buildImage(ctx context.Context, e Engine, w ImageWanted, ref, base string, fresh bool, log func(string)) error {
	base, err := findBase(ctx, e, base)
	if err != nil {
		return err
	}
	return e.BuildImage(ctx, BuildSpec{
		Ref: ref, Context: bytes.NewReader(w.Context), NoCache: fresh,
		Args: map[string]string{"BASE": base}, Labels: map[string]string{LabelImage: w.Service},
	}, log)
}

// buildImage builds an image, unless another stack has done so since the plan was made.
func (x *Executor) buildImage(ctx context.Context, w ImageWanted, log func(string)) error {
	return x.building(ctx, w.Service, log, func() error {
		_, err := x.Engine.Image(ctx, w.Ref)
		if errors.Is(err, ErrNotFound) {
			return buildImage(ctx, x.Engine, w, w.Ref, x.Desired.Base, false, log)
		}
		return err
	})
}

// fetchBase gets the base image: pulled where there is a registry, else made
// here from Debian's packages.
func (x *Executor) fetchBase(ctx context.Context, log func(string)) error {
	return x.building(ctx, "base", log, func() error {
		if _, err := findBase(ctx, x.Engine, x.Desired.Base); !errors.Is(err, ErrNotFound) {
			return err
		}
		pullErr := x.Engine.PullImage(ctx, x.Desired.Base, log)
		if pullErr == nil || ctx.Err() != nil {
			return pullErr
		}
		log("no registry has it: making " + LocalBase + " from Debian packages")
		return bootstrap(ctx, x.Engine, LocalBase, x.Desired.Mirror, log)
	})
}

func bootstrap(ctx context.Context, e Engine, ref, mirror string, log func(string)) error {
	rootfs, err := images.Bootstrap(ctx, images.BootstrapOptions{Mirror: mirror}, log)
	if err != nil {
		return err
	}
	err = e.ImportImage(ctx, ref, rootfs)
	if closeErr := rootfs.Close(); closeErr != nil {
		return closeErr // the child's own words say more than the import's
	}
	return err
}
