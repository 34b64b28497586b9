package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/probe"
	"mailstack/stack"
)

// proofRetries is how often the proof of a start tries again what failed:
// services that have just been started answer their first logins slowly.
const proofRetries = 2

// probeFlags are the flags of `mailstack probe`.
type probeFlags struct {
	format   string
	output   string
	only     []string
	skip     []string
	warning  []string
	critical []string
	timeout  time.Duration
	list     bool
	version  bool
	verbose  bool
	debug    bool
	retries  int
	changes  bool
	state    string
	last     bool
	watch    bool
	interval time.Duration
	remote   remoteFlags
	listen   listenFlags

	limits struct{ warning, critical []probe.Limit } // what check has read
}

// newProbeCmd makes `mailstack probe`. Its exit codes are those of monitoring
// plugins: 0 ok, 1 warning, 2 critical, 3 unknown, and 3 for errors of usage.
func newProbeCmd(a *app) *cobra.Command {
	var f probeFlags
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Prove that the server works, by using it",
		Long: "probe logs in on every published port, tries what must be refused, sends one\n" +
			"message by submission and one to port 25, finds both by IMAP and POP3 and\n" +
			"removes them, judges the certificate of every port, and looks at queue, disk,\n" +
			"containers and, from inside its consumers, at every socket.\n\n" +
			"--warning and --critical take a range in the notation of monitoring plugins,\n" +
			"for the times of all checks in seconds (5) or for one check or family (imap=2,\n" +
			"queue=50, disk=20:, cert=25:). What those measure: messages, per cent free,\n" +
			"per cent of the certificate's life left, restarts (containers), seconds (clock).\n" +
			"[probe] in the configuration sets such limits for good.\n\n" +
			"Exit codes: 0 ok, 1 warning, 2 critical, 3 unknown or wrong usage.",
		// Not cobra.NoArgs: its complaint would get the exit code of the other
		// commands, which means critical here.
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return a.probeFailed(f, fmt.Errorf("probe takes no arguments, got %q", args[0]))
			}
			if f.version {
				if f.format == "nagios" { // it says nothing about the service
					a.code = probe.Unknown.ExitCode()
				}
				return a.printVersion()
			}
			return a.probeCommand(cmd.Context(), f)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if a.nagiosAsked() { // perhaps behind what is wrong
			f.format = "nagios"
		}
		return a.probeFailed(f, fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath()))
	})
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		cmd.Parent().HelpFunc()(cmd, args)
		if a.nagiosAsked() { // help says nothing about the service
			a.code = probe.Unknown.ExitCode()
		}
	})
	cmd.Flags().SortFlags = false // what is asked most comes first
	f.add(cmd)
	f.remote.add(cmd)
	f.listen.add(cmd)
	return cmd
}

func (f *probeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.list, "list", false, "list the checks and run none")
	flags.StringSliceVar(&f.only, "only", nil, "run only these `CHECKS` (names or families, separated by commas)")
	flags.StringSliceVar(&f.skip, "skip", nil, "leave these `CHECKS` out")
	flags.StringVar(&f.format, "format", "text", "`FORMAT` of the report: "+strings.Join(probeForms, ", "))
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show the steps of every check with their times")
	flags.BoolVar(&f.debug, "debug", false, "show what was said on every connection, passwords blanked (form text)")
	flags.StringVar(&f.output, "output", "", "write the report to `FILE`, whole or not at all")
	flags.StringSliceVarP(&f.warning, "warning", "w", nil, "`RANGE` or CHECK=RANGE that is a warning")
	flags.StringSliceVarP(&f.critical, "critical", "c", nil, "`RANGE` or CHECK=RANGE that is critical")
	f.timeout = probe.DefaultTimeout
	flags.VarP((*secondsFlag)(&f.timeout), "timeout", "t", "`DURATION` or seconds that the whole run may take")
	flags.IntVar(&f.retries, "retries", 1, "run checks that fail again, up to `N` times within the same --timeout")
	flags.BoolVar(&f.last, "last", false, "show the result that maintenance kept, for those without rights")
	flags.BoolVar(&f.changes, "changes", false, "print only what is another state than at the last run with --changes")
	flags.StringVar(&f.state, "state", "", "`FILE` in which --changes keeps the last result (default below the user's state directory)")
	flags.BoolVar(&f.watch, "watch", false, "show the checks live in a terminal, with how their times were lately")
	flags.DurationVar(&f.interval, "interval", 10*time.Second, "`DURATION` between two runs of --watch")
	flags.BoolVarP(&f.version, "version", "V", false, "print the version")
}

