package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// QueueState is what waits in the mail queue.
type QueueState struct {
	Messages int
	Deferred int           // of these, tried in vain at least once
	Oldest   time.Duration // how long the oldest has waited; 0 when there is none
}

// DiskState is the room on a file system that data is on.
type DiskState struct {
	Volumes    []string // what is on it: "mysql", "vmail"
	FreeBytes  int64    // for those who are not root
	TotalBytes int64
}

// ContainerState is a container as the engine sees it.
type ContainerState struct {
	Service      string
	State        string // as the engine says it: running, exited; "missing" where there is none
	Health       string // "", starting, healthy, unhealthy
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

// lookedAt is a step that looks at something beside the mail protocols.
func lookedAt[T any](ctx context.Context, tr *Trace, look func(context.Context) (T, error), advice string, judge func(T) error) error {
	return tr.step(ctx, "look", func() error {
		seen, err := look(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			var own interface{ Hint() string }
			if errors.As(err, &own) && own.Hint() != "" {
				advice = own.Hint()
			}
			return &Failure{Kind: KindNotRun, Detail: printable(err.Error()), Err: err, Advice: advice}
		}
		return judge(seen)
	})
}

// How many messages may wait. A box for a family has none on a good day; a
// mailing list's outage is worth a look and not yet a call at night.
const (
	queueWarning  = 100
	queueCritical = 1000
)

func checkQueue(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Queue, "is Postfix running? `mailstack status`", func(q QueueState) error {
		tr.measure(Value{
			Name: "messages", Amount: float64(q.Messages), Warning: AtMost(queueWarning), Critical: AtMost(queueCritical),
			Text:   fmt.Sprintf("%d messages wait, %d of them deferred, the oldest for %s", q.Messages, q.Deferred, q.Oldest.Round(time.Second)),
			Advice: "`mailstack logs postfix` says why they are deferred",
		})
		tr.measure(Value{Name: "deferred", Amount: float64(q.Deferred)})
		tr.measure(Value{Name: "oldest", Unit: "s", Amount: q.Oldest.Seconds()})
		return nil
	})
}

// How much room there must be, in per cent. Postfix takes no mail below
// queue_minfree, and MariaDB stands still on a full disk.
const (
	diskWarning  = 10
	diskCritical = 5
)

func checkDisk(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Disks, "is the disk mounted? `mailstack status`", func(disks []DiskState) error {
		for _, d := range disks {
			names := strings.Join(d.Volumes, "+")
			free := 100 * float64(d.FreeBytes) / float64(max(1, d.TotalBytes))
			tr.measure(Value{
				Name: "free", Label: names, Unit: "%", Amount: free,
				Warning: AtLeast(diskWarning), Critical: AtLeast(diskCritical),
				Text:   fmt.Sprintf("%.1f of %.1f GB free for %s", float64(d.FreeBytes)/1e9, float64(d.TotalBytes)/1e9, names),
				Advice: "make room there: mail is deferred when it is full, and the database stands still",
			})
		}
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
			err := judgeContainer(c)
			errs = append(errs, err)
			if err == nil && c.Restarts > 0 {
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

func judgeContainer(c ContainerState) error {
	logs := "`mailstack logs " + c.Service + "` says why; `mailstack up` starts what is not running"
	switch {
	case c.State != "running":
		return &Failure{Kind: KindContainer, Step: c.Service, Detail: printable(c.State), Advice: logs}
	case c.Health == "unhealthy":
		return &Failure{Kind: KindContainer, Step: c.Service, Detail: printable("unhealthy: " + c.HealthOutput), Advice: logs}
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
			return nil
		}
		tr.measure(Value{
			Name: "error", Unit: "s", Amount: c.MaxError.Seconds(),
			Warning: AtMost(clockWarning.Seconds()), Critical: AtMost(clockCritical.Seconds()),
			Text:   fmt.Sprintf("wrong by up to %s", c.MaxError.Round(time.Millisecond)),
			Advice: "look at what keeps it: `timedatectl timesync-status` or `chronyc tracking`",
		})
		return nil
	})
}

// checkRights asks whether the services' database users may do what they must
// and no more.
func checkRights(ctx context.Context, t *Target, tr *Trace) error {
	return lookedAt(ctx, tr, t.Rights, "does the database answer? `mailstack status`", func(exact bool) error {
		if exact {
			return nil
		}
		return &Failure{
			Kind: KindInsecure, Detail: "the services' database users do not have exactly the secrets and rights that they should have",
			Advice: "`mailstack up` sets them right",
		}
	})
}
