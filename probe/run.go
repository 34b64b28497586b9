package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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

	t.logins = make(chan struct{}, maxLogins)
	o.Warning, o.Critical = t.limitsByListener(o.Warning), t.limitsByListener(o.Critical)
	checks := selected(&t, o.Only, o.Skip)
	if o.exact {
		checks = slices.DeleteFunc(checks, func(c Check) bool { return !slices.Contains(o.Only, c.Name) })
	}
	runs := startAll(ctx, &t, checks, o)
	ended := make([]outcome, len(checks))
	for i, r := range runs {
		ended[i] = r.wait(ctx, giveUp)
	}
	differing(&t, ended)
	blame(&t, ended)
	results := make([]Result, len(checks))
	for i, e := range ended {
		results[i] = e.result(&t, o)
	}
	results = append(results, notApplicable(&t, o.Only)...)
	return newReport(t.Stack, results, time.Since(began))
}

// headStart is how long other checks wait at most for the wrong passwords to be
// on their way. On an idle host that takes 50 ms.
const headStart = 150 * time.Millisecond

// startAll starts the checks. Those that a server keeps waiting (two seconds
// for a wrong password) are the longest: they get the host to themselves until
// their wait has begun, and all the others fit into it.
func startAll(ctx context.Context, t *Target, checks []Check, o Options) []*running {
	runs := make([]*running, len(checks))
	t.begun = make(chan struct{}, len(checks))
	waiting := 0
	for i, c := range checks {
		if c.first {
			runs[i] = start(ctx, t, c, o)
			waiting++
		}
	}
	enough := time.NewTimer(o.headStart)
	defer enough.Stop()
	for ; waiting > 0; waiting-- {
		select {
		case <-t.begun:
			continue
		case <-enough.C:
		case <-ctx.Done():
		}
		break
	}
	for i, c := range checks {
		if !c.first {
			runs[i] = start(ctx, t, c, o)
		}
	}
	return runs
}

// waitBegun says that a check that goes first has its wait before it, or has
// failed.
func (t *Target) waitBegun() {
	select {
	case t.begun <- struct{}{}:
	default: // nobody counts
	}
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

func start(ctx context.Context, t *Target, c Check, o Options) *running {
	r := &running{name: c.Name, began: time.Now(), trace: newTrace(), done: make(chan finished, 1)}
	if o.Dialogue {
		r.trace.said = newRecorder(t)
	}
	go func() {
		err := c.Run(ctx, t, r.trace)
		r.done <- finished{err, time.Since(r.began)}
	}()
	return r
}

// outcome is how a check ended, not judged yet.
type outcome struct {
	name string
	finished
	cut   bool // it was left behind
	steps []Step
	findings
	dialogue []Conversation
}

// wait returns the outcome of a check when there is one, or when giveUp closes.
func (r *running) wait(ctx context.Context, giveUp <-chan struct{}) outcome {
	o := outcome{name: r.name}
	select {
	case o.finished = <-r.done:
	case <-giveUp:
		select {
		case o.finished = <-r.done: // it made it in time; another was waited for
		default:
			o.cut = true
		}
	}
	o.steps, o.findings, o.dialogue = r.trace.snapshot(), r.trace.found(), r.trace.said.conversations()
	if o.cut {
		o.finished = finished{cutOff(ctx, o.steps), time.Since(r.began)}
	}
	return o
}

// result judges an outcome.
func (e outcome) result(t *Target, o Options) Result {
	values, took, limits := o.judge(e.name, e.took, e.values)
	failed := e.err != nil
	err := errors.Join(e.err, limits)
	if !failed && !took.limited() {
		err = errors.Join(err, slowSteps(e.steps, o))
	}
	r := newResult(e.name, blanked(t, err), e.steps, e.took)
	r.Values, r.Time, r.Notes, r.Dialogue = values, took, e.notes, e.dialogue
	return r
}

// blanked takes the password out of what a server has said: there are servers
// that repeat a command that they do not understand.
func blanked(t *Target, err error) error {
	failures := failuresOf(err)
	all := make([]error, len(failures))
	secrets := blankerOf(t)
	for i, f := range failures {
		g := *f
		if t.Foreign {
			g = *g.foreign()
		}
		g.Detail = secrets.text(f.Detail)
		all[i] = &g
	}
	return errors.Join(all...)
}

// matches says whether pattern names a check or the family it belongs to, or,
// with an asterisk behind it, how its name begins.
func matches(name, pattern string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	pattern = strings.TrimSuffix(pattern, ".")
	return name == pattern || strings.HasPrefix(name, pattern+".")
}

// selects says whether one of the patterns means a check.
func selects(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(name, p) })
}

// selected are the checks of a target that only names, without those that skip
// names; no names in only select all.
func selected(t *Target, only, skip []string) []Check {
	only, skip = t.ByListener(only), t.ByListener(skip)
	return slices.DeleteFunc(Checks(t), func(c Check) bool {
		return len(only) > 0 && !selects(only, c.Name) || selects(skip, c.Name)
	})
}

// ByListener turns cert.993 into cert.imaps.
func (t *Target) ByListener(patterns []string) []string {
	named := slices.Clone(patterns)
	for i, p := range named {
		number, ok := strings.CutPrefix(p, certFamily+".")
		port, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil {
			continue
		}
		for key, at := range t.Ports {
			if at == uint16(port) && port != 0 {
				named[i] = certFamily + "." + key
			}
		}
	}
	return named
}

// limitsByListener turns a limit of cert.993 into one of cert.imaps.
func (t *Target) limitsByListener(limits []Limit) []Limit {
	named := slices.Clone(limits)
	for i := range named {
		named[i].Check = t.ByListener([]string{named[i].Check})[0]
	}
	return named
}

// notApplicable are results for the names that were asked for and select
// nothing at this target: silence would look like success.
func notApplicable(t *Target, only []string) []Result {
	var all []Result
	for _, p := range slices.Compact(slices.Sorted(slices.Values(t.ByListener(only)))) {
		known := slices.ContainsFunc(Checks(t), func(c Check) bool { return matches(c.Name, p) })
		if !known {
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
		case "wrong password", "seen":
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