// nagiosAsked says whether the command line asks for the form of monitoring
// plugins.
func (a *app) nagiosAsked() bool {
	i := slices.Index(a.args, "--format")
	return slices.Contains(a.args, "--format=nagios") || i >= 0 && i+1 < len(a.args) && a.args[i+1] == "nagios"
}

// probeForms are the values of --format.
var probeForms = []string{"text", "json", "nagios", "prometheus"}

// probeUnknown gives an error the exit code of a plugin that could not look.
func probeUnknown(err error) error { return &exitError{code: probe.Unknown.ExitCode(), err: err} }

func (a *app) probeCommand(ctx context.Context, f probeFlags) error {
	if err := f.check(); err != nil {
		return a.probeFailed(f, err)
	}
	if f.list {
		return a.listChecks(f.format)
	}
	if f.listen.address != "" {
		if err := a.serveProbe(ctx, f); err != nil {
			return probeUnknown(err)
		}
		return nil
	}
	if f.watch {
		return a.watchProbe(ctx, f)
	}
	report, err := a.probeReport(ctx, f)
	if err != nil {
		return a.probeFailed(f, err)
	}
	write := a.writeReport
	if f.changes {
		if ctx.Err() != nil { // called off: that is no state to compare with
			return probeUnknown(ctx.Err())
		}
		write = a.writeChanges
	}
	if err := write(report, f); err != nil {
		return a.probeFailed(f, fmt.Errorf("write report: %w", err))
	}
	return statusError(report.Status)
}

// probeFailed ends a probe that could not look. Monitoring reads stdout.
func (a *app) probeFailed(f probeFlags, err error) error {
	if f.format != "nagios" {
		return probeUnknown(err)
	}
	if err := probe.NagiosUnknown(a.Stdout, err.Error()); err != nil {
		return probeUnknown(err)
	}
	return statusError(probe.Unknown)
}

// statusError turns a status into the exit code; what is to be said has been.
func statusError(s probe.Status) error {
	if s == probe.OK {
		return nil
	}
	return &exitError{code: s.ExitCode()}
}

// probeReport makes the report that the flags ask for.
func (a *app) probeReport(ctx context.Context, f probeFlags) (probe.Report, error) {
	switch {
	case f.last:
		r, err := inTime(ctx, f.timeout, func() (probe.Report, error) { return a.keptReport(f) })
		if errors.Is(err, errHung) {
			return probe.Stopped("", "last", probe.KindTimeout, "the result that was kept cannot be read", diskHangs), nil
		}
		return r, err
	case f.remote.host != "":
		return a.remoteReport(ctx, f)
	}
	return a.localReport(ctx, f)
}

// prepared is all that a run on the configured stack needs.
type prepared struct {
	t probe.Target
	o probe.Options
}

// localReport probes the configured stack. Whatever hangs, disks included, it
// returns in time.
func (a *app) localReport(ctx context.Context, f probeFlags) (probe.Report, error) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, f.timeout) // the engine is asked with it, when the first check needs it
	defer cancel()
	p, err := inTime(ctx, f.timeout, func() (p prepared, err error) {
		cfg, err := a.config()
		if err != nil {
			return p, err
		}
		p.t, err = a.probeTarget(bounded)
		p.o = withStanding(f.options(), cfg.Probe.Warning, cfg.Probe.Critical)
		return p, err
	})
	if errors.Is(err, errHung) {
		return probe.Stopped("", "preparation", probe.KindTimeout, "the stack's files cannot be read", diskHangs), nil
	}
	if err != nil {
		return probe.Report{}, err
	}
	p.o.Timeout = remaining(f.timeout, began)
	return probe.RunRetrying(ctx, p.t, p.o, f.retries), nil
}

// options are the flags that a run obeys.
func (f probeFlags) options() probe.Options {
	return probe.Options{
		Only: f.only, Skip: f.skip, Timeout: f.timeout, Dialogue: f.debug,
		Warning: f.limits.warning, Critical: f.limits.critical,
	}
}

