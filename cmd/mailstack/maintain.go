package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/probe"
	"mailstack/stack"
)

// maintenance is what the last maintenance run found. It holds no secret and is
// kept where everybody may read it.
type maintenance struct {
	Schema  int                 `json:"schema"`
	Stack   string              `json:"stack"`
	When    time.Time           `json:"when"`
	Problem []string            `json:"problems"`
	Updates map[string][]string `json:"updates"` // by service: packages with security updates
	Probe   json.RawMessage     `json:"probe,omitempty"`
}

// maintenancePath is below /run: a result must not outlive a reboot.
func maintenancePath(cfg *config.Config) string {
	return filepath.Join("/run/mailstack", cfg.Name, "maintenance.json")
}

func newMaintainCmd(a *app) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "maintain",
		Short: "Do what a good administrator does daily: certificates, updates, a probe",
		Long: "maintain renews and installs the certificate when it is due, moves rotations of\n" +
			"signing keys on, finishes what a changed account left open, looks for updates of\n" +
			"the images' packages, runs the probe and keeps its result. Run it daily; it is\n" +
			"cheap and safe to repeat.\n" +
			"`mailstack systemd` prints a timer for it.\n\n" +
			"With --watch it stays in the foreground and sees to certificates alone: at once\n" +
			"when one of the configured files changes, and whenever one is due.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchCertificates(cmd.Context())
			}
			return a.maintain(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "stay, and take changed certificates at once")
	return cmd
}

func (a *app) maintain(ctx context.Context) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	if err := beenUp(cfg, "maintain stack"); err != nil {
		return err
	}
	t, err := a.open(ctx)
	if err != nil {
		return err
	}
	unlock, err := stack.Lock(t.set.Layout, "maintain", time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	m := &maintenance{Schema: 1, Stack: t.cfg.Name, When: time.Now().UTC(), Problem: []string{}, Updates: map[string][]string{}}
	step := func(what string, do func() (string, error)) {
		said, err := do()
		if err != nil {
			m.Problem = append(m.Problem, what+": "+err.Error())
			said = "✗ " + err.Error()
		}
		fmt.Fprintf(a.Stdout, "%-12s %s\n", what, said)
	}
	step("certificate", func() (string, error) { return a.maintainCertificate(ctx, t) })
	if len(signers(t.graph)) > 0 {
		step("signing", func() (string, error) { return a.maintainSigning(ctx, t) })
	}
	step("accounts", func() (string, error) { return a.maintainAccounts(ctx) })
	if said, err := a.maintainMigration(ctx, t.cfg); said != "" || err != nil {
		step("migration", func() (string, error) { return said, err })
	}
	step("updates", func() (string, error) { return maintainUpdates(ctx, t, m) })
	var report probe.Report
	step("probe", func() (string, error) {
		if report, err = a.runDailyProbe(ctx); err != nil {
			return "", err
		}
		m.Probe, err = report.MarshalJSON()
		return report.Status.String(), err
	})
	if err := saveMaintenance(t.cfg, m); err != nil {
		return err
	}
	if len(m.Problem) > 0 || report.Status.ExitCode() >= 2 {
		return fmt.Errorf("maintain stack %s: %d of its steps failed or the probe is red, see above", t.cfg.Name, max(1, len(m.Problem)))
	}
	return nil
}

const nothingToDo = "valid, nothing to do"

// maintainCertificate does what the plan would about the certificate and
// nothing else: maintenance replaces no container. Nor does it have a service
// reload for nothing, however often an authority gives no certificate: a login
// that is under way meanwhile may fail.
func (a *app) maintainCertificate(ctx context.Context, t *target) (string, error) {
	a.adviseRenewal(ctx, t.cfg)
	d, o, err := a.snapshot(ctx, t)
	if err != nil {
		return "", err
	}
	said, cause := nothingToDo, o.TasksDue[certificateTaskName]
	if cause != "" {
		if err := a.renewDue(ctx, certStore(t.cfg), func(string) {}); err != nil {
			return "", err
		}
		if waits, err := certificateWaits(t); err != nil {
			return "", err
		} else if !waits {
			said, cause = "done: "+cause, ""
		}
	}
	for _, service := range tlsServices(t.graph) {
		if o.ReloadDue[service] {
			cause = cmp.Or(cause, service+" has not taken it yet")
		}
	}
	if cause == "" {
		cause = a.notServed(ctx, t.cfg)
	}
	if cause != "" {
		served, err := a.applyTask(ctx, t, d, o, cause)
		if err != nil {
			return "", err
		}
		said = "renewed and installed: " + cause
		if !served {
			said = "renewed, and served when the services run: " + cause
		}
	}
	return said, a.certificateTrouble(t.cfg)
}

