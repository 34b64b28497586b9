package migrate

import (
	"context"
	"time"
)

// Forecast is how long the last pass would take if it began now: the time for
// which nobody can use the mail on either server.
type Forecast struct {
	// Pending is what there is to copy.
	Pending Amount `json:"pending"`
	// Known says whether an earlier pass tells how fast it goes.
	Known bool `json:"known"`
	// Downtime is from the beginning of the last pass to the end of the logins
	// after it. What the old server's queue takes to drain comes on top.
	Downtime time.Duration `json:"downtime_ns"`
	// Problems are the mailboxes that the last pass could not bring as they are.
	Problems []Result `json:"problems,omitempty"`
}

// Forecast looks at the old server and says how long the last pass would take.
// Listing is measured now; copying and verifying go by the latest pass that did
// any.
func (m *Migration) Forecast(ctx context.Context) (Forecast, error) {
	var f Forecast
	meter := newMeter(m.Progress, m.now)
	if err := m.scan(ctx, meter); err != nil {
		return f, err
	}
	work, err := m.compare()
	if err != nil {
		return f, err
	}
	f.Pending = amountOf(work.copies)
	for _, b := range m.boxes {
		if b.problem != nil {
			f.Problems = append(f.Problems, b.result())
		}
	}
	listing := passRecord{Phases: meter.phases()}.seconds(Scanning)
	f.Downtime = time.Duration(listing * float64(time.Second))
	passes := m.state.Passes[m.From.Target()]
	if len(passes) == 0 {
		return f, nil
	}
	f.Known = true
	last := passes[len(passes)-1]
	rest := last.seconds(Placing) + last.seconds(Verifying) + last.seconds(LoggingIn)
	for i := len(passes) - 1; i >= 0; i-- {
		if copied := passes[i].Copied.cost(); copied > 0 && passes[i].seconds(Copying) > 0 {
			rest += passes[i].seconds(Copying) * float64(f.Pending.cost()) / float64(copied)
			break
		}
	}
	f.Downtime += time.Duration(rest * float64(time.Second))
	return f, nil
}

// Ending is how long a pass like this one takes without what it copied: the least
// that the last one takes.
func (r *Report) Ending() time.Duration {
	var all float64
	for _, t := range r.Phases {
		if t.Phase != Copying {
			all += t.Seconds
		}
	}
	return time.Duration(all * float64(time.Second))
}

func amountOf(files []item) Amount {
	var a Amount
	for _, f := range files {
		a.Bytes += f.size
		if f.message {
			a.Messages++
		}
	}
	return a
}
