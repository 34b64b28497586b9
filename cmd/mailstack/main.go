// Command mailstack takes a Linux host with Docker to a working, proven mail
// server and keeps proving it.
//
// main wires signals, streams and the exit code; everything else happens in
// run, which tests call too.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"mailstack/migrate/remote"
)

// version is set by the linker: -ldflags "-X main.version=…".
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes of every command but probe, which follows the Nagios plugins.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitPending     = 4 // plan --exit-code: there is something to do
	exitInterrupted = 130
)

// exitError carries an exit code through cobra. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError marks an error of the command line or of the configuration.
func usageError(err error) error { return &exitError{code: exitUsage, err: err} }

// onlyOne is wrong usage if more than one of these flags was given.
func onlyOne(cmd *cobra.Command, flags ...string) error {
	var given []string
	for _, flag := range flags {
		if cmd.Flags().Changed(flag) {
			given = append(given, "--"+flag)
		}
	}
	if len(given) < 2 {
		return nil
	}
	return usageError(fmt.Errorf("%s exclude each other", strings.Join(given, " and ")))
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{Stdin: stdin, Stdout: stdout, Stderr: stderr, args: args}
	defer a.close()
	root := newRootCmd(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return a.code
	}
	return reportError(ctx, cmd, stderr, err)
}

// reportError prints err with its hint, where there is one, and says which
// exit code it means.
func reportError(ctx context.Context, cmd *cobra.Command, stderr io.Writer, err error) int {
	code := exitFailed
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "mailstack: interrupted; what was done stays, run the command again to go on")
		return exitInterrupted
	}
	for line := range strings.Lines(strings.TrimRight(err.Error(), "\n")) {
		// Much of it may be what another host said.
		fmt.Fprintln(stderr, "mailstack: "+remote.Visible(strings.TrimRight(line, "\n")))
	}
	printHint(stderr, err)
	if code == exitUsage && cmd != nil && !cmd.HasParent() {
		fmt.Fprintln(stderr, "  hint: mailstack --help lists the commands")
	}
	return code
}

// printHint prints what an error advises, where it does.
func printHint(w io.Writer, err error) {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintln(w, "  hint: "+hinted.Hint())
	}
}

// newRootCmd assembles the command line.
func newRootCmd(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "mailstack",
		Short: "A proven mail server out of containers that talk over Unix sockets",
		Long: "mailstack builds and starts MariaDB, Dovecot, Postfix and Rspamd containers, which talk\n" +
			"over Unix sockets, makes TLS certificates, and proves the result by logging in.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.NoArgs,
		DisableAutoGenTag: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath()))
	})
	root.PersistentFlags().StringVar(&a.configPath, "config", "",
		"configuration `FILE` (default ./mailstack.toml, then /etc/mailstack/mailstack.toml)")
	cobra.EnableCommandSorting = false // in the order of commands()
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	root.AddCommand(a.commands()...)
	markUsageErrors(root)
	return root
}

// markUsageErrors makes cobra's complaints about arguments usage errors (exit
// code 2): cobra has a hook for flags, but none for arguments.
func markUsageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError(fmt.Errorf("%w (see %s --help)", err, c.CommandPath()))
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		markUsageErrors(sub)
	}
}
