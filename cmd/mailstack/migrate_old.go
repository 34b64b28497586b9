package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"mailstack/config"
	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"
	"mailstack/stack"
)

// oldHost is a host to move from, and what was found there.
type oldHost struct {
	host   *remote.Host
	facts  *source.Facts
	list   *source.Listing
	when   time.Time // it was read
	stores *source.Stores
	checks []source.Check
	// everybody are the addresses of all accounts there, also of those that --only
	// leaves out.
	everybody map[string]bool
}

// ready says whether the host can be moved.
func (o *oldHost) ready() bool {
	return !slices.ContainsFunc(o.checks, func(c source.Check) bool { return c.Level == source.Fail })
}

// lookAt finds out what the old host is and who has mail there. What was looked
// at is returned also where it did not come to an end.
func (a *app) lookAt(ctx context.Context, host *remote.Host, cfg *config.Config, f rsyncFlags) (*oldHost, error) {
	old := &oldHost{host: host}
	needs := source.Needs{FreeBytes: -1, Rsync: migrate.CheckRsync(ctx), Chosen: len(f.only) > 0}
	if free, err := stack.FreeBytes(layout(cfg).Volume("vmail")); err == nil {
		needs.FreeBytes = free
	}
	err := old.look(ctx, f, func(ctx context.Context) (source.Dumper, func() error, error) {
		if f.datadir != "" {
			return a.openDatadir(ctx, host, cfg, f.datadir)
		}
		return old.running(ctx)
	})
	if old.stores != nil {
		needs.BroughtBytes = old.brought(layout(cfg).Volume("vmail"))
		// A speed that cannot be measured is no reason not to move.
		if speed, err := source.Speed(ctx, host); err == nil {
			needs.OctetsPerSecond = speed
		}
		if limit := float64(f.kbytes) * 1024; limit > 0 {
			needs.OctetsPerSecond = min(needs.OctetsPerSecond, limit)
		}
	}
	if old.facts != nil {
		old.checks = source.Preflight(old.facts, old.list, old.stores, needs)
	}
	return old, err
}

// brought is how much of the mail needs no room in the volume, by earlier runs. Where
// that cannot be found out, all of it does.
func (o *oldHost) brought(volume string) int64 {
	octets, opened, err := migrate.Brought(volume, o.host.Target())
	if err != nil {
		return 0
	}
	for _, account := range o.list.Accounts {
		if slices.Contains(opened, account.Address) {
			octets += account.Store.Bytes
		}
	}
	return octets
}

// openDatabase finds a way into a database; what it returns beside that gives it up
// again.
type openDatabase func(context.Context) (source.Dumper, func() error, error)

// running is the way into one that runs there.
func (o *oldHost) running(ctx context.Context) (source.Dumper, func() error, error) {
	dumper, err := source.FindDumper(ctx, o.host, o.facts)
	return dumper, func() error { return nil }, err
}

// look is lookAt's.
func (o *oldHost) look(ctx context.Context, f rsyncFlags, open openDatabase) (err error) {
	if o.facts, err = source.Inspect(ctx, o.host, source.Options{Container: f.container}); err != nil {
		return err
	}
	if err := o.read(ctx, f, open); err != nil {
		return err
	}
	o.stores, err = source.Locate(ctx, o.host, o.facts, o.list, source.LocateOptions{Layout: f.layout})
	return err
}

// read reads who has mail there.
func (o *oldHost) read(ctx context.Context, f rsyncFlags, open openDatabase) (err error) {
	o.when = time.Now()
	if o.facts.Files != "" && f.datadir == "" && f.mapFile == "" && f.database == "" {
		o.list, err = source.ReadFiles(ctx, o.host, o.facts, "")
	} else {
		o.list, err = o.fromDatabase(ctx, f, open)
	}
	if err != nil {
		return err
	}
	o.everybody = map[string]bool{}
	for _, a := range o.list.Accounts {
		o.everybody[a.Address] = true
	}
	return f.choose(o.list)
}

func (o *oldHost) fromDatabase(ctx context.Context, f rsyncFlags, open openDatabase) (list *source.Listing, err error) {
	options := source.AccountOptions{Database: f.database}
	if f.mapFile != "" {
		file, err := os.Open(f.mapFile)
		if err != nil {
			return nil, fmt.Errorf("read --map: %w", err)
		}
		defer file.Close()
		if options.Mapping, err = source.ParseMapping(f.mapFile, file); err != nil {
			return nil, usageError(err)
		}
	}
	dumper, done, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	return source.ReadAccounts(ctx, dumper, o.facts, options)
}
