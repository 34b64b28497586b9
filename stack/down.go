package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Down stops and removes the stack's containers, in the reverse order of the
// start, and its networks. Data stays. It goes by labels, so it also takes down
// what an interrupted up left.
func Down(ctx context.Context, e Engine, g *Graph, name, id string, log func(string)) (removed int, err error) {
	containers, err := e.Containers(ctx, name)
	if err != nil {
		return 0, err
	}
	networks, err := e.Networks(ctx, name)
	if err != nil {
		return 0, err
	}
	if err := onlyOwn(containers, networks, name, id); err != nil {
		return 0, err
	}
	rank := func(c Container) int { return slices.Index(g.Order, c.Labels[LabelService]) }
	slices.SortStableFunc(containers, func(a, b Container) int { return rank(b) - rank(a) })
	x := &Executor{Engine: e}
	for _, c := range containers {
		log("stopping " + c.Name)
		if err := x.remove(ctx, c.Name); err != nil {
			return removed, fmt.Errorf("remove container %s: %w", c.Name, err)
		}
		removed++
	}
	for _, n := range networks {
		if err := e.RemoveNetwork(ctx, n.Name); err != nil && !errors.Is(err, ErrNotFound) {
			return removed, fmt.Errorf("remove network %s: %w", n.Name, err)
		}
		removed++
	}
	return removed, nil
}

// onlyOwn refuses to go on where a stack of the same name has anything.
func onlyOwn(containers []Container, networks []Network, name, id string) error {
	refuse := func(what, own string) error {
		return &ObstacleError{
			What: fmt.Sprintf("%s belongs to another stack named %s (id %s)", what, name, own),
			Fix:  "take it down with that stack's own configuration",
		}
	}
	for _, c := range containers {
		if own := c.Labels[LabelID]; own != id {
			return refuse("container "+c.Name, own)
		}
	}
	for _, n := range networks {
		if own := n.Labels[LabelID]; own != id {
			return refuse("network "+n.Name, own)
		}
	}
	return nil
}

// Purge deletes everything that the stack with this id keeps on disk: the
// content of its marked volumes, its secrets, its certificates. A volume that
// carries another id, or none, is left alone. Where a volume cannot be purged
// the id is kept, so that it can be tried again. The stack must be down.
func Purge(l Layout, volumes []VolumeWanted, id string) error {
	var errs []error
	for _, v := range volumes {
		if err := purgeVolume(l, v.Name, id); err != nil {
			errs = append(errs, fmt.Errorf("purge volume %s: %w", v.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, name := range []string{"run", "secrets", "ca", "dkim", "stack-id.pending", "stack-id", "migrate-mysql", "migrate.lock", "lock"} {
		if err := os.RemoveAll(filepath.Join(l.Dir, name)); err != nil {
			return fmt.Errorf("purge data directory: %w", err)
		}
	}
	_ = os.Remove(filepath.Join(l.Dir, "socket"))
	_ = os.Remove(l.Dir)
	return nil
}

// purgeVolume deletes what is this stack's in a volume's directory: its content
// if it carries the mark, also one that was not put in its place yet, and
// leftovers of initialisations.
func purgeVolume(l Layout, name, id string) error {
	state := observeVolume(l, name, id)
	if state.Problem != nil {
		return state.Problem
	}
	if _, err := os.Lstat(state.Path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if state.belongsTo(id) || state.Renamed {
		// The mark goes last: an interrupted purge can be repeated.
		for _, n := range []string{contentName(name), migrationDir, MarkName} {
			if err := os.RemoveAll(filepath.Join(state.Path, n)); err != nil {
				return err
			}
		}
	}
	init := volumeInit{layout: l, name: name, id: id}
	if err := init.clean(); err != nil {
		return err
	}
	_ = os.Remove(state.Path) // stays where it holds something else, or is a mount point
	return nil
}
