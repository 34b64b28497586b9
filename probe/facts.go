package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// QueueState is what waits in the mail queue.
type QueueState struct {
	Messages int
	Deferred int           // of these, tried in vain at least once
	Held     int           // of these, on hold: nobody tries to deliver them
	Oldest   time.Duration // how long the oldest has waited; 0 when there is none

	Smarthosts []SmarthostState // those that mail waits for
}

// SmarthostState is a smarthost that has not taken mail.
type SmarthostState struct {
	Host     string
	Messages int    // that wait for it
	Reason   string // of one of them
}

// QueuedMessage is where a message waits, and for what.
type QueuedMessage struct {
	Queue  string // as Postfix calls it: incoming, active, deferred, hold; "": it waits nowhere
	Reason string // why it was not delivered, if that was tried
}

// DiskState is the room on a file system that data is on.
type DiskState struct {
	Volumes    []string // what is on it: "mysql", "vmail"
	FreeBytes  int64    // for those who are not root
	TotalBytes int64
	Err        error // why nothing is known of it; nil: it is
}

// MailboxState is what is in the mail store, compared with the accounts.
type MailboxState struct {
	Unclaimed []string // addresses of mailboxes without an account
	Inhabited bool     // people have accounts
}

// ContainerState is a container as the engine sees it.
type ContainerState struct {
	Service      string
	Listens      []string // keys of Target.Ports
	State        string   // as the engine says it: running, exited; "missing" where there is none
	Condition    string   // State with its reason, if one is known: "exited with status 137, out of memory"
	Health       string   // "", starting, healthy, unhealthy
	HealthOutput string
	Restarts     int           // by the engine, because it had ended
	Up           time.Duration // since its last start
}

// ClockState is what is known about this host's clock.
type ClockState struct {
	Now time.Time
	// Synchronised says that something (NTP, PTP) keeps the clock; MaxError is
	// then how wrong it may be (adjtimex(2)).
	Synchronised bool
	MaxError     time.Duration
	// NotBefore is a moment that has certainly passed, and Witness what says so.
	NotBefore time.Time
	Witness   string
}

// lookStep is the only step of a check that looks: its name says nothing.
const lookStep = "look"

// lookedAt is a step that looks at something beside the mail protocols.
func lookedAt[T any](ctx context.Context, tr *Trace, look func(context.Context) (T, error), advice string, judge func(T) error) error {
	return tr.step(ctx, lookStep, func() error {
		seen, err := look(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return unseen(err, advice)
		}
		return judge(seen)
	})
}

// unseen is the failure of a look that could not be taken. Its hint is the
// error's own, where it has one. One that took too long is known to have: the
// guidelines for plugins want no timeout to be unknown.
func unseen(err error, advice string) error {
	var own interface{ Hint() string }
	if errors.As(err, &own) && own.Hint() != "" {
		advice = own.Hint()
	}
	kind := KindNotRun
	if kindOf(err) == KindTimeout { // some have limits of their own, below that of the run
		kind = KindTimeout
	}
	return &Failure{
		Kind: kind, Detail: printable(err.Error()), Err: err, Advice: advice,
		settled: errors.Is(err, fs.ErrPermission),
	}
}

// How many messages may wait. A box for a family has none on a good day; a
// mailing list's outage is worth a look and not yet a call at night.
const (
	queueWarning  = 100
	queueCritical = 1000
)

const heldAdvice = "what is on hold waits until somebody releases (postsuper -H) or deletes (postsuper -d) it in Postfix's container; " +
	"`mailstack logs postfix` says what put it there"

