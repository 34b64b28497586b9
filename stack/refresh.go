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
		return renewBase(ctx, e, d, func(ref string) error { return bootstrap(ctx, e, ref, d.Mirror, func(string) {}) })
	}
	if err := e.PullImage(ctx, base, func(string) {}); err != nil {
		log(base + " cannot be pulled again, going on with the one that is here: " + err.Error())
	}
	return ctx.Err()
}

// renewBase keeps the base that is here where one that is made now is the same:
// images whose packages are current stay on the old one, and the next to be built
// would be alone on the new one, 73 MB for nothing.
func renewBase(ctx context.Context, e Engine, d *Desired, makeBase func(ref string) error) error {
	fresh := LocalBase + "-refresh"
	if err := makeBase(fresh); err != nil {
		return err
	}
	_, err := keepNewer(ctx, e, d, fresh, LocalBase, describeBase...)
	return err
}

// describeBase prints what a base is made of: packages, and where from and how
// more are installed.
var describeBase = []string{
	"sh", "-c", "cat /etc/apt/sources.list /etc/apt/apt.conf.d/* /etc/dpkg/dpkg.cfg.d/*; dpkg-query -W -f '${Package} ${Version}\\n'",
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
		what, err = keepNewer(ctx, e, d, fresh, w.Ref, "cat", PackageList)
	} else {
		err = rename(ctx, e, fresh, w.Ref)
	}
	if err != nil {
		return "", err
	}
	if what == "" {
		return "image of " + w.Service + ": its packages are current", nil
	}
	return "image of " + w.Service + ": " + what, nil
}

// keepNewer removes the fresh image or gives it the name of the one that is there
// if a command that describes an image says something else of it: what, then.
func keepNewer(ctx context.Context, e Engine, d *Desired, fresh, ref string, describe ...string) (what string, err error) {
	before, err := describeImage(ctx, e, d, ref, describe)
	if err != nil {
		return "", err
	}
	after, err := describeImage(ctx, e, d, fresh, describe)
	if err != nil {
		return "", err
	}
	if before != after {
		what = diffPackages(before, after)
	}
	if what == "" {
		return "", e.RemoveImage(ctx, fresh)
	}
	return what, rename(ctx, e, fresh, ref)
}

func rename(ctx context.Context, e Engine, from, to string) error {
	if err := e.TagImage(ctx, from, to); err != nil {
		return err
	}
	return e.RemoveImage(ctx, from)
}

// describeImage runs a command of an image and returns what it says.
func describeImage(ctx context.Context, e Engine, d *Desired, ref string, command []string) (string, error) {
	out, err := runImage(ctx, e, ContainerSpec{
		Name: strings.NewReplacer("/", "-", ":", "-").Replace(d.Name + "-" + ref), Image: ref,
		Labels:     map[string]string{LabelStack: d.Name, LabelID: d.ID},
		Entrypoint: command[:1], Command: command[1:], Network: "none", PidsLimit: 16, MemoryBytes: 64 * mebi,
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
