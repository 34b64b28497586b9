package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"mailstack/e2e/lab"
)

// Promises.
const (
	greenWithin   = 5 * time.Second  // from the fault's end, on a machine where it takes calmWithin without a fault
	settledWithin = 90 * time.Second // mail that was deferred meanwhile
)

// calmWithin is what it takes under load on two processors of their own, with
// room. Where they are shared, all takes longer, and so may the return.
const calmWithin = time.Second

// patience is how long is waited for what has no promise, or has broken it.
const patience = 2 * time.Minute

// round is one run of a fault or of a pair, and what came of it.
type round struct {
	Number int      `json:"number"`
	Fault  string   `json:"fault"`
	Calm   float64  `json:"calm_seconds"` // what green takes without a fault
	Held   float64  `json:"held_seconds"`
	Serves float64  `json:"serves_seconds"`  // from the fault's end until every service passes its check
	Green  float64  `json:"green_seconds"`   // from there until every protocol works, up to the mailbox
	Settle float64  `json:"settled_seconds"` // and from there until the queue is empty
	Seen   []string `json:"refusals"`        // the most frequent
	Notes  []string `json:"notes,omitempty"`
	audit
}

// campaign is a series of rounds, on one stack after the other.
type campaign struct {
	*arena
	auditor  *auditor
	binary   string
	seed     uint64
	logs     string // directory for logs of broken rounds; "" for none
	progress io.Writer
	first    int           // number of the first round
	within   time.Duration // greenWithin, or more where times are worth little
	rounds   []round
}

// next is the number of the next round.
func (c *campaign) next() int { return c.first + len(c.rounds) }

// pairSign is between the names of two faults.
const pairSign = " + "

// nameOf is what a round is called in the table.
func nameOf(faults []fault) string {
	names := make([]string, len(faults))
	for i, f := range faults {
		names[i] = f.name
	}
	return strings.Join(names, pairSign)
}

// run is one round: load, the faults, their end, the proof.
func (c *campaign) run(ctx context.Context, faults []fault) error {
	r := round{Number: c.next(), Fault: nameOf(faults)}
	c.findings.begin(r.Number, r.Fault)
	failed := c.runTo(ctx, &r, faults)
	if failed != nil {
		failed = fmt.Errorf("round %d, %s: %w", r.Number, r.Fault, failed)
		if ctx.Err() == nil {
			c.findings.add("not finished", "%v", failed)
		}
	}
	r.Seen, r.Notes = c.findings.refusals(8), c.findings.noted()
	c.rounds = append(c.rounds, r)
	c.tell(r)
	return errors.Join(failed, c.keepLogs(context.WithoutCancel(ctx), r.Number))
}

// runTo runs a round as far as it gets.
func (c *campaign) runTo(ctx context.Context, r *round, faults []fault) error {
	fresh := fmt.Sprintf("fresh%s@%s", strings.ToLower(rand.Text()[:8]), c.Hostname)
	if err := c.AddAccount(ctx, fresh, c.password); err != nil {
		return err
	}
	load := c.startLoad(ctx, c.seed, r.Number, fresh)
	lab.Pause(ctx, 1500*time.Millisecond)
	_, calm, err := c.green(ctx, r.Number, "calm")
	r.Calm = seconds(calm)
	began := time.Now()
	if err == nil {
		err = c.strike(ctx, r, faults)
	}
	r.Held = seconds(time.Since(began))
	var back state
	if err == nil {
		back, err = c.recover(ctx, r, faults)
	}
	if err = errors.Join(err, load.end()); err != nil {
		return err
	}
	return c.prove(ctx, r, faults, back)
}

// keepLogs keeps what the services have logged where something was broken.
func (c *campaign) keepLogs(ctx context.Context, number int) error {
	if len(c.findings.of(number)) == 0 || c.logs == "" {
		return nil
	}
	logged, err := c.Run(ctx, nil, "logs", "-n", "5000")
	if err != nil {
		return err
	}
	file := filepath.Join(c.logs, fmt.Sprintf("round-%d.log", number))
	fmt.Fprintf(c.progress, "chaos:     the services' logs are in %s\n", file)
	return errors.Join(os.MkdirAll(c.logs, 0o700), os.WriteFile(file, []byte(logged), 0o600))
}

// strike begins the faults one after the other, holds them, and ends them.
func (c *campaign) strike(ctx context.Context, r *round, faults []fault) error {
	rng := source(c.seed, r.Number, 1000)
	var ends []endFunc
	end := func() (err error) {
		for _, one := range ends {
			err = errors.Join(err, one(ctx))
		}
		return err
	}
	for i, f := range faults {
		if i > 0 {
			lab.Pause(ctx, time.Duration(rng.IntN(2000))*time.Millisecond)
		}
		s := &scene{arena: c.arena, rng: source(c.seed, r.Number, 1001+i), alone: len(faults) == 1}
		s.works = func(ctx context.Context, name string) error {
			_, err := c.works(ctx, r, name, time.Now(), false)
			return err
		}
		one, err := f.start(ctx, s)
		ends = append(ends, one)
		if err != nil {
			return errors.Join(fmt.Errorf("begin %s: %w", f.name, err), end())
		}
	}
	for _, f := range faults {
		if !f.brief {
			lab.Pause(ctx, holdFor(rng))
			break
		}
	}
	return end()
}

// state is how the services were when all of them served again.
type state struct {
	since  time.Time
	starts string
}

