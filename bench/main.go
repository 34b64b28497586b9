// Command bench measures what mailstack promises to be quick at, beside the
// programs that people would use instead, on a stack that it makes for itself
// on loopback ports and removes again. It prints and never judges: times
// depend on the machine.
//
//	go run ./bench -binary bin/mailstack                 every suite
//	go run ./bench -binary bin/mailstack -only probe,mail -rounds 9 -json some.json
//	go run ./bench -binary bin/mailstack -quick          whether it works; the numbers are worth little
//
// Most of it is held against "bare": Dovecot and Postfix from the same images,
// with the same certificate and password hash and on the same file system,
// configured by hand for speed, with their users in files (bench/bare). That is
// the limit: mailstack is the same daemons with more to do.
//
// The runs of a suite are interleaved, round by round, so that what else the
// machine does falls on all of them; a first round is not counted. What is shown
// is the median with the smallest and the largest value, and the ratio to the
// first of each figure: the median of the rounds' ratios.
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
	"time"

	"mailstack/e2e/lab"
)

// suite is a group of series that are compared with each other.
type suite struct {
	name  string
	about string
	run   func(ctx context.Context, s *stack, e effort) ([]series, error)
}

// suites are all there are, in the order in which they are run.
var suites = []suite{
	{"logins", "IMAP and POP3 logins a second, 8 connections, a new one for each login", loginsSuite},
	{"mail", "messages of 5 KB a second until the last is in its mailbox, 8 senders", mailSuite},
	{"latency", "what somebody waits for, one at a time", latencySuite},
	{"password", "an IMAP login, connection and TLS included", passwordSuite},
	{"accounts", "the same work with ever more accounts, uncached", growSuite},
	{"up", "a run that finds nothing to do", upSuite},
	{"first", "from nothing to a server, images there", firstSuite},
	{"memory", "of all containers together", memorySuite},
	{"filter", "a stack that looks at the content of mail, beside one that does not", filterSuite},
	{"images", "unpacked", imagesSuite},
	{"binary", "the program itself", startSuite},
	{"probe", "one look at the mail server by each monitoring program", probeSuite},
	{"migrate", "the first copy of an old server by ssh", migrateSuite},
}

// effort is how much is done.
type effort struct {
	rounds int
	quick  bool
}

// pick is an amount, or its quick form.
func (e effort) pick(full, quick int) int {
	if e.quick {
		return quick
	}
	return full
}

// span is pick for a time.
func (e effort) span(full, quick time.Duration) time.Duration {
	if e.quick {
		return quick
	}
	return full
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
	effort effort

	json, markdown string
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
	only := flags.String("only", all, "run only these `SUITES`, separated by commas")
	flags.IntVar(&o.effort.rounds, "rounds", 5, "measure every run `N` times")
	flags.BoolVar(&o.effort.quick, "quick", false, "small amounts, to see that all of it works; one round unless -rounds says more")
	flags.StringVar(&o.json, "json", "", "also write the result to `FILE`")
	flags.StringVar(&o.markdown, "markdown", "", "also write the result as a page of tables to `FILE`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	rounds := false
	flags.Visit(func(f *flag.Flag) { rounds = rounds || f.Name == "rounds" })
	if o.effort.quick && !rounds {
		o.effort.rounds = 1
	}
	var errs []error
	if flags.NArg() > 0 {
		errs = append(errs, fmt.Errorf("no arguments are taken, got %q", flags.Args()))
	}
	if o.effort.rounds < 1 {
		errs = append(errs, fmt.Errorf("-rounds %d: less than one", o.effort.rounds))
	}
	o.only = strings.Split(*only, ",")
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			errs = append(errs, fmt.Errorf("-only %q: not one of %s", name, all))
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
	defer func() { err = errors.Join(err, s.remove()) }()
	result := newResult(s.Version)
	var failed error // what went well is shown all the same
	for _, suite := range suites {
		if !slices.Contains(o.only, suite.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(progress, "bench: %s, %d rounds\n", suite.name, o.effort.rounds)
		began := time.Now()
		all, err := suite.run(ctx, s, o.effort)
		if err != nil {
			fmt.Fprintf(progress, "bench: %s: %v\n", suite.name, err)
			failed = errors.Join(failed, fmt.Errorf("%s: %w", suite.name, err))
			continue
		}
		fmt.Fprintf(progress, "bench: %s took %v\n", suite.name, time.Since(began).Round(time.Second))
		result.add(suite, o.effort.rounds, all)
	}
	return errors.Join(failed, ctx.Err(), o.write(result, stdout))
}

// write shows the result and writes what the flags name.
func (o options) write(result *result, stdout io.Writer) error {
	if err := result.writeText(stdout); err != nil {
		return err
	}
	if o.markdown != "" {
		if err := result.writeMarkdown(o.markdown); err != nil {
			return err
		}
	}
	if o.json == "" {
		return nil
	}
	return lab.WriteFile(o.json, result)
}
