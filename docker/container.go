package docker

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"mailstack/stack"
)

// CreateContainer makes a container and does not start it. A missing image is
// stack.ErrNotFound, a name in use stack.ErrConflict; a bind mount whose source
// is missing is an error here already.
func (e *Engine) CreateContainer(ctx context.Context, spec stack.ContainerSpec) error {
	var err error
	if spec.Network, err = e.networkID(ctx, spec.Network); err != nil {
		return e.fail("create container "+spec.Name, err)
	}
	if _, err := e.client.ContainerCreate(ctx, createOptions(spec)); err != nil {
		return e.fail("create container "+spec.Name, err)
	}
	return nil
}

// StartContainer starts a container; one that runs is left as it is. A port
// that cannot be bound is a *PortError.
func (e *Engine) StartContainer(ctx context.Context, name string) error {
	if _, err := e.client.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return e.fail("start container "+name, e.asPortError(ctx, name, err))
	}
	return nil
}

// StopContainer asks a container to stop and kills it when its grace period is
// over; one that does not run is left as it is.
func (e *Engine) StopContainer(ctx context.Context, name string) error {
	if _, err := e.client.ContainerStop(ctx, name, client.ContainerStopOptions{}); err != nil {
		return e.fail("stop container "+name, err)
	}
	return nil
}

// RestartContainer stops and starts a container. A port that cannot be bound is
// a *PortError.
func (e *Engine) RestartContainer(ctx context.Context, name string) error {
	if _, err := e.client.ContainerRestart(ctx, name, client.ContainerRestartOptions{}); err != nil {
		return e.fail("restart container "+name, e.asPortError(ctx, name, err))
	}
	return nil
}

// removeTimeout bounds the wait for a removal that somebody else began.
const removeTimeout = 30 * time.Second

// RemoveContainer kills the container if it runs, and removes it with its
// anonymous volumes.
func (e *Engine) RemoveContainer(ctx context.Context, name string) error {
	_, err := e.client.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsConflict(err) {
		// A forced removal conflicts only with one that is under way, such as
		// that of a run that was interrupted.
		err = e.awaitRemoval(ctx, name, err)
	}
	if err != nil {
		return e.fail("remove container "+name, err)
	}
	return nil
}

// awaitRemoval returns nil once the container is gone, and conflict if it is
// still there after removeTimeout.
func (e *Engine) awaitRemoval(ctx context.Context, name string, conflict error) error {
	waitCtx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	_, err := e.wait(waitCtx, name, container.WaitConditionRemoved)
	switch {
	case err == nil || errdefs.IsNotFound(err):
		return nil
	case ctx.Err() == nil && waitCtx.Err() != nil:
		return conflict
	default:
		return err
	}
}

// WaitContainer waits until the container does not run, and returns at once for
// one that was never started.
func (e *Engine) WaitContainer(ctx context.Context, name string) (int, error) {
	code, err := e.wait(ctx, name, container.WaitConditionNotRunning)
	if err != nil {
		return 0, e.fail("wait for container "+name, err)
	}
	return code, nil
}

func (e *Engine) wait(ctx context.Context, name string, condition container.WaitCondition) (int, error) {
	waiting := e.client.ContainerWait(ctx, name, client.ContainerWaitOptions{Condition: condition})
	select {
	case result := <-waiting.Result:
		if result.Error != nil && result.Error.Message != "" {
			return 0, errors.New(result.Error.Message)
		}
		return int(result.StatusCode), nil
	case err := <-waiting.Error:
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
