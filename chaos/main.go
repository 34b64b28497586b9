// Command chaos breaks a mail server under load and counts its mail. It makes a
// stack of its own on loopback, with small disks of its own, and removes it
// again. Clients send and read mail all the while; whatever the server has
// acknowledged is in a ledger on the disk before it is counted. Faults come alone
// and then in pairs; after each, every acknowledged message must be in exactly the
// mailboxes it belongs to, with every IMAP change that got its OK.
//
//	go run ./chaos -binary bin/mailstack                            each fault, then pairs, for 30 minutes
//	go run ./chaos -binary bin/mailstack -short                     the few of the short form
//	go run ./chaos -binary bin/mailstack -orders                    starts in every order
//	go run ./chaos -binary bin/mailstack -only kill-mysql -runs 5
//	go run ./chaos -binary bin/mailstack -only freeze-mysql+kill-dovecot -seed 7 -round 57
//
// The same seed gives the same faults, pauses and letters, in a round with the same
// number; the server's timing is its own. The exit status is 1 when anything promised was broken. Needs
// root, a Docker Engine and mkfs.ext4.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mailstack/e2e/lab"
)

// shortForm is what goes into the tests: each daemon dies once, the database
// hangs, a disk is full, an up is killed, two things happen at a time, the power
// fails, and the engine dies.
const shortForm = "power-cut,engine-kill,kill-mysql,stop-dovecot,crash-postfix,kill-filter,crash-valkey,full-vmail,up-killed,hang-mysql+kill-dovecot"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are what the flags say.
type options struct {
	binary   string
	seed     uint64
	first    int       // number of the first round
	only     [][]fault // empty for all alone, then pairs
	duration time.Duration
	runs     int
	json     string
	logs     string
	green    time.Duration
}

// errBroken is a campaign that was run to its end and has findings.
var errBroken = errors.New("what is promised was broken")

// run is main without the process: 0 nothing broken, 1 failed, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "chaos:", err)
		return 2
	}
	if err := fire(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.binary, "binary", "bin/mailstack", "`FILE` of the program that makes the stack")
	flags.Uint64Var(&o.seed, "seed", 0, "choose by `N`; 0 is a new one each time")
	flags.IntVar(&o.first, "round", 1, "number of the first round: with its number and the seed a round is as it was")
	only := flags.String("only", "", "run only these `FAULTS`, separated by commas; a + makes a pair")
	short := flags.Bool("short", false, "run only "+shortForm)
	orders := flags.Bool("orders", false, "run only starts in every order")
	list := flags.Bool("list", false, "show all faults and run none")
	flags.DurationVar(&o.duration, "duration", 30*time.Minute, "begin no round after `TIME`; the stack's start does not count")
	flags.IntVar(&o.runs, "runs", 1, "run each fault `N` times alone")
	flags.StringVar(&o.json, "json", "", "also write the result to `FILE`")
	flags.StringVar(&o.logs, "logs", "", "keep the services' logs of broken rounds in `DIRECTORY`")
	flags.DurationVar(&o.green, "green", greenWithin, "call it broken when not all works `TIME` after a fault's end")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *list {
		for _, f := range faults() {
			fmt.Fprintf(stderr, "%-18s %s\n", f.name, f.about)
		}
		return o, flag.ErrHelp
	}
	var errs []error
	if flags.NArg() > 0 {
		errs = append(errs, fmt.Errorf("no arguments are taken, got %q", flags.Args()))
	}
	if o.first < 1 {
		errs = append(errs, fmt.Errorf("-round %d: less than one", o.first))
	}
	if o.runs < 1 {
		errs = append(errs, fmt.Errorf("-runs %d: less than one", o.runs))
	}
	if *short && *only == "" {
		*only = shortForm
	}
	if *orders && *only == "" {
		for _, f := range everyOrder() {
			*only += f.name + ","
		}
	}
	if o.only, err = chosen(*only); err != nil {
		errs = append(errs, err)
	}
	for o.seed == 0 {
		o.seed = uint64(rand.Uint32())
	}
	return o, errors.Join(errs...)
}

