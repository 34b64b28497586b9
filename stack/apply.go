package stack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Executor carries out plans. It decides nothing: what is done, in what order
// and why stands in the plan.
type Executor struct {
	Engine   Engine
	Desired  *Desired
	Reporter Reporter
	// ReadyTimeout bounds each wait for a service.
	ReadyTimeout time.Duration
	// BuildLocks is a directory of locks for what all stacks of the host build;
	// empty: none.
	BuildLocks string
	// Now is the clock.
	Now func() time.Time
	// Step, where set, is called before every operation; its error stops the
	// plan there. Tests interrupt plans with it.
	Step func(index int, op Operation) error
}

// OperationError is an operation that failed.
type OperationError struct {
	Op  Operation
	Err error
}

func (e *OperationError) Error() string {
	return fmt.Sprintf("%s %s: %v", e.Op.Action.Verb(), e.Op.Subject, e.Err)
}

func (e *OperationError) Unwrap() error { return e.Err }

// Apply carries out the plan: every operation once those it needs have
// succeeded, independent ones at the same time. After a failure nothing new is
// begun, what is under way ends, and all errors are returned.
func (x *Executor) Apply(ctx context.Context, p *Plan) error {
	run := &planRun{
		x: x, plan: p, done: make([]chan struct{}, len(p.Operations)),
		ok: make([]bool, len(p.Operations)),
	}
	for i := range run.done {
		run.done[i] = make(chan struct{})
	}
	var wg sync.WaitGroup
	for i := range p.Operations {
		wg.Go(func() { run.operation(ctx, i) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		run.errs = append(run.errs, err)
	}
	return errors.Join(run.errs...)
}

// planRun is one application of a plan.
type planRun struct {
	x    *Executor
	plan *Plan
	done []chan struct{} // closed when the operation has ended or was left out
	ok   []bool          // written before done is closed

	mu     sync.Mutex // of the reporter and of what follows
	errs   []error
	failed bool
}

func (r *planRun) operation(ctx context.Context, i int) {
	defer close(r.done[i])
	op := r.plan.Operations[i]
	for _, n := range op.Needs {
		<-r.done[n]
		if !r.ok[n] {
			return
		}
	}
	if !r.begin(ctx, i, op) {
		return
	}
	start := time.Now()
	err := r.x.do(ctx, op.Action, func(line string) {
		r.report(Event{Kind: Output, Index: i, Op: op, Line: line})
	})
	took := time.Since(start)
	if err != nil {
		err = &OperationError{Op: op, Err: err}
		r.report(Event{Kind: Failed, Index: i, Op: op, Took: took, Err: err})
		r.fail(err)
		return
	}
	r.ok[i] = true
	r.report(Event{Kind: Done, Index: i, Op: op, Took: took})
}

// begin says whether the operation may start, and reports that it does.
func (r *planRun) begin(ctx context.Context, i int, op Operation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed || ctx.Err() != nil {
		return false
	}
	if r.x.Step != nil {
		if err := r.x.Step(i, op); err != nil {
			r.failed = true
			r.errs = append(r.errs, err)
			return false
		}
	}
	r.x.Reporter.Report(Event{Kind: Started, Index: i, Op: op})
	return true
}

func (r *planRun) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.errs = append(r.errs, err)
}

func (r *planRun) report(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.x.Reporter.Report(e)
}
