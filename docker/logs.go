package docker

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"mailstack/stack"
)

// Logs copies a container's output to the two writers, either of which may be
// nil. Following ends without an error when ctx ends or the container stops.
func (e *Engine) Logs(ctx context.Context, name string, spec stack.LogSpec, stdout, stderr io.Writer) error {
	options := client.ContainerLogsOptions{
		ShowStdout: stdout != nil,
		ShowStderr: stderr != nil,
		Follow:     spec.Follow,
	}
	if spec.Tail > 0 {
		options.Tail = strconv.Itoa(spec.Tail)
	}
	if !spec.Since.IsZero() {
		options.Since = spec.Since.Format(time.RFC3339Nano)
	}
	err := e.copyLogs(ctx, name, options, orDiscard(stdout), orDiscard(stderr))
	switch {
	case ctx.Err() != nil && spec.Follow:
		return nil
	case ctx.Err() != nil:
		return wrap("read the logs of container "+name, ctx.Err())
	case err != nil:
		return e.fail("read the logs of container "+name, err)
	}
	return nil
}

func (e *Engine) copyLogs(ctx context.Context, name string, options client.ContainerLogsOptions, stdout, stderr io.Writer) error {
	logs, err := e.client.ContainerLogs(ctx, name, options)
	if err != nil {
		return err
	}
	defer logs.Close()
	_, err = stdcopy.StdCopy(stdout, stderr, logs)
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
