package stack

import (
	"context"
	"errors"
	"fmt"
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
	rank := func(c Container) int { return slices.Index(g.Order, c.Labels[LabelService]) }
	slices.SortStableFunc(containers, func(a, b Container) int { return rank(b) - rank(a) })
	x := &Executor{Engine: e}
	for _, c := range containers {
		if own := c.Labels[LabelID]; own != id {
			return removed, &ObstacleError{
				What: fmt.Sprintf("container %s belongs to another stack named %s (id %s)", c.Name, name, own),
				Fix:  "take it down with that stack's own configuration",
			}
		}
		log("stopping " + c.Name)
		if err := x.remove(ctx, c.Name); err != nil {
			return removed, fmt.Errorf("remove container %s: %w", c.Name, err)
		}
		removed++
	}
	networks, err := e.Networks(ctx, name)
	if err != nil {
		return removed, err
	}
	for _, n := range networks {
		if err := e.RemoveNetwork(ctx, n.Name); err != nil && !errors.Is(err, ErrNotFound) {
			return removed, fmt.Errorf("remove network %s: %w", n.Name, err)
		}
		removed++
	}
	return removed, nil
}

// Purge deletes everything that the stack with this id keeps on disk: the
// content of its marked volumes, its secrets, its certificates. A volume that
// carries another id, or none, is left alone. The stack must be down.
func Purge(l Layout, volumes []VolumeWanted, id string) error {
	for _, v := range volumes {
		state := observeVolume(l, v.Name, id)
		if state.Mark == nil || state.Mark.StackID != id {
			continue
		}
		// The mark goes last: an interrupted purge can be repeated.
		for _, name := range []string{contentName(v.Name), MarkName} {
			if err := os.RemoveAll(filepath.Join(state.Path, name)); err != nil {
				return fmt.Errorf("purge volume %s: %w", v.Name, err)
			}
		}
		init := volumeInit{layout: l, name: v.Name, id: id}
		if err := init.clean(); err != nil {
			return fmt.Errorf("purge volume %s: %w", v.Name, err)
		}
		_ = os.Remove(state.Path) // stays where it holds something else, or is a mount point
	}
	for _, name := range []string{"run", "secrets", "ca", "stack-id.pending", "stack-id", "lock"} {
		if err := os.RemoveAll(filepath.Join(l.Dir, name)); err != nil {
			return fmt.Errorf("purge data directory: %w", err)
		}
	}
	_ = os.Remove(filepath.Join(l.Dir, "socket"))
	_ = os.Remove(l.Dir)
	return nil
}
