// Command bench measures what mailstack promises to be quick at, beside the
// programs that people would use instead, on a stack that it makes for itself
// on loopback ports and removes again. It prints and never judges: times
// depend on the machine.
//
//	go run ./bench -binary bin/mailstack                 every suite
//	go run ./bench -binary bin/mailstack -suite probe -rounds 9 -json probe.json
//
// The runs of a suite are interleaved, round by round, so that what else the
// machine does falls on all of them; a first round is not counted. What is shown
// is the median with the smallest and the largest value.
//
// A suite is an entry in the table suites and a function that returns series.
// Needs root and a Docker Engine, as mailstack does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// suite is a group of series that are compared with each other.
type suite struct {
	name  string
	about string
	run   func(ctx context.Context, s *stack, rounds int) ([]series, error)
}

// suites are all there are, in the order in which they are run.
var suites = []suite{
	{"probe", "one look at the mail server by each monitoring program", probeSuite},
	{"migrate", "the first copy of an old server by ssh", migrateSuite},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are what the flags say.
type options struct {
	binary string
	only   []string
	rounds int
	json   string
}

// run is main without the process: 0 done, 1 failed, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	if err := measure(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var names []string
	for _, s := range suites {
		names = append(names, s.name)
	}
	all := strings.Join(names, ",")
	flags.StringVar(&o.binary, "binary", "bin/mailstack", "`FILE` of the program that is measured")
	only := flags.String("suite", all, "run only these `SUITES`, separated by commas")
	flags.IntVar(&o.rounds, "rounds", 5, "measure every run `N` times")
	flags.StringVar(&o.json, "json", "", "also write the result to `FILE`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var errs []error
	if flags.NArg() > 0 {
		errs = append(errs, fmt.Errorf("no arguments are taken, got %q", flags.Args()))
	}
	if o.rounds < 1 {
		errs = append(errs, fmt.Errorf("-rounds %d: less than one", o.rounds))
	}
	o.only = strings.Split(*only, ",")
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			errs = append(errs, fmt.Errorf("-suite %q: not one of %s", name, all))
		}
	}
	return o, errors.Join(errs...)
}

// measure runs the suites on one stack.
func measure(ctx context.Context, o options, stdout, progress io.Writer) (err error) {
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("this needs root, as mailstack does")
	}
	s, err := newStack(ctx, binary, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove(progress)) }()
	result := newResult(s.version)
	for _, suite := range suites {
		if !slices.Contains(o.only, suite.name) {
			continue
		}
		fmt.Fprintf(progress, "bench: %s, %d rounds\n", suite.name, o.rounds)
		all, err := suite.run(ctx, s, o.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", suite.name, err)
		}
		result.add(suite, o.rounds, all)
	}
	if err := result.writeText(stdout); err != nil {
		return err
	}
	if o.json == "" {
		return nil
	}
	return result.writeFile(o.json)
}
