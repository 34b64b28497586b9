package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"mailstack/config"
	"mailstack/stack"
)

// readyTimeout bounds the wait for each service. MariaDB's recovery after a
// crash is the longest of them.
const readyTimeout = 2 * time.Minute

type upOptions struct {
	stack.Options
	noProbe bool
	refresh bool
}

func newUpCmd(a *app) *cobra.Command {
	var opts upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the stack what the configuration says, and prove it",
		Long: "up builds what is missing, starts what is not running, replaces what has changed,\n" +
			"and then logs in, sends and receives like a user to prove it. Run it as often as\n" +
			"you like: it changes only what differs, and never deletes data.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.up(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.noProbe, "no-probe", false, "do not prove the result")
	cmd.Flags().BoolVar(&opts.refresh, "refresh", false, "build the images again, with the packages of today")
	cmd.Flags().StringSliceVar(&opts.InitVolumes, "init-volume", nil,
		"make volume `NAME` anew although the stack has been up before; refused where it holds anything")
	return cmd
}

func (a *app) up(ctx context.Context, opts upOptions) error {
	t, err := a.open(ctx)
	if err != nil {
		return err
	}
	unlock, err := stack.Lock(t.set.Layout, "up", time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	if opts.refresh {
		if err := a.refresh(ctx, t); err != nil {
			return err
		}
	}
	start := time.Now()
	changed, err := a.converge(ctx, t, opts.Options)
	if err != nil {
		return err
	}
	if !changed {
		fmt.Fprintln(a.Stdout, "nothing to do")
	} else {
		fmt.Fprintf(a.Stdout, "%s is up (%s)\n", t.cfg.Name, seconds(time.Since(start)))
	}
	a.tellOfCertificate(t.cfg)
	if _, err := a.maintainAccounts(ctx); err != nil {
		return err
	}
	if opts.noProbe {
		return a.showFirstAccount(t)
	}
	return a.prove(ctx, t)
}

// converge plans and applies; changed says whether there was anything to do.
func (a *app) converge(ctx context.Context, t *target, opts stack.Options) (changed bool, err error) {
	p, err := a.plan(ctx, t, opts)
	if err != nil || p.plan.Empty() {
		return false, err
	}
	if t.cfg.Path == "" || t.cfg.Demonstration() {
		fmt.Fprintf(a.Stderr, "demonstration stack %q in %s; `mailstack init` writes the file for a real one\n", t.cfg.Name, t.set.Layout.Dir)
	}
	fmt.Fprint(a.Stderr, p.plan)
	reporter, end := progress(a.Stderr, len(p.plan.Operations))
	x := &stack.Executor{
		Engine: t.engine, Desired: p.desired, Reporter: reporter, ReadyTimeout: readyTimeout, Now: time.Now,
		BuildLocks: "/run/mailstack/.build",
	}
	err = x.Apply(ctx, p.plan)
	end()
	return true, a.settleCertificate(ctx, t, err)
}

// prove runs the probe and tells how to use the result.
func (a *app) prove(ctx context.Context, t *target) error {
	report, err := a.runProbe(ctx)
	if err != nil {
		return err
	}
	if ctx.Err() != nil { // checks that were cut off say nothing about the stack
		return ctx.Err()
	}
	if err := a.printReport(report); err != nil {
		return err
	}
	if err := a.showFirstAccount(t); err != nil {
		return err
	}
	a.showClientSettings(t.cfg)
	a.offerUnits(t.cfg)
	local := report.Status.ExitCode() < 2
	a.showOutlook(ctx, t.cfg, local)
	if !local {
		return &exitError{code: exitFailed, err: fmt.Errorf("prove stack: the probe failed, see the lines marked ✗ above")}
	}
	return nil
}

// offerUnits says how the stack gets its daily maintenance and its start at
// boot, where nothing does that yet.
func (a *app) offerUnits(cfg *config.Config) {
	if cfg.Path == "" || cfg.Demonstration() {
		return
	}
	unit := filepath.Join("/etc/systemd/system", "mailstack-"+cfg.Name+"-maintain.timer")
	if _, err := os.Stat(unit); err == nil {
		return
	}
	what := "daily maintenance: `mailstack systemd --cron` prints a line for cron"
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		what = "daily maintenance and the start at boot: `mailstack systemd --install` sets up both"
	}
	fmt.Fprintf(a.Stdout, "\nStill to do: %s\n", what)
}

// showFirstAccount shows the generated password of the first account, once.
func (a *app) showFirstAccount(t *target) error {
	first := firstAccount{cfg: t.cfg}
	password, err := first.password()
	if err != nil || password == "" {
		return err
	}
	_, err = fmt.Fprintf(a.Stdout, "\nFirst account: %s\n     password: %s   (shown only now; change it with `mailstack account passwd %s`)\n",
		t.cfg.Postmaster, password, t.cfg.Postmaster)
	if err != nil {
		return err
	}
	return first.shown()
}

// refresh rebuilds every image without cache.
func (a *app) refresh(ctx context.Context, t *target) error {
	if err := stack.CheckImageRoom(t.info); err != nil {
		return err
	}
	id, err := stack.ReadIdentity(t.set.Layout, secretNames(t.graph), time.Now())
	if err != nil {
		return err
	}
	d, err := stack.NewDesired(t.graph, t.set, id, nil)
	if err != nil {
		return err
	}
	changes, err := stack.Refresh(ctx, t.engine, d, func(line string) { fmt.Fprintln(a.Stderr, line) })
	for _, c := range changes {
		fmt.Fprintln(a.Stdout, c)
	}
	return err
}
