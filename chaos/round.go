package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Promises.
const (
	greenWithin   = 5 * time.Second  // of the moment when every service serves again
	settledWithin = 90 * time.Second // mail that was deferred meanwhile
)

// patience is how long is waited for what has no promise, or has broken it.
const patience = 2 * time.Minute

// round is one run of a fault or of a pair, and what came of it.
type round struct {
	Number int      `json:"number"`
	Fault  string   `json:"fault"`
	Held   float64  `json:"held_seconds"`
	Serves float64  `json:"serves_seconds"`  // from the fault's end until every service passes its check
	Green  float64  `json:"green_seconds"`   // from there until every protocol works, up to the mailbox
	Settle float64  `json:"settled_seconds"` // from there until the queue is empty
	Seen   []string `json:"refusals"`        // the most frequent
	audit
}

// campaign is a series of rounds, on one stack after the other.
type campaign struct {
	*arena
	auditor  *auditor
	binary   string
	seed     uint64
	within   time.Duration // for green
	progress io.Writer
	rounds   []round
}

// name is what a round is called in the table.
func nameOf(faults []fault) string {
	names := make([]string, len(faults))
	for i, f := range faults {
		names[i] = f.name
	}
	return strings.Join(names, " + ")
}

// run is one round: load, the faults, their end, the proof.
func (c *campaign) run(ctx context.Context, faults []fault) error {
	r := round{Number: len(c.rounds) + 1, Fault: nameOf(faults)}
	c.findings.begin(r.Number, r.Fault)
	fresh := fmt.Sprintf("fresh%s@%s", strings.ToLower(rand.Text()[:8]), c.Hostname)
	if err := c.AddAccount(ctx, fresh, c.password); err != nil {
		return err
	}
	load := c.startLoad(ctx, c.seed, r.Number, fresh)
	pause(ctx, 1500*time.Millisecond)
	began := time.Now()
	err := c.strike(ctx, r.Number, faults)
	r.Held = seconds(time.Since(began))
	if err == nil {
		err = c.recover(ctx, &r, faults)
	}
	if err = errors.Join(err, load.end()); err != nil {
		return fmt.Errorf("round %d, %s: %w", r.Number, r.Fault, err)
	}
	if err := c.prove(ctx, &r, faults); err != nil {
		return fmt.Errorf("round %d, %s: %w", r.Number, r.Fault, err)
	}
	r.Seen = c.findings.refusals(8)
	c.rounds = append(c.rounds, r)
	c.tell(r)
	return nil
}

// strike begins the faults one after the other, holds them, and ends them.
func (c *campaign) strike(ctx context.Context, number int, faults []fault) error {
	rng := source(c.seed, number, 1000)
	var ends []endFunc
	end := func() (err error) {
		for _, one := range ends {
			err = errors.Join(err, one(ctx))
		}
		return err
	}
	for i, f := range faults {
		if i > 0 {
			pause(ctx, time.Duration(rng.IntN(2000))*time.Millisecond)
		}
		s := &scene{arena: c.arena, rng: source(c.seed, number, 1001+i), alone: len(faults) == 1}
		one, err := f.start(ctx, s)
		ends = append(ends, one)
		if err != nil {
			return errors.Join(fmt.Errorf("begin %s: %w", f.name, err), end())
		}
	}
	for _, f := range faults {
		if !f.brief {
			pause(ctx, holdFor(rng))
			break
		}
	}
	return end()
}

// recover waits for the return and times it.
func (c *campaign) recover(ctx context.Context, r *round, faults []fault) error {
	byHand := false
	for _, f := range faults {
		byHand = byHand || f.byHand
	}
	if len(faults) > 1 {
		// An up in the middle may have failed for the other fault.
		if _, err := c.Run(ctx, nil, "up", "--no-probe"); err != nil {
			c.findings.add("up after a pair failed", "%v", err)
		}
	}
	ended := time.Now()
	if err := eventually(ctx, patience, "every service serves", c.serves); err != nil {
		return err
	}
	served := time.Now()
	r.Serves = seconds(served.Sub(ended))
	last, took, err := c.green(ctx, r.Number)
	if r.Green = seconds(took); took > c.within && !byHand {
		c.findings.add("green late", "%s works %.1f s after every service served; load average of the machine %s", last, took.Seconds(), loadAverage())
	}
	return err
}

// loadAverage says how much of a lateness may be the machine's own.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	one, _, _ := strings.Cut(string(data), " ")
	return one
}

// serves asks every service's own check.
func (a *arena) serves(ctx context.Context) error {
	for _, service := range services {
		if _, err := docker(ctx, "exec", a.Container(service), "mailstack-health"); err != nil {
			return err
		}
	}
	return nil
}

