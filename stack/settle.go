package stack

import (
	"context"
	"errors"
	"time"
)

// settle tries until the engine has finished what it was asked before. It does
// so also when the asking process was killed: a name may be taken by what has
// come into being since the look, or is about to and cannot be seen yet.
// try returns done when there is nothing more to wait for; err is then the
// result, and else what is said when time runs out.
func settle(ctx context.Context, try func() (done bool, err error)) error {
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := try()
		if done {
			return err
		}
		select {
		case <-limited.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// createNetwork makes a bridge, or finds that a killed up has made it.
func (x *Executor) createNetwork(ctx context.Context, spec NetworkSpec) error {
	return settle(ctx, func() (bool, error) {
		err := x.Engine.CreateNetwork(ctx, spec)
		if !errors.Is(err, ErrConflict) {
			return true, err
		}
		switch n, look := x.Engine.Network(ctx, spec.Name); {
		case look != nil: // not to be seen yet, or two for a moment
			return false, err
		case n.Labels[LabelID] == x.Desired.ID:
			return true, nil
		}
		return true, err
	})
}

// create makes and starts a container. One whose start failed is removed
// again: the engine would not retry it, and the next up must see the truth.
func (x *Executor) create(ctx context.Context, spec ContainerSpec) error {
	err := x.createOnly(ctx, spec)
	if err != nil {
		return err
	}
	err = x.Engine.StartContainer(ctx, spec.Name)
	if err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, x.Engine.RemoveContainer(cleanup, spec.Name))
	}
	return err
}

// createTimeout bounds the making of a container, which takes less than a second.
const createTimeout = time.Minute

// createOnly makes a container. One of this stack's that has its name was made
// for a killed up, and goes.
//
// An interrupt waits for the engine's answer: it would make the container all the
// same, and too late for whoever cleans up.
func (x *Executor) createOnly(ctx context.Context, spec ContainerSpec) error {
	return settle(ctx, func() (bool, error) {
		if err := ctx.Err(); err != nil {
			return true, err
		}
		asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
		defer cancel()
		err := x.Engine.CreateContainer(asked, spec)
		if !errors.Is(err, ErrConflict) {
			return true, err
		}
		switch c, look := x.Engine.Container(ctx, spec.Name); {
		case errors.Is(look, ErrNotFound):
			return false, err
		case look != nil:
			return true, look
		case spec.Labels[LabelID] == "" || c.Labels[LabelID] != spec.Labels[LabelID]:
			return true, err
		}
		if err := x.remove(ctx, spec.Name); err != nil {
			return true, err
		}
		return false, err
	})
}