// recover waits for the return and times it.
func (c *campaign) recover(ctx context.Context, r *round, faults []fault) (back state, err error) {
	byHand := false
	for _, f := range faults {
		byHand = byHand || f.byHand
	}
	ended := time.Now()
	if len(faults) > 1 {
		// An up in the middle may have failed for the other fault.
		if _, err := c.Run(ctx, nil, "up", "--no-probe"); err != nil {
			c.findings.add("up after a pair failed", "%v", err)
		}
	}
	if back.since, err = c.works(ctx, r, "green", ended, byHand); err == nil {
		back.starts, err = c.starts(ctx)
	}
	return back, err
}

// works waits until every service serves and all ways in work, and judges how long
// that takes from the fault's end. Letters of the round bear the name, see green.
func (c *campaign) works(ctx context.Context, r *round, name string, ended time.Time, byHand bool) (since time.Time, err error) {
	if err := lab.Eventually(ctx, patience, "every service serves", c.serves); err != nil {
		return since, err
	}
	since = time.Now()
	r.Serves = max(r.Serves, seconds(since.Sub(ended)))
	last, took, err := c.green(ctx, r.Number, name)
	r.Green = max(r.Green, seconds(took))
	took += since.Sub(ended)
	if err == nil && took > c.within && !byHand {
		// What the machine has left may have changed since the round began.
		var calm time.Duration
		_, calm, err = c.green(ctx, r.Number, name+"-again")
		r.Calm = max(r.Calm, seconds(calm))
		if slow := max(1, r.Calm/calmWithin.Seconds()); took.Seconds() > c.within.Seconds()*slow {
			c.findings.add("green late", "%s works %.1f s after the fault's end (%s); without a fault all takes %.1f s", last, took.Seconds(), name, r.Calm)
		}
	}
	return since, err
}

// serves asks every service's own check.
func (a *arena) serves(ctx context.Context) error {
	for _, service := range services {
		if _, err := a.Docker(ctx, "exec", a.Container(service), "mailstack-health"); err != nil {
			return err
		}
	}
	return nil
}

// green waits until logins and all ways in work, up to the mailbox, and says
// what came last, with its last failure, and when. Its letters bear a name that
// no other of the round does.
func (c *campaign) green(ctx context.Context, number int, name string) (last string, took time.Duration, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	began := time.Now()
	until := func(what string, ask func(context.Context) error) {
		wg.Go(func() {
			var before error
			late := lab.Eventually(ctx, patience, what, func(ctx context.Context) error {
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
		name := fmt.Sprintf("%d-%s-%s-", number, name, listener)
		until("mail by "+listener, func(ctx context.Context) error {
			// What was accepted in the first second may still have been deferred
			// behind it: any of them will do.
			n++
			if err := c.send(ctx, c.letterTo(c.plain[0], listener, rng, number, fmt.Sprint(name, n))); err != nil {
				return err
			}
			return lab.Eventually(ctx, time.Second, "new mail is in its mailbox", func(ctx context.Context) error { return c.arrived(ctx, name) })
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
func (c *campaign) prove(ctx context.Context, r *round, faults []fault, back state) error {
	if groundOf(faults) == oneDisk {
		c.auditor.powerCut(c.cutAt)
	}
	quiet := time.Now()
	have, err := c.auditor.settle(ctx, max(time.Second, time.Until(back.since.Add(settledWithin))))
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
	starts, err := c.starts(ctx)
	if err == nil && starts != back.starts {
		c.findings.add("restarts go on", "before %s, then %s", back.starts, starts)
	}
	return errors.Join(err, c.unlocked(ctx))
}

// unlocked looks for dot locks in the mail store, which nobody uses now.
func (c *campaign) unlocked(ctx context.Context) error {
	// What removed accounts had is root's, and no daemon's any more.
	locks, err := c.Docker(ctx, "exec", "--user", "vmail", c.Container("dovecot"),
		"find", "/var/vmail", "-path", "/var/vmail/.removed", "-prune", "-o", "-name", "*.lock", "-print")
	if locks != "" {
		c.findings.add("stale lock", "%s", locks)
	}
	return err
}

// insist tells late mail from lost mail: what waits in the queue is asked for.
func (c *campaign) insist(ctx context.Context) (inventory, error) {
	if _, err := c.Docker(ctx, "exec", c.Container("postfix"), "postqueue", "-f"); err != nil {
		return nil, err
	}
	if have, err := c.auditor.settle(ctx, patience); err == nil {
		return have, nil
	}
	return c.auditor.take(ctx)
}

// starts are the engine's counts, and since when each container runs.
func (a *arena) starts(ctx context.Context) (string, error) {
	out, err := a.Docker(ctx, append([]string{"inspect", "--format", "{{.RestartCount}} {{.State.StartedAt}}"}, a.containers(services...)...)...)
	return strings.ReplaceAll(out, "\n", ", "), err
}

// tell shows a round as it ends.
func (c *campaign) tell(r round) {
	fmt.Fprintf(c.progress, "chaos: %3d %-34s %4d acknowledged, %d lost, %d doubled, %d changes, %d undone; held %.1f s, serves after %.1f s, green %.1f s, settled %.1f s\n",
		r.Number, r.Fault, r.Acknowledged, r.Lost, r.Doubled, r.Changes, r.Undone, r.Held, r.Serves, r.Green, r.Settle)
	for _, f := range c.findings.of(r.Number) {
		fmt.Fprintf(c.progress, "chaos:     BROKEN %d x %s: %s\n", f.Count, f.What, f.First)
	}
	if len(c.findings.of(r.Number)) > 0 {
		fmt.Fprintf(c.progress, "chaos:     again: -only %s -seed %d -round %d\n", strings.ReplaceAll(r.Fault, pairSign, "+"), c.seed, r.Number)
	}
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
