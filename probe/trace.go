package probe

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Trace records the steps of one check while it runs.
type Trace struct {
	rec  *record // nil: a trace that labels errors and records no steps
	said *recorder
	addr string
}

// record is the part that all traces of one check share.
type record struct {
	mu    sync.Mutex
	steps []Step
	began []time.Time
	findings
}

// findings are what a check has found out besides what is wrong.
type findings struct {
	values []Value
	notes  []string
	served map[string]string // address -> fingerprint of the certificate
	down   []downed
}

func newTrace() *Trace { return &Trace{rec: new(record)} }

// at is the same trace for one address of several: steps and errors carry it.
func (tr *Trace) at(addr string) *Trace { return &Trace{rec: tr.rec, said: tr.said, addr: addr} }

// quiet is a trace whose steps only name the place of an error.
func (tr *Trace) quiet() *Trace { return &Trace{said: tr.said, addr: tr.addr} }

// measure records a value.
func (tr *Trace) measure(v Value) {
	tr.rec.mu.Lock()
	defer tr.rec.mu.Unlock()
	tr.rec.values = append(tr.rec.values, v)
}

// note records something for people to know, though nothing is wrong with it.
func (tr *Trace) note(text string) {
	tr.rec.mu.Lock()
	defer tr.rec.mu.Unlock()
	tr.rec.notes = append(tr.rec.notes, printable(text))
}

// served records which certificate an address serves.
func (tr *Trace) served(addr, fingerprint string) {
	tr.rec.mu.Lock()
	defer tr.rec.mu.Unlock()
	if tr.rec.findings.served == nil {
		tr.rec.findings.served = make(map[string]string)
	}
	tr.rec.findings.served[addr] = fingerprint
}

// blamed records a container that may be why other checks fail.
func (tr *Trace) blamed(d downed) {
	tr.rec.mu.Lock()
	defer tr.rec.mu.Unlock()
	tr.rec.findings.down = append(tr.rec.findings.down, d)
}

// found is a copy of the findings so far.
func (tr *Trace) found() findings {
	tr.rec.mu.Lock()
	defer tr.rec.mu.Unlock()
	f := tr.rec.findings
	return findings{slices.Clone(f.values), slices.Clone(f.notes), maps.Clone(f.served), slices.Clone(f.down)}
}

// step does f under a name, times it, and returns its error as a Failure that
// knows the step and the address.
func (tr *Trace) step(ctx context.Context, name string, f func() error) error {
	return tr.begin(name)(ctx, f)
}

// begin starts a step and returns what does it. Steps that are done side by
// side are begun one after the other, so that they are always in one order.
func (tr *Trace) begin(name string) func(ctx context.Context, f func() error) error {
	if tr.rec == nil {
		return func(ctx context.Context, f func() error) error { return classify(ctx, tr.addr, name, f()) }
	}
	tr.rec.mu.Lock()
	defer tr.rec.mu.Unlock()
	i := len(tr.rec.steps)
	tr.rec.steps = append(tr.rec.steps, Step{Name: name, Address: tr.addr})
	tr.rec.began = append(tr.rec.began, time.Now())
	return func(ctx context.Context, f func() error) error {
		err := f()
		tr.rec.mu.Lock()
		defer tr.rec.mu.Unlock()
		tr.rec.steps[i].Duration = time.Since(tr.rec.began[i])
		tr.rec.steps[i].Done = true
		return classify(ctx, tr.addr, name, err)
	}
}

// snapshot is the steps so far, those of one address together. Those that still
// run have the time they have taken up to now.
func (tr *Trace) snapshot() []Step {
	tr.rec.mu.Lock()
	defer tr.rec.mu.Unlock()
	steps := make([]Step, len(tr.rec.steps))
	copy(steps, tr.rec.steps)
	for i := range steps {
		if !steps[i].Done {
			steps[i].Duration = time.Since(tr.rec.began[i])
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return strings.Compare(a.Address, b.Address) })
	return steps
}

// cutOff are failures for the steps that were still running when nobody could
// wait for them any longer.
func cutOff(ctx context.Context, steps []Step) error {
	kind := KindTimeout
	if errors.Is(ctx.Err(), context.Canceled) {
		kind = KindInterrupted
	}
	var all []error
	for _, s := range steps {
		if !s.Done {
			all = append(all, &Failure{Kind: kind, Addr: s.Address, Step: s.Name})
		}
	}
	if all == nil {
		return &Failure{Kind: kind}
	}
	return errors.Join(all...)
}
