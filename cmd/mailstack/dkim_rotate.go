package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/accounts"
	"mailstack/dkim"
	"mailstack/stack"
)

func newDKIMRotateCmd(a *app) *cobra.Command {
	var o rotateOptions
	var server string
	cmd := &cobra.Command{
		Use:   "rotate [DOMAIN...]",
		Short: "Let new keys take the place of those that domains sign with",
		Long: "rotate does the next step for the domains, or for all, that can be done now, and\n" +
			"says what is to be done in the DNS meanwhile:\n\n" +
			"  1. It makes new keys and prints their records. The old ones go on signing.\n" +
			"  2. When every name server of the domain has the records, the new keys sign.\n" +
			"  3. After " + fmt.Sprint(int(dkim.Overlap.Hours()/24)) + " days, when no mail that the old keys have signed is on its way any\n" +
			"     more, it says which records are to be removed.\n\n" +
			"Run it again for the next step, or leave that to `mailstack maintain`. With\n" +
			"--wait it stays until the new keys sign. While a rotation is under way none\n" +
			"begins, except with --again: for keys that somebody else may have got.\n\n" +
			"Exit codes: 0 done as far as it can be now, 1 failed, or not seen within --wait.",
		Example: "  mailstack dkim rotate\n  mailstack dkim rotate example.org --wait 1h",
		RunE: func(cmd *cobra.Command, args []string) error {
			domains, err := parseDomains(args)
			if err == nil && o.wait < 0 {
				err = fmt.Errorf("--wait %s: less than nothing", o.wait)
			}
			if err == nil {
				o.server, err = nameServer(server)
			}
			if err != nil {
				return usageError(err)
			}
			return a.rotate(cmd.Context(), o, domains)
		},
	}
	cmd.Flags().DurationVar(&o.wait, "wait", 0, "stay up to `DURATION`, until every name server has the records and the new keys sign")
	cmd.Flags().BoolVar(&o.again, "again", false, "begin another rotation although the last one's keys are still retiring")
	cmd.Flags().StringVar(&server, "server", "", "ask `ADDRESS[:PORT]` alone: where the name servers of the domain cannot be found from here")
	return cmd
}

// parseDomains takes the names of domains and reports all that are none.
func parseDomains(args []string) (domains []string, err error) {
	var problems []error
	for _, arg := range args {
		domain, err := accounts.ParseDomain(arg)
		problems = append(problems, err)
		domains = append(domains, domain)
	}
	return domains, errors.Join(problems...)
}

type rotateOptions struct {
	wait   time.Duration
	again  bool
	server string // host:port; "": those in charge
}

// rotateLook is how often the name servers are asked while somebody waits.
const rotateLook = 5 * time.Second

// rotate takes the domains' keys as far as they can go now, and with a time to wait
// until the next ones sign. Each step is on disk before it takes effect, so it may
// be killed at any moment and run again.
func (a *app) rotate(ctx context.Context, o rotateOptions, domains []string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	g, err := graph(cfg)
	if err != nil {
		return err
	}
	if len(signers(g)) == 0 {
		return hinted(errors.New("rotate keys: nothing signs mail here"), "set `enabled = true` in [filter], then `mailstack up`")
	}
	if err := beenUp(cfg, "rotate keys"); err != nil {
		return err
	}
	t, err := a.open(ctx)
	if err != nil {
		return err
	}
	if domains, err = a.rotated(ctx, domains); err != nil {
		return err
	}
	if err := a.beginRotation(ctx, t, domains, o.again); err != nil {
		return err
	}
	return a.awaitRotation(ctx, t, o, domains)
}

// awaitRotation takes the keys on until none waits any more, or there is no time to
// wait left, and says what there is to do meanwhile.
func (a *app) awaitRotation(ctx context.Context, t *target, o rotateOptions, domains []string) error {
	asker := asker(t.cfg, o.server)
	deadline := time.Now().Add(o.wait)
	tick := time.NewTicker(rotateLook)
	defer tick.Stop()
	for told := ""; ; {
		keys, sights, err := a.advanceAll(ctx, t, domains, asker)
		var locked *stack.LockedError
		if err != nil && (o.wait == 0 || !errors.As(err, &locked)) {
			return err
		}
		waiting := slices.DeleteFunc(slices.Clone(keys), func(d dkim.Domain) bool { return !d.Has(dkim.Next) })
		over := len(waiting) == 0 || !time.Now().Before(deadline)
		if text := rotationText(keys, sights); text != told && (told == "" || over) {
			fmt.Fprint(a.Stdout, text)
			told = text
		}
		switch {
		case len(waiting) == 0:
			return nil
		case over && o.wait == 0:
			fmt.Fprintln(a.Stderr, "publish the new records; then run this again, or leave the rest to `mailstack maintain`")
			return nil
		case over:
			return hinted(fmt.Errorf("rotate keys of %s: not every name server has the new records after %s; the present keys go on signing", names(waiting), o.wait),
				"run it again when they are published, or leave the rest to `mailstack maintain`")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func names(domains []dkim.Domain) string {
	var all []string
	for _, d := range domains {
		all = append(all, d.Name)
	}
	return strings.Join(all, ", ")
}

// rotated are the domains that are meant: those named, or all.
func (a *app) rotated(ctx context.Context, domains []string) ([]string, error) {
	hosted, err := a.hostedDomains(ctx)
	if err != nil || len(domains) == 0 {
		return hosted, err
	}
	var problems []error
	for _, domain := range domains {
		if !slices.Contains(hosted, domain) {
			problems = append(problems, fmt.Errorf("rotate keys of %s: there is no such domain here", domain))
		}
	}
	return domains, errors.Join(problems...)
}

// beginRotation makes next keys where none are under way.
func (a *app) beginRotation(ctx context.Context, t *target, domains []string, again bool) error {
	unlock, err := stack.Lock(t.set.Layout, "dkim rotate", time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := a.settleSigning(ctx, t); err != nil {
		return err
	}
	keys, err := haveKeys(t.set.Layout, domains)
	if err != nil {
		return err
	}
	for _, d := range keys {
		if d.Has(dkim.Next) || d.Has(dkim.Retiring) && !again {
			continue
		}
		if err := d.Begin(time.Now()); err != nil {
			return err
		}
		if err := writeKeys(t.set.Layout, d); err != nil {
			return err
		}
	}
	return nil
}
