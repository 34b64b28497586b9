package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"mailstack/stack"
)

// Image finds an image by name:tag or ID.
func (e *Engine) Image(ctx context.Context, ref string) (stack.Image, error) {
	found, err := e.client.ImageInspect(ctx, ref)
	if err != nil {
		return stack.Image{}, e.fail("inspect image "+ref, err)
	}
	image := stack.Image{
		ID:      found.ID,
		Tags:    tags(found.RepoTags),
		Created: parseTime(found.Created),
		Bytes:   found.Size,
	}
	if found.Config != nil {
		image.Labels = found.Config.Labels
	}
	return image, nil
}

// Images lists the images that carry a label, the newest first.
func (e *Engine) Images(ctx context.Context, label string) ([]stack.Image, error) {
	listed, err := e.client.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("label", label)})
	if err != nil {
		return nil, e.fail("list images", err)
	}
	var images []stack.Image
	for _, item := range listed.Items {
		images = append(images, stack.Image{
			ID:      item.ID,
			Tags:    tags(item.RepoTags),
			Labels:  item.Labels,
			Created: time.Unix(item.Created, 0).UTC(),
			Bytes:   item.Size,
		})
	}
	slices.SortFunc(images, func(a, b stack.Image) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return images, nil
}

// tags leaves out what engines before 24 report for an image without any.
func tags(repoTags []string) []string {
	return slices.DeleteFunc(repoTags, func(tag string) bool { return tag == "<none>:<none>" })
}

// TagImage gives an image one more name:tag, which another image loses.
func (e *Engine) TagImage(ctx context.Context, ref, newRef string) error {
	if _, err := e.client.ImageTag(ctx, client.ImageTagOptions{Source: ref, Target: newRef}); err != nil {
		return e.fail("tag image "+ref+" as "+newRef, err)
	}
	return nil
}

// RemoveImage takes a name:tag away and, with its last one, the image and those
// of its parents that have none. An image that a container uses, running or
// not, is stack.ErrConflict.
func (e *Engine) RemoveImage(ctx context.Context, ref string) error {
	if _, err := e.client.ImageRemove(ctx, ref, client.ImageRemoveOptions{PruneChildren: true}); err != nil {
		return e.fail("remove image "+ref, err)
	}
	return nil
}

// ImportImage makes an image from the tar of a root file system, plain or
// compressed with gzip, bzip2 or xz.
func (e *Engine) ImportImage(ctx context.Context, ref string, rootfs io.Reader) error {
	doing := "import image " + ref
	// Imported without a name, and named when it is whole: an engine with
	// containerd's image store (seen on 28.5) leaves the name on the torso of an
	// import that failed.
	answer, err := e.client.ImageImport(ctx, client.ImageImportSource{Source: rootfs, SourceName: "-"}, "", client.ImageImportOptions{})
	if err != nil {
		return e.fail(doing, err)
	}
	var id string
	if err := readMessages(ctx, answer, func(m jsonstream.Message) { id = cmp.Or(m.Status, id) }); err != nil {
		return e.fail(doing, err)
	}
	if !strings.HasPrefix(id, "sha256:") {
		return wrap(doing, fmt.Errorf("the engine ended with %q instead of an image ID", id))
	}
	if _, err := e.client.ImageTag(ctx, client.ImageTagOptions{Source: id, Target: ref}); err != nil {
		return e.fail(doing, err)
	}
	return nil
}

// PullImage fetches an image, anonymously. An image that the registry does not
// have, or shows only to those who log in, is stack.ErrNotFound. Where there is
// no registry to be reached the error comes within 20 seconds: the engine alone
// would try for minutes.
func (e *Engine) PullImage(ctx context.Context, ref string, progress func(line string)) error {
	doing := "pull image " + ref
	pullCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(e.firstWord, func() {
		cancel(fmt.Errorf("the registry says nothing: %w", context.DeadlineExceeded))
	})
	defer silence.Stop()

	err := e.pull(pullCtx, ref, newPullLines(progress), func() { silence.Reset(e.nextWord) })
	if err == nil {
		return nil
	}
	if pullCtx.Err() != nil {
		err = context.Cause(pullCtx)
	}
	var streamed *jsonstream.Error
	if errors.As(err, &streamed) && streamed.Code == http.StatusNotFound {
		return &opError{doing: doing, err: err, kind: stack.ErrNotFound}
	}
	return e.fail(doing, err)
}

func (e *Engine) pull(ctx context.Context, ref string, lines *pullLines, heard func()) error {
	answer, err := e.client.ImagePull(ctx, ref, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	return readMessages(ctx, answer, func(m jsonstream.Message) {
		heard()
		lines.add(m)
	})
}
