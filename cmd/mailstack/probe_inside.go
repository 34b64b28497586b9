package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"mailstack/probe"
	"mailstack/stack"
)

// all are the stack's containers, asked for once for all checks that ask at the
// same time.
func (f *facts) all(ctx context.Context) ([]stack.Container, error) {
	all, err, _ := f.looks.Do("containers", func() (any, error) {
		e, err := f.engine()
		if err != nil {
			return nil, err
		}
		return e.Containers(ctx, f.cfg.Name)
	})
	if err != nil {
		return nil, err
	}
	return all.([]stack.Container), nil
}

// inside opens a service's container for looks from this host. What cannot be
// seen that way is left to a command in there, whose error is then the one to
// report.
func (f *facts) inside(ctx context.Context, service string) (*stack.Inside, error) {
	all, err := f.all(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Name == f.container(service) {
			return stack.LookInto(c)
		}
	}
	return nil, fmt.Errorf("container %s: %w", f.container(service), stack.ErrNotFound)
}

// look looks at a socket from inside its consumer's container, with one look for
// all checks that ask at the same time.
func (f *facts) look(edge stack.Edge) func(context.Context) (probe.SocketView, error) {
	return func(ctx context.Context) (probe.SocketView, error) {
		views, err, _ := f.looks.Do(edge.Consumer, func() (any, error) { return f.lookFrom(ctx, edge.Consumer) })
		if err != nil {
			return probe.SocketView{}, err
		}
		view, ok := views.(map[string]probe.SocketView)[edge.Path()]
		if !ok {
			return view, fmt.Errorf("%s in %s says nothing of %s", stack.SocketsCmd, f.container(edge.Consumer), edge.Path())
		}
		return view, nil
	}
}

// lookFrom looks at every socket that a service uses.
func (f *facts) lookFrom(ctx context.Context, consumer string) (map[string]probe.SocketView, error) {
	var paths []string
	for _, edge := range f.graph.Edges() {
		if edge.Consumer == consumer {
			paths = append(paths, edge.Path())
		}
	}
	views := make(map[string]probe.SocketView)
	if seen, err := f.socketsInside(ctx, consumer, paths); err == nil {
		for _, v := range seen {
			views[v.Socket] = probe.SocketView(v)
		}
		return views, nil
	}
	out, err := f.exec(ctx, consumer, append([]string{stack.SocketsCmd}, paths...)...)
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var view probe.SocketView
		if err := d.Decode(&view); err != nil {
			return nil, fmt.Errorf("%s in %s: %q", stack.SocketsCmd, f.container(consumer), out)
		}
		views[view.Socket] = view
	}
	return views, nil
}

func (f *facts) socketsInside(ctx context.Context, consumer string, paths []string) ([]stack.SocketView, error) {
	i, err := f.inside(ctx, consumer)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	return i.Sockets(paths)
}

// entries are the messages in Postfix's queue.
func (f *facts) entries(ctx context.Context) ([]stack.Queued, error) {
	if all, err := f.entriesInside(ctx); err == nil || ctx.Err() != nil {
		return all, err
	}
	e, err := f.engine()
	if err != nil {
		return nil, err
	}
	return stack.Queue(ctx, e, f.container("postfix"))
}

func (f *facts) entriesInside(ctx context.Context) ([]stack.Queued, error) {
	i, err := f.inside(ctx, "postfix")
	if err != nil {
		return nil, err
	}
	defer i.Close()
	return i.Queue(ctx)
}
