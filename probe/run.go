package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Run runs the checks that apply to the target, all at once, and reports them
// in the order of Checks. It returns no later than o.Timeout after it was
// called, and within a twentieth of that after ctx ends: a check that does not
// come back is left behind and reported as timed out, with the step that it
// hangs in.
func Run(ctx context.Context, t Target, o Options) Report {
	o = o.withDefaults()
	began := time.Now()
	// The checks get a little less than there is, so that each can still say
	// for itself what it waited for.
	grace := o.Timeout / 20
	ctx, cancel := context.WithDeadline(ctx, began.Add(o.Timeout-grace))
	defer cancel()
	giveUp := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { close(giveUp) }) })

	checks := selected(Checks(&t), o.Only)
	runs := make([]*running, len(checks))
	// Those that a server keeps waiting go first: they are the longest.
	for _, first := range []bool{true, false} {
		for i, c := range checks {
			if c.first == first {
				runs[i] = start(ctx, &t, c)
			}
		}
	}
	results := make([]Result, len(checks))
	for i, r := range runs {
		results[i] = r.wait(ctx, giveUp, o)
	}
	results = append(results, notApplicable(checks, o.Only)...)
	return newReport(t.Stack, results, time.Since(began))
}

// running is a check under way.
type running struct {
	name  string
	began time.Time
	trace *Trace
	done  chan finished
}

type finished struct {
	err  error
	took time.Duration
}

func start(ctx context.Context, t *Target, c Check) *running {
	r := &running{name: c.Name, began: time.Now(), trace: newTrace(), done: make(chan finished, 1)}
	go func() {
		err := c.Run(ctx, t, r.trace)
		r.done <- finished{err, time.Since(r.began)}
	}()
	return r
}

// wait returns the result of a check when there is one, or when giveUp closes.
func (r *running) wait(ctx context.Context, giveUp <-chan struct{}, o Options) Result {
	var f finished
	select {
	case f = <-r.done:
	case <-giveUp:
		select {
		case f = <-r.done: // it made it in time; another was waited for
		default:
			steps := r.trace.snapshot()
			return newResult(r.name, cutOff(ctx, steps), steps, time.Since(r.began))
		}
	}
	steps := r.trace.snapshot()
	if f.err == nil {
		f.err = slowSteps(steps, o)
	}
	return newResult(r.name, f.err, steps, f.took)
}

// matches says whether pattern names a check or the family it belongs to.
func matches(name, pattern string) bool {
	pattern = strings.TrimSuffix(strings.TrimSuffix(pattern, "*"), ".")
	return name == pattern || strings.HasPrefix(name, pattern+".")
}

// selected are the checks that only names; no names select all.
func selected(checks []Check, only []string) []Check {
	if len(only) == 0 {
		return checks
	}
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool {
		return !slices.ContainsFunc(only, func(p string) bool { return matches(c.Name, p) })
	})
}

// notApplicable are results for the names that were asked for and select
// nothing at this target: silence would look like success.
func notApplicable(checks []Check, only []string) []Result {
	var all []Result
	for _, p := range only {
		if !slices.ContainsFunc(checks, func(c Check) bool { return matches(c.Name, p) }) {
			f := &Failure{Kind: KindNotRun, Detail: "it does not apply: its listener is off or nothing is known to look at"}
			all = append(all, newResult(p, f, nil, 0))
		}
	}
	return all
}

// slowSteps are warnings for the steps that took longer than they may. How long
// a server takes to refuse a password is its own choice.
func slowSteps(steps []Step, o Options) error {
	var all []error
	for _, s := range steps {
		kind, limit := KindSlow, o.Slow
		switch s.Name {
		case "wrong password":
			continue
		case "imap", "pop3":
			kind, limit = KindLate, o.Late
		}
		if s.Done && s.Duration > limit {
			all = append(all, &Failure{
				Kind: kind, Addr: s.Address, Step: s.Name,
				Detail: fmt.Sprintf("took %.1f s", s.Duration.Seconds()),
			})
		}
	}
	return errors.Join(all...)
}
