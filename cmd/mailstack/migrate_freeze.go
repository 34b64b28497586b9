package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"
	"mailstack/stack"
)

// cutOver is the time in which nobody can use the mail on either server, as
// scripts read it.
type cutOver struct {
	Forecast float64              `json:"forecast_seconds,omitempty"` // before it began; 0: not known
	Downtime float64              `json:"downtime_seconds"`           // until the accounts were opened, or the run ended
	Queue    *migrate.CarryReport `json:"queue,omitempty"`

	began time.Time // the zero time: the old server is in use
	whole bool      // all accounts were opened
}

// freeze ends the use of the old server, by the user's own command or hand.
func (m *rsyncMigration) freeze(ctx context.Context, migration *migrate.Migration, bar *moveBar) error {
	forecast, err := migration.Forecast(ctx)
	if err != nil {
		return err
	}
	bar.clear()
	for _, r := range forecast.Problems {
		fmt.Fprintf(m.Stderr, "! account %s will not be opened: %s\n", r.Address, remote.Visible(r.Problem))
	}
	m.cutOver = &cutOver{}
	if forecast.Known {
		m.cutOver.Forecast = forecast.Downtime.Seconds()
		fmt.Fprintf(m.Stderr, "the old server will be out of use for about %s (%s in %d messages to copy), and as long as its queue takes\n",
			duration(forecast.Downtime), bytesText(forecast.Pending.Bytes), forecast.Pending.Messages)
	} else {
		fmt.Fprintf(m.Stderr, "how long the old server will be out of use is not known without an earlier copy: %s in %d messages are to be copied\n",
			bytesText(forecast.Pending.Bytes), forecast.Pending.Messages)
	}
	if m.flags.rsync.freeze == "" {
		if err := m.askToStop(ctx); err != nil {
			return err
		}
	}
	m.cutOver.began = time.Now()
	bar.frozen(m.cutOver.began)
	if m.flags.rsync.freeze != "" {
		fmt.Fprintf(m.Stderr, "on %s: %s\n", m.flags.rsync.from, m.flags.rsync.freeze)
		if _, err := m.old.host.Script(ctx, m.flags.rsync.freeze).Output(); err != nil {
			return fmt.Errorf("freeze the old server with --freeze-command: %w", err)
		}
	}
	return nil
}

// stoppedWord is what a person types who has stopped the old server.
const stoppedWord = "stopped"

// askToStop asks a person to stop the old server by hand.
func (m *rsyncMigration) askToStop(ctx context.Context) error {
	fmt.Fprintf(m.Stderr, "\nNow stop on %s what takes mail in and what people read it with%s; ssh has to go on:\n\n    %s\n\n"+
		"Stop also what else writes there: fetchmail, webmail, cron jobs. Ctrl-C leaves everything as it is.\n",
		m.flags.rsync.from, inContainer(m.old.facts), stopAdvice(m.old.facts))
	q := newQuestions(ctx, m.Stdin, m.Stderr)
	err := q.ask(fmt.Sprintf("Type %q when that is done", stoppedWord), "", func(answer string) error {
		if answer != stoppedWord {
			return fmt.Errorf("that was not %q: the last copy has not begun", stoppedWord)
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return errors.New("ask whether the old server is stopped: nobody answered; the last copy has not begun")
	}
	return nil
}

// stopAdvice is what stops the old server, as far as it is known.
func stopAdvice(f *source.Facts) string {
	if name := f.Mailstack(); name != "" {
		return f.Engine + " stop " + remote.Quote(stack.ContainerName(name, "postfix"), stack.ContainerName(name, "dovecot"))
	}
	services := []string{"dovecot"}
	if name, _, _ := strings.Cut(strings.ToLower(f.MTA.Name), " "); name == "exim" {
		services = []string{"exim4", "dovecot"}
	} else if name != "" {
		services = []string{name, "dovecot"}
	}
	if f.Dovecot.Container != "" {
		return fmt.Sprintf("%s exec %s supervisorctl stop %s", f.Engine, f.Dovecot.Container, strings.Join(services, " "))
	}
	return "systemctl stop " + strings.Join(services, " ")
}

func inContainer(f *source.Facts) string {
	if f.Dovecot.Container == "" || f.Mailstack() != "" {
		return ""
	}
	return ", in the container " + f.Dovecot.Container + " but not the container itself"
}

// queueLook is the time between two looks at the old server's queue.
const queueLook = time.Second

// waitForQueue waits until nothing in the old server's queue is for an account
// that is being moved. What is left where its MTA has been stopped is carried over
// when the accounts are open; an MTA that runs may deliver it at any time, into
// mailboxes that are not copied again, and so keeps the last copy from beginning.
func (m *rsyncMigration) waitForQueue(ctx context.Context) error {
	if m.queue == nil {
		if name := m.old.facts.MTA.Name; name != "" && !m.flags.rsync.leaveQueue {
			fmt.Fprintf(m.Stderr, "! the queue of %s is not looked at: what waits there for the accounts has to be delivered before\n", name)
		}
		return nil
	}
	here := m.addressees(m.moving...)
	ctxWait, cancel := context.WithTimeout(ctx, m.flags.rsync.queueWait)
	defer cancel()
	ticker := time.NewTicker(queueLook)
	defer ticker.Stop()
	line := newQueueLine(m.Stderr, m.cutOver.began)
	defer line.end()
	for {
		list, err := m.queue.List(ctx)
		if err != nil {
			return queueUnread(err)
		}
		waiting := list.For(here)
		line.show(waiting, len(list.Messages), list.Running)
		if waiting == 0 || !list.Running {
			return nil
		}
		select {
		case <-ticker.C:
			continue
		case <-ctxWait.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		line.end()
		return hinted(fmt.Errorf("wait for the old server's queue: after %v it still holds %s for the accounts being moved, and its Postfix runs",
			m.flags.rsync.queueWait, messagesText(waiting)),
			"stop Postfix there too (--freeze-command): a queue at rest is carried over; nothing was opened here, and nothing is lost")
	}
}

// queueUnread says what to do about a queue that cannot be read.
func queueUnread(err error) error {
	var exit *remote.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	return hinted(err, "postqueue -j has to work there, where Postfix is in a container in that one; --leave-queue leaves the queue alone, with what waits in it")
}

// whatNow says what a run that ended after the freeze leaves behind.
func (m *rsyncMigration) whatNow() {
	if m.cutOver == nil || m.cutOver.began.IsZero() || m.cutOver.whole {
		return
	}
	fmt.Fprintf(m.Stderr, "The old server has been out of use for %s. Accounts that were not opened still have all of their mail there:\n"+
		"run the same command again, or start the old server again and move another day.\n", duration(time.Since(m.cutOver.began)))
}

// opened ends the downtime.
func (c *cutOver) opened() { c.Downtime = time.Since(c.began).Seconds() }

// duration prints a duration for people: "0.4 s", "1m32s".
func duration(d time.Duration) string {
	if d < time.Minute {
		return seconds(d)
	}
	return d.Round(time.Second).String()
}
