package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/probe"
)

// proofTimeout bounds the probe that ends `up`: services that have just been
// started answer their first logins slowly, and nobody's monitoring waits.
const proofTimeout = 30 * time.Second

// probeFlags are the flags of `mailstack probe`.
type probeFlags struct {
	format  string
	only    []string
	skip    []string
	timeout time.Duration
	list    bool
	verbose bool
	debug   bool
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
			"removes them, and looks at every socket from inside its consumers.\n\n" +
			"Exit codes: 0 ok, 1 warning, 2 critical, 3 unknown or wrong usage.",
		// Not cobra.NoArgs: its complaint would get the exit code of the other
		// commands, which means critical here.
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return probeUnknown(fmt.Errorf("probe takes no arguments, got %q", args[0]))
			}
			return a.probeCommand(cmd.Context(), f)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return probeUnknown(fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath()))
	})
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", "text", "`FORM` of the report: "+strings.Join(probeForms, ", "))
	flags.StringSliceVar(&f.only, "only", nil, "run only these `CHECKS` (names or families, separated by commas)")
	flags.StringSliceVar(&f.skip, "skip", nil, "leave these `CHECKS` out")
	flags.DurationVar(&f.timeout, "timeout", probe.DefaultTimeout, "`TIME` that the whole run may take")
	flags.BoolVar(&f.list, "list", false, "list the checks and run none")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show the steps of every check with their times")
	flags.BoolVar(&f.debug, "debug", false, "show what was said on every connection, passwords blanked (form text)")
	return cmd
}

// probeForms are the values of --format.
var probeForms = []string{"text", "json"}

// probeUnknown gives an error the exit code of a plugin that could not look.
func probeUnknown(err error) error { return &exitError{code: probe.Unknown.ExitCode(), err: err} }

func (a *app) probeCommand(ctx context.Context, f probeFlags) error {
	if err := f.check(); err != nil {
		return probeUnknown(err)
	}
	if f.list {
		return a.listChecks(f.format)
	}
	report, err := a.probeWith(ctx, f.options())
	if err != nil {
		return probeUnknown(err)
	}
	if err := a.writeReport(report, f); err != nil {
		return probeUnknown(fmt.Errorf("write report: %w", err))
	}
	if code := report.Status.ExitCode(); code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// options are the flags that a run obeys.
func (f probeFlags) options() probe.Options {
	return probe.Options{Only: f.only, Skip: f.skip, Timeout: f.timeout, Dialogue: f.debug}
}

// check reports everything that is wrong with the flags' values.
func (f probeFlags) check() error {
	var errs []error
	if f.format != "text" && f.format != "json" {
		errs = append(errs, fmt.Errorf("--format %q: not one of %s", f.format, strings.Join(probeForms, ", ")))
	}
	if f.timeout < time.Second {
		errs = append(errs, fmt.Errorf("--timeout %s: less than a second proves nothing", f.timeout))
	}
	if err := probe.CheckNames(f.only); err != nil {
		errs = append(errs, fmt.Errorf("--only: %w", err))
	}
	if err := probe.CheckNames(f.skip); err != nil {
		errs = append(errs, fmt.Errorf("--skip: %w", err))
	}
	return errors.Join(errs...)
}

// runProbe proves a stack that has just been brought up.
func (a *app) runProbe(ctx context.Context) (probe.Report, error) {
	return a.probeWith(ctx, probe.Options{Timeout: proofTimeout})
}

func (a *app) probeWith(ctx context.Context, o probe.Options) (probe.Report, error) {
	t, err := a.probeTarget(ctx)
	if err != nil {
		return probe.Report{}, err
	}
	return probe.Run(ctx, t, o), nil
}

// printReport shows a report as people read it.
func (a *app) printReport(r probe.Report) error { return a.writeReport(r, probeFlags{format: "text"}) }

func (a *app) writeReport(r probe.Report, f probeFlags) error {
	if f.format == "json" {
		return a.printJSON(r)
	}
	return r.WriteText(a.Stdout, probe.TextOptions{Verbose: f.verbose, Debug: f.debug, Colour: colour(a.Stdout)})
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