func checkQueue(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Queue, "is Postfix running? `mailstack status`", func(q QueueState) error {
		tr.measure(Value{
			Name: "messages", Amount: float64(q.Messages), Warning: AtMost(queueWarning), Critical: AtMost(queueCritical),
			Text:   fmt.Sprintf("%d messages wait, %d of them deferred, the oldest for %s", q.Messages, q.Deferred, q.Oldest.Round(time.Second)),
			Advice: "`mailstack logs postfix` says why they are deferred",
		})
		tr.measure(Value{Name: "deferred", Amount: float64(q.Deferred)})
		tr.measure(Value{
			Name: "held", Amount: float64(q.Held), Warning: AtMost(0),
			Text:   fmt.Sprintf("%d messages are on hold", q.Held),
			Advice: heldAdvice,
		})
		tr.measure(Value{Name: "oldest", Unit: "s", Amount: q.Oldest.Seconds()})
		for _, s := range q.Smarthosts {
			tr.measure(Value{
				Name: "smarthost", Label: s.Host, Amount: float64(s.Messages), Warning: AtMost(0),
				Text:   printable(fmt.Sprintf("%d messages wait for the smarthost %s: %s", s.Messages, s.Host, s.Reason)),
				Advice: "look at [relay] in the configuration, and whether the smarthost works; nothing is lost for five days",
			})
		}
		return nil
	})
}

// How much room there must be, in per cent. Postfix takes no mail below
// queue_minfree, and MariaDB stands still on a full disk.
const (
	diskWarning  = 10
	diskCritical = 5
	// diskFull, in bytes, explains what else does not work. Dovecot takes no more mail
	// from here on (room.lua).
	diskFull = 64 << 20
)

func checkDisk(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Disks, "is the disk mounted? `mailstack status`", func(disks []DiskState) error {
		var errs []error
		for _, d := range disks {
			names := strings.Join(d.Volumes, "+")
			if d.Err != nil {
				errs = append(errs, &Failure{Kind: KindNotRun, Step: names, Detail: printable(d.Err.Error()), Err: d.Err, Advice: "is the disk mounted? `mailstack status`"})
				continue
			}
			free := 100 * float64(d.FreeBytes) / float64(max(1, d.TotalBytes))
			tr.measure(Value{
				Name: "free", Label: names, Unit: "%", Amount: free,
				Warning: AtLeast(diskWarning), Critical: AtLeast(diskCritical),
				Text:   fmt.Sprintf("%s free for %s", ofTotal(d.FreeBytes, d.TotalBytes), names),
				Advice: diskAdvice,
			})
			if d.FreeBytes < diskFull {
				tr.blamed(downed{nil, true, &Failure{Kind: KindContainer, Step: "the disk of " + names, Detail: ofTotal(d.FreeBytes, d.TotalBytes) + " free", Advice: diskAdvice}})
			}
		}
		return errors.Join(errs...)
	})
}

// diskAdvice is for a disk with little room.
const diskAdvice = "make room there: mail is deferred when it is full, and the database stands still"

// ofTotal is "9.0 of 100.0 GB", or in MB where GB would hide the difference.
func ofTotal(part, total int64) string {
	unit, bytes := "GB", 1e9
	if total < 10e9 {
		unit, bytes = "MB", 1e6
	}
	return fmt.Sprintf("%.1f of %.1f %s", float64(part)/bytes, float64(total)/bytes, unit)
}

// checkMailboxes: mail for an address without an account is refused for good
// (550), so a table of accounts that was emptied, or restored from a backup of
// long ago, costs mail, and the probe's own account shows nothing of it.
func checkMailboxes(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Mailboxes, "does the database answer, and is the disk mounted? `mailstack status`", func(m MailboxState) error {
		names, more := m.Unclaimed, ""
		if len(names) > maxNamed {
			names, more = names[:maxNamed], fmt.Sprintf(" and %d more", len(names)-maxNamed)
		}
		limit := Range{}
		if !m.Inhabited {
			limit = AtMost(0)
		}
		tr.measure(Value{
			Name: "unclaimed", Amount: float64(len(m.Unclaimed)), Warning: AtMost(0), Critical: limit,
			Text:   printable(fmt.Sprintf("mailboxes without an account: %s%s; mail for them is refused", strings.Join(names, ", "), more)),
			Advice: "restore the database from a backup, or give each its account again (`mailstack account add`); a mailbox that nobody needs: move its directory out of the mail store",
		})
		return nil
	})
}