// check reports everything that is wrong with the flags' values, and reads the
// limits among them.
func (f *probeFlags) check() error {
	var errs []error
	if !slices.Contains(probeForms, f.format) {
		errs = append(errs, fmt.Errorf("--format %q: not one of %s", f.format, strings.Join(probeForms, ", ")))
	}
	if f.timeout < time.Second {
		errs = append(errs, fmt.Errorf("--timeout %s: less than a second proves nothing", f.timeout))
	}
	for _, names := range []struct {
		flag string
		list []string
	}{{"only", f.only}, {"skip", f.skip}} {
		if err := probe.CheckNames(names.list); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", names.flag, err))
		}
	}
	if f.retries < 0 {
		errs = append(errs, fmt.Errorf("--retries %d: less than none", f.retries))
	}
	if f.changes && (f.format != "text" || f.output != "") {
		errs = append(errs, errors.New("--changes: prints text, so it takes neither --format nor --output"))
	}
	if f.state != "" && !f.changes {
		errs = append(errs, errors.New("--state: only with --changes"))
	}
	if f.last && (f.remote.host != "" || f.debug || f.warning != nil || f.critical != nil) {
		errs = append(errs, errors.New("--last: shows what was found before, so it takes neither --target, --debug nor limits"))
	}
	if f.watch && (f.last || f.changes || f.output != "" || f.format != "text" || f.listen.address != "") {
		errs = append(errs, errors.New("--watch: takes none of --last, --changes, --output, --format, --listen"))
	}
	if f.interval < time.Second {
		errs = append(errs, fmt.Errorf("--interval %s: less than a second would be an attack", f.interval))
	}
	for _, err := range []error{f.remote.check(), f.listen.check()} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if f.listen.address != "" && (f.remote.host != "" || f.last || f.changes || f.output != "") {
		errs = append(errs, errors.New("--listen: takes none of --target (use --targets), --last, --changes, --output"))
	}
	for _, given := range []struct {
		flag  string
		texts []string
		into  *[]probe.Limit
	}{{"warning", f.warning, &f.limits.warning}, {"critical", f.critical, &f.limits.critical}} {
		all, err := parseLimits(given.texts)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", given.flag, err))
		}
		*given.into = all
	}
	return errors.Join(errs...)
}

// runProbe proves a stack that has just been started: with more time than
// monitoring gives, again what failed, and without a limit on times.
func (a *app) runProbe(ctx context.Context) (probe.Report, error) {
	return a.proof(ctx, true)
}

// runDailyProbe is runProbe for a stack that has been up for a while.
func (a *app) runDailyProbe(ctx context.Context) (probe.Report, error) {
	return a.proof(ctx, false)
}

func (a *app) proof(ctx context.Context, started bool) (probe.Report, error) {
	cfg, err := a.config()
	if err != nil {
		return probe.Report{}, err
	}
	t, err := a.probeTarget(ctx)
	if err != nil {
		return probe.Report{}, err
	}
	o := withStanding(probe.Options{Timeout: cfg.Probe.Timeout, Untimed: started}, cfg.Probe.Warning, cfg.Probe.Critical)
	if started { // the DNS is no work of the start's: the look outward is for it
		o.Skip = []string{"dns"}
	}
	return probe.RunRetrying(ctx, t, o, proofRetries), nil
}

// printReport shows a report as people read it.
func (a *app) printReport(r probe.Report) error { return a.writeReport(r, probeFlags{format: "text"}) }

// writeReport writes a report to stdout or to the file that was asked for.
func (a *app) writeReport(r probe.Report, f probeFlags) error {
	if f.output == "" {
		return a.formatReport(a.Stdout, r, f)
	}
	var out bytes.Buffer
	if err := a.formatReport(&out, r, f); err != nil {
		return err
	}
	return stack.WriteFile(f.output, out.Bytes(), stack.Owner{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o644})
}

func (a *app) formatReport(w io.Writer, r probe.Report, f probeFlags) error {
	switch f.format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	case "nagios":
		return r.WriteNagios(w)
	case "prometheus":
		ended := r.Taken
		if ended.IsZero() {
			ended = time.Now()
		}
		return probe.Metrics{Report: r, Ended: ended}.WriteText(w)
	}
	return r.WriteText(w, probe.TextOptions{Verbose: f.verbose, Debug: f.debug, Colour: colour(w)})
}

// listedCheck is a line of --list --format json.
type listedCheck struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

func (a *app) listChecks(format string) error {
	checks := probe.Catalogue()
	if format == "json" {
		list := make([]listedCheck, len(checks))
		for i, c := range checks {
			list[i] = listedCheck{c.Name, c.About}
		}
		return a.printJSON(list)
	}
	width := 0
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	for _, c := range checks {
		if _, err := fmt.Fprintf(a.Stdout, "%-*s  %s\n", width, c.Name, c.About); err != nil {
			return err
		}
	}
	return nil
}
