package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"mailstack/config"
	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"
	"mailstack/stack"
)

// datadirDumper reads a copy of a stopped server's data directory.
type datadirDumper struct{ data *stack.OldData }

// Dump is for package source.
func (d datadirDumper) Dump(ctx context.Context, r source.Request) (io.ReadCloser, error) {
	return d.data.Query(ctx, source.ClientArgs(), strings.NewReader(r.Statements())), nil
}

// openDatadir copies the data directory of a stopped database server and opens
// the copy. done throws both away.
func (a *app) openDatadir(ctx context.Context, host *remote.Host, cfg *config.Config, path string) (_ source.Dumper, done func() error, err error) {
	dir, err := source.InspectDatadir(ctx, host, path)
	if err != nil {
		return nil, nil, err
	}
	l := layout(cfg)
	if free, err := stack.FreeBytes(l.Dir); err == nil && dir.Bytes > free {
		return nil, nil, hinted(fmt.Errorf("copy %s from %s: it has %s, and %s are free in %s",
			dir.Path, host.Target(), bytesText(dir.Bytes), bytesText(free), l.Dir), "make room there: the copy is removed again")
	}
	t, err := a.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	id, err := stack.ReadIdentity(l, secretNames(t.graph), time.Now())
	if err != nil {
		return nil, nil, err
	}
	if !id.Initialised {
		return nil, nil, hinted(fmt.Errorf("open %s: stack %s, whose MariaDB does that, has never been up", dir.Path, cfg.Name), "mailstack up")
	}
	desired, err := stack.NewDesired(t.graph, t.set, id, nil)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := stack.LockMigration(l, time.Now())
	if err != nil {
		return nil, nil, err
	}
	data, err := stack.NewOldData(ctx, t.engine, l, cfg.Name, id.ID)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	done = func() error {
		defer unlock()
		return data.Close(ctx)
	}
	fmt.Fprintf(a.Stderr, "copying %s from %s (%s), to read the accounts in it; the copy is removed again\n", dir.Path, host.Target(), bytesText(dir.Bytes))
	err = migrate.CopyDir(ctx, migrate.Over(host), dir.Path, data.Dir(), stack.UIDMySQL, source.BinaryLogs...)
	if err == nil {
		err = startDatadir(ctx, data, desired.Image("mysql").Ref, dir)
	}
	if err == nil {
		// Who has started it meanwhile has spoilt the copy.
		_, err = source.InspectDatadir(ctx, host, path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return datadirDumper{data}, done, nil
}

func startDatadir(ctx context.Context, data *stack.OldData, image string, dir source.Datadir) error {
	err := data.Start(ctx, image)
	var ended *stack.EndedError
	switch {
	case errors.As(err, &ended):
		return dir.Unread(ended.Said)
	case errors.Is(err, stack.ErrNotFound):
		return hinted(fmt.Errorf("open the copy of %s: %w", dir.Path, err), "mailstack up")
	case err != nil:
		return fmt.Errorf("open the copy of %s: %w", dir.Path, err)
	}
	return nil
}

// clearDatadir removes what a run left that was killed while it read a copy. The
// lock of migrations is taken.
func (a *app) clearDatadir(ctx context.Context, cfg *config.Config) error {
	id, err := stack.ReadID(layout(cfg))
	if err != nil {
		return err
	}
	return stack.RemoveOldData(ctx, a.engine, layout(cfg), cfg.Name, id)
}