// A container that the engine has restarted so many times, and that has been up
// for less than this since, is taken to be in a loop. Fewer are an accident that
// has healed, which is worth a note.
const (
	loopRestarts = 3
	loopUp       = time.Minute
)

func checkContainers(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Containers, "does the engine answer, and may you ask it? `mailstack status`", func(all []ContainerState) error {
		var errs []error
		for _, c := range all {
			if f := judgeContainer(c); f != nil {
				errs = append(errs, f)
				tr.blamed(downed{c.Listens, false, f})
			} else if c.Restarts > 0 {
				tr.note(fmt.Sprintf("%s ended by itself and was restarted, %d times so far, the last %s ago", c.Service, c.Restarts, c.Up.Round(time.Second)))
			}
			tr.measure(Value{
				Name: "restarts", Label: c.Service, Amount: float64(c.Restarts),
				Text:   fmt.Sprintf("%s was restarted %d times by the engine", c.Service, c.Restarts),
				Advice: "`mailstack logs " + c.Service + "` says why it ended",
			})
		}
		return errors.Join(errs...)
	})
}

func judgeContainer(c ContainerState) *Failure {
	logs := "`mailstack logs " + c.Service + "` says why"
	switch {
	case c.State == "missing":
		return &Failure{Kind: KindContainer, Step: c.Service, Detail: "there is none", Advice: "`mailstack up` makes it"}
	case c.State != "running":
		return &Failure{
			Kind: KindContainer, Step: c.Service, Advice: logs + "; `mailstack up` starts it",
			Detail: printable(cmp.Or(c.Condition, c.State)),
		}
	case c.Health == "unhealthy":
		return &Failure{
			Kind: KindContainer, Step: c.Service, Advice: logs + "; `mailstack up` restarts it",
			Detail: printable("unhealthy: " + cmp.Or(c.HealthOutput, "its health check does not end in time")),
		}
	case c.Restarts >= loopRestarts && c.Up < loopUp:
		return &Failure{
			Kind: KindRestarted, Step: c.Service, Advice: "`mailstack logs " + c.Service + "` says why it ended",
			Detail: fmt.Sprintf("%d times, the last %s ago", c.Restarts, c.Up.Round(time.Second)),
		}
	}
	return nil
}

// How wrong a clock that is kept may be: with more, certificates, one-time
// passwords and the order of mail begin to suffer.
const (
	clockWarning  = 2 * time.Second
	clockCritical = time.Minute
)

func checkClock(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Clock, "", func(c ClockState) error {
		if c.Now.Before(c.NotBefore) {
			return &Failure{
				Kind: KindClock, Advice: "set it, and let something keep it: `timedatectl set-ntp true`",
				Detail: fmt.Sprintf("it says %s, which is before %s (%s)", c.Now.UTC().Format(time.RFC3339), c.NotBefore.UTC().Format(time.RFC3339), c.Witness),
			}
		}
		if !c.Synchronised {
			// A guest whose hypervisor keeps the clock looks like this too.
			tr.note("nothing that the kernel knows of keeps this clock")
			tr.measure(Value{Name: "synchronised"})
			return nil
		}
		tr.measure(Value{
			Name: "error", Unit: "s", Amount: c.MaxError.Seconds(),
			Warning: AtMost(clockWarning.Seconds()), Critical: AtMost(clockCritical.Seconds()),
			Text:   fmt.Sprintf("wrong by up to %s", c.MaxError.Round(time.Millisecond)),
			Advice: "look at what keeps it: `timedatectl timesync-status` or `chronyc tracking`",
		})
		tr.measure(Value{Name: "synchronised", Amount: 1})
		return nil
	})
}

// checkRights asks whether everybody may do in the database what they must, and
// no more.
func checkRights(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Rights, "does the database answer? `mailstack status`", func(problems []string) error {
		var errs []error
		for _, p := range problems {
			errs = append(errs, &Failure{Kind: KindRights, Detail: printable(p)})
		}
		return errors.Join(errs...)
	})
}