// certificateWaits says whether services have another certificate than they
// should, or may have.
func certificateWaits(t *target) (bool, error) {
	store := certStore(t.cfg)
	if store.Pending() {
		return true, nil
	}
	lacking, err := notInstalled(layout(t.cfg), store, tlsServices(t.graph))
	return lacking != "", err
}

// certificateTrouble is what a person must mend before the certificate can be
// renewed.
func (a *app) certificateTrouble(cfg *config.Config) error {
	if a.renewal != nil {
		return a.renewal
	}
	state, err := certStore(cfg).Inspect(time.Now())
	return cmp.Or(err, state.Refused())
}

// installCertificates renews the certificate if it is due, gives it to the
// services, and lets those that run serve it. served says that all do.
func (a *app) installCertificates(ctx context.Context, t *target) (served bool, err error) {
	d, o, err := a.snapshot(ctx, t)
	if err != nil {
		return false, err
	}
	return a.applyTask(ctx, t, d, o, "asked for")
}

func (a *app) applyTask(ctx context.Context, t *target, d *stack.Desired, o *stack.Observed, cause string) (served bool, err error) {
	x := &stack.Executor{Engine: t.engine, Desired: d, Reporter: silent{}, ReadyTimeout: readyTimeout, Now: time.Now}
	applied := x.Apply(ctx, stack.TaskPlan(d, o, certificateTaskName, cause))
	if applied != nil && !certStore(t.cfg).Pending() {
		return false, applied // nothing that could be put back
	}
	served, err = a.proveCertificate(ctx, t)
	return served, errors.Join(applied, err)
}

// silent reports nothing: the caller says how it ended.
type silent struct{}

// Report implements stack.Reporter.
func (silent) Report(stack.Event) {}

// maintainAccounts finishes what earlier commands could not.
func (a *app) maintainAccounts(ctx context.Context) (string, error) {
	db, done, err := a.database(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	sessions, err := a.sessions(ctx)
	if err != nil {
		return "", err
	}
	ended, err := db.FinishPending(ctx, sessions)
	if err != nil {
		return "", err
	}
	if ended == 0 {
		return "nothing pending", nil
	}
	return fmt.Sprintf("ended the sessions of %d changed accounts", ended), nil
}

// maintainMigration gives the room back that a migration has left which was killed
// at its very end. While one runs it does nothing, and says nothing.
func (a *app) maintainMigration(ctx context.Context, cfg *config.Config) (string, error) {
	unlock, err := stack.LockMigration(layout(cfg), time.Now())
	if err != nil {
		return "", nil
	}
	defer unlock()
	db, done, err := a.database(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	freed, err := a.tidyMigration(ctx, cfg, db)
	if err != nil || !freed {
		return "", err
	}
	return "removed what a migration had left that has ended", nil
}

// maintainUpdates looks for newer packages than the images have.
func maintainUpdates(ctx context.Context, t *target, m *maintenance) (string, error) {
	id, err := stack.ReadIdentity(t.set.Layout, secretNames(t.graph), time.Now())
	if err != nil {
		return "", err
	}
	d, err := stack.NewDesired(t.graph, t.set, id, nil)
	if err != nil {
		return "", err
	}
	updates, err := stack.Updates(ctx, t.engine, d)
	if err != nil {
		return "", err
	}
	count := 0
	for service, list := range updates {
		m.Updates[service] = list
		count += len(list)
	}
	if count == 0 {
		return "the images' packages are current", nil
	}
	return fmt.Sprintf("%d packages have updates: mailstack up --refresh", count), nil
}

func saveMaintenance(cfg *config.Config, m *maintenance) error {
	path := maintenancePath(cfg)
	dir := filepath.Dir(path)
	// Everybody may read it, also where root's umask is 077.
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := errors.Join(os.MkdirAll(d, 0o755), os.Chmod(d, 0o755)); err != nil {
			return fmt.Errorf("keep maintenance result: %w", err)
		}
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("keep maintenance result: %w", err)
	}
	return stack.WriteFile(path, append(data, '\n'), stack.Owner{Mode: 0o644})
}

// lastMaintenance reads the last result; nil where there is none.
func lastMaintenance(cfg *config.Config) (*maintenance, error) {
	data, err := os.ReadFile(maintenancePath(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read maintenance result: %w", err)
	}
	var m maintenance
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read maintenance result %s: %w", maintenancePath(cfg), err)
	}
	return &m, nil
}

func removeMaintenance(cfg *config.Config) error {
	return os.RemoveAll(filepath.Dir(maintenancePath(cfg)))
}

var _ accounts.Sessions = (*dovecotSessions)(nil)