// green waits until logins and all ways in work, up to the mailbox, and says
// what came last, with its last failure, and when.
func (c *campaign) green(ctx context.Context, number int) (last string, took time.Duration, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	began := time.Now()
	until := func(what string, ask func(context.Context) error) {
		wg.Go(func() {
			var before error
			late := eventually(ctx, patience, what, func(ctx context.Context) error {
				failed := c.attempt(ctx, 5*time.Second, ask)
				if failed != nil {
					before = failed
				}
				return failed
			})
			mu.Lock()
			defer mu.Unlock()
			last, took, err = fmt.Sprintf("%s (before: %v)", what, before), time.Since(began), errors.Join(err, late)
		})
	}
	for what, login := range c.logins() {
		until(what, func(ctx context.Context) error { return login(ctx, c.plain[0]) })
	}
	for i, listener := range []string{"smtp", "submission", "submissions"} {
		rng, n := source(c.seed, number, 2000+i), 0
		until("mail by "+listener, func(ctx context.Context) error {
			// What was accepted in the first second may still have been deferred
			// behind it: any of them will do.
			n++
			name := fmt.Sprintf("%d-green-%s-", number, listener)
			if err := c.send(ctx, c.letterTo(c.plain[0], listener, rng, number, fmt.Sprint(name, n))); err != nil {
				return err
			}
			return eventually(ctx, time.Second, "new mail is in its mailbox", func(ctx context.Context) error { return c.arrived(ctx, name) })
		})
	}
	wg.Wait()
	return last, took, err
}

// arrived looks for a letter to the first account whose ID begins with name.
func (a *arena) arrived(ctx context.Context, name string) error {
	session, err := a.login(ctx, a.plain[0])
	if err != nil {
		return err
	}
	defer session.Close()
	if _, err := session.Select("INBOX", nil).Wait(); err != nil {
		return err
	}
	found, err := session.UIDSearch(bySubject(subjectPrefix+name), nil).Wait()
	if err == nil && len(found.AllUIDs()) == 0 {
		err = fmt.Errorf("no %s in INBOX", name)
	}
	return err
}

// prove compares mailboxes with the ledger when all is quiet.
func (c *campaign) prove(ctx context.Context, r *round, faults []fault) error {
	if faults[0].power {
		c.auditor.powerCut(r.Number)
	}
	before, err := c.restarts(ctx)
	if err != nil {
		return err
	}
	quiet := time.Now()
	have, err := c.auditor.settle(ctx, settledWithin)
	r.Settle = seconds(time.Since(quiet))
	if err != nil {
		c.findings.add("not settled", "%v", err)
		if have, err = c.insist(ctx); err != nil {
			return err
		}
	}
	if r.audit, err = c.auditor.audit(have, r.Number); err != nil {
		return err
	}
	doubles := false
	for _, f := range faults {
		doubles = doubles || f.doubles
	}
	if r.Doubled > 0 && !doubles {
		c.findings.add("doubled without a kill", "%d messages", r.Doubled)
	}
	after, err := c.restarts(ctx)
	if err == nil && after != before {
		c.findings.add("restarts go on", "before %s, then %s", before, after)
	}
	return err
}

// insist tells late mail from lost mail: what waits in the queue is asked for.
func (c *campaign) insist(ctx context.Context) (inventory, error) {
	// It says that Postfix is down where there is no pickup service, after it has
	// asked for what was deferred.
	_, _ = docker(ctx, "exec", c.Container("postfix"), "postqueue", "-f")
	if have, err := c.auditor.settle(ctx, patience); err == nil {
		return have, nil
	}
	return c.auditor.take(ctx)
}

// restarts are the engine's counts, and since when each container runs.
func (a *arena) restarts(ctx context.Context) (string, error) {
	out, err := docker(ctx, append([]string{"inspect", "--format", "{{.RestartCount}} {{.State.StartedAt}}"}, a.containers(services...)...)...)
	return strings.ReplaceAll(out, "\n", ", "), err
}

// tell shows a round as it ends.
func (c *campaign) tell(r round) {
	fmt.Fprintf(c.progress, "chaos: %3d %-34s %4d acknowledged, %d lost, %d doubled, %d changes, %d undone; held %.1f s, serves after %.1f s, green %.1f s, settled %.1f s\n",
		r.Number, r.Fault, r.Acknowledged, r.Lost, r.Doubled, r.Changes, r.Undone, r.Held, r.Serves, r.Green, r.Settle)
	for _, f := range c.findings.of(r.Number) {
		fmt.Fprintf(c.progress, "chaos:     BROKEN %d x %s: %s\n", f.Count, f.What, f.First)
	}
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
