package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Refresh builds every image again without cache, the base included, and keeps
// a new one only where its packages differ from the old one's: an image that
// says the same must not cost a restart. The next plan replaces the containers
// of the images that changed. changes is one line for each image.
func Refresh(ctx context.Context, e Engine, d *Desired, log func(line string)) (changes []string, err error) {
	var mu sync.Mutex
	say := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		log(line)
	}
	if err := refreshBase(ctx, e, d, say); err != nil {
		return nil, err
	}
	changes = make([]string, len(d.Images))
	g, gctx := errgroup.WithContext(ctx)
	for i, w := range d.Images {
		g.Go(func() error {
			change, err := refreshImage(gctx, e, d, w, say)
			changes[i] = change
			return err
		})
	}
	return changes, g.Wait()
}

// refreshBase renews a base image made here; a pulled one is pulled again.
func refreshBase(ctx context.Context, e Engine, d *Desired, log func(string)) error {
	base, err := findBase(ctx, e, d.Base)
	if errors.Is(err, ErrNotFound) {
		x := &Executor{Engine: e, Desired: d}
		return x.fetchBase(ctx, log)
	}
	if err != nil {
		return err
	}
	if base == LocalBase {
		log("making " + LocalBase + " again")
		return bootstrap(ctx, e, d.Mirror, func(string) {})
	}
	if err := e.PullImage(ctx, base, func(string) {}); err != nil {
		log(base + " cannot be pulled again, going on with the one that is here: " + err.Error())
	}
	return ctx.Err()
}

func refreshImage(ctx context.Context, e Engine, d *Desired, w ImageWanted, log func(string)) (string, error) {
	log("building " + w.Ref + " again")
	fresh := w.Ref + "-refresh"
	if err := buildImage(ctx, e, w, fresh, d.Base, true, func(string) {}); err != nil {
		return "", err
	}
	_, err := e.Image(ctx, w.Ref)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", err
	}
	what := "new"
	if err == nil {
		before, err := packages(ctx, e, d, w.Ref)
		if err != nil {
			return "", err
		}
		after, err := packages(ctx, e, d, fresh)
		if err != nil {
			return "", err
		}
		what = diffPackages(before, after)
	}
	if what != "" {
		if err := e.TagImage(ctx, fresh, w.Ref); err != nil {
			return "", err
		}
	}
	if err := e.RemoveImage(ctx, fresh); err != nil {
		return "", err
	}
	if what == "" {
		return "image of " + w.Service + ": its packages are current", nil
	}
	return "image of " + w.Service + ": " + what, nil
}

// packages reads the package list of an image.
func packages(ctx context.Context, e Engine, d *Desired, ref string) (string, error) {
	out, err := runImage(ctx, e, ContainerSpec{
		Name: strings.NewReplacer("/", "-", ":", "-").Replace(d.Name + "-" + ref), Image: ref,
		Labels:     map[string]string{LabelStack: d.Name, LabelID: d.ID},
		Entrypoint: []string{"cat"}, Command: []string{PackageList}, Network: "none", PidsLimit: 16, MemoryBytes: 64 * mebi,
	})
	if err != nil {
		return "", fmt.Errorf("read packages of %s: %w", ref, err)
	}
	return out, nil
}

// runImage runs a command of an image in a container of its own and returns
// what it printed.
func runImage(ctx context.Context, e Engine, spec ContainerSpec) (string, error) {
	x := &Executor{Engine: e}
	var out strings.Builder
	if err := removeOwn(ctx, e, spec); err != nil {
		return "", err
	}
	if err := x.create(ctx, spec); err != nil {
		return "", err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = e.RemoveContainer(cleanup, spec.Name) // a leftover is removed by the next up
	}()
	code, err := e.WaitContainer(ctx, spec.Name)
	if err != nil {
		return "", err
	}
	var errOut strings.Builder
	if err := e.Logs(ctx, spec.Name, LogSpec{}, &out, &errOut); err != nil {
		return "", err
	}
	if code != 0 {
		return "", fmt.Errorf("status %d: %s", code, lastLines(errOut.String(), 3))
	}
	return out.String(), nil
}

// diffPackages says what changed between two package lists ("name version"
// lines); empty: nothing.
func diffPackages(before, after string) string {
	was := map[string]string{}
	for l := range strings.Lines(before) {
		name, version, _ := strings.Cut(strings.TrimSpace(l), " ")
		was[name] = version
	}
	var changed []string
	for l := range strings.Lines(after) {
		name, version, _ := strings.Cut(strings.TrimSpace(l), " ")
		switch old, there := was[name]; {
		case !there:
			changed = append(changed, "with "+name+" "+version)
		case old != version:
			changed = append(changed, name+" "+old+" -> "+version)
		}
		delete(was, name)
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		changed = append(changed, "without "+name)
	}
	if len(changed) == 0 {
		return ""
	}
	if len(changed) > 5 {
		changed = append(changed[:5], fmt.Sprintf("and %d more", len(changed)-5))
	}
	return "rebuilt: " + strings.Join(changed, ", ")
}