// chosen reads "kill-mysql,freeze-mysql+kill-dovecot".
func chosen(only string) (sets [][]fault, err error) {
	all := append(faults(), everyOrder()...)
	var errs []error
	for _, names := range strings.FieldsFunc(only, func(r rune) bool { return r == ',' }) {
		var set []fault
		for _, name := range strings.Split(names, "+") {
			i := slices.IndexFunc(all, func(f fault) bool { return f.name == strings.TrimSpace(name) })
			if i < 0 {
				errs = append(errs, fmt.Errorf("-only %q: no such fault, -list shows all", name))
				continue
			}
			set = append(set, all[i])
		}
		sets = append(sets, set)
	}
	return sets, errors.Join(errs...)
}

// fire makes the stack, runs the campaign, and writes what came of it, also
// where it was interrupted.
func fire(ctx context.Context, o options, stdout, progress io.Writer) (err error) {
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("this needs root, as mailstack does")
	}
	fmt.Fprintf(progress, "chaos: seed %d\n", o.seed)
	c := &campaign{arena: &arena{findings: newFindings()}, binary: binary, seed: o.seed, first: o.first, within: o.green, logs: o.logs, progress: progress}
	took, failed := c.runAll(ctx, o)
	result := c.summarise(took)
	if err := result.writeText(stdout); err != nil {
		return err
	}
	if o.json != "" {
		if err := lab.WriteFile(o.json, result); err != nil {
			return err
		}
	}
	if failed == nil && len(result.Findings) > 0 {
		failed = errBroken
	}
	return failed
}

// powerCuts is how often the power fails in a campaign: it is about instants, and has
// no pairs.
const powerCuts = 5

// turns are what was chosen, or every fault alone and then pairs at random. The
// rounds of a ground are together: it is a stack of its own. Those of the one
// without end come last, and of the others as many pairs as faults.
func (o options) turns() (turns [][]fault) {
	sets := o.only
	if len(sets) == 0 {
		for _, f := range faults() {
			sets = append(sets, []fault{f})
		}
	}
	for range o.runs {
		turns = append(turns, sets...)
	}
	if len(o.only) == 0 {
		for _, f := range faults() {
			for range powerCuts - 1 {
				if f.on == oneDisk {
					turns = append(turns, []fault{f})
				}
			}
		}
		more := pairs(faults())
		source(o.seed, 0, 0).Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
		left := map[ground]int{disks: len(more)}
		for _, turn := range turns {
			left[groundOf(turn)]++
		}
		for _, pair := range more {
			if on := groundOf(pair); left[on] > 0 {
				left[on]--
				turns = append(turns, pair)
			}
		}
	}
	order := []ground{oneDisk, ownEngine, disks}
	slices.SortStableFunc(turns, func(a, b []fault) int {
		return slices.Index(order, groundOf(a)) - slices.Index(order, groundOf(b))
	})
	return turns
}

// runAll runs rounds until the time is up, and says how long they took.
func (c *campaign) runAll(ctx context.Context, o options) (took time.Duration, err error) {
	for turns := o.turns(); len(turns) > 0; {
		on := groundOf(turns[0])
		n := slices.IndexFunc(turns, func(turn []fault) bool { return groundOf(turn) != on })
		if n < 0 {
			n = len(turns)
		}
		began, err := c.runOn(ctx, on, turns[:n], o.duration-took)
		if !began.IsZero() {
			took += time.Since(began)
		}
		if err != nil || took >= o.duration {
			return took, err
		}
		turns = turns[n:]
	}
	return took, nil
}

// runOn runs rounds on a stack of their own, up since began.
func (c *campaign) runOn(ctx context.Context, on ground, turns [][]fault, within time.Duration) (began time.Time, err error) {
	c.findings.begin(c.next(), "up")
	a, err := newArena(ctx, c.binary, on, c.findings, c.progress)
	if err != nil {
		return began, err
	}
	defer func() { err = errors.Join(err, a.remove()) }()
	c.arena, c.auditor = a, newAuditor(a)
	began = time.Now()
	for _, turn := range turns {
		if ctx.Err() != nil || time.Since(began) > within {
			return began, ctx.Err()
		}
		if err := c.run(ctx, turn); err != nil {
			return began, err
		}
	}
	return began, nil
}
