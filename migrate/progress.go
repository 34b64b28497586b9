package migrate

import (
	"slices"
	"sync"
	"time"
)

// Phase is what a pass is doing.
type Phase string

// The phases of a pass, in their order.
const (
	Scanning  Phase = "scan"   // the old server's mailboxes are listed
	Copying   Phase = "copy"   // rsync runs
	Placing   Phase = "place"  // what was copied is put into the mail store
	Verifying Phase = "verify" // both sides are read and compared
	LoggingIn Phase = "logins" // the new server is asked
)

// Event says how far a phase is.
type Event struct {
	Phase Phase
	// Mailboxes, and in Copying also what is copied.
	Mailboxes, TotalMailboxes int
	Done, Total               Amount
	// BytesPerSecond is how fast it has been going lately; 0: not known yet.
	BytesPerSecond float64
	// Elapsed is since the phase began, Left is what remains of it; Left is
	// negative where it is not known.
	Elapsed, Left time.Duration
	Since         time.Duration // since the pass began
	Ended         bool          // the phase is over
}

// Reporter is told what happens. Calls come one after the other, at most about ten
// a second.
type Reporter interface {
	Report(Event)
}

// reportEvery is the time between two events of a phase.
const reportEvery = 100 * time.Millisecond

// meter makes events of what happens in several places at once.
type meter struct {
	mu      sync.Mutex
	to      Reporter
	now     func() time.Time
	event   Event
	began   time.Time
	told    time.Time
	pace    pace
	started time.Time
	ended   []Took
}

func newMeter(to Reporter, now func() time.Time) *meter {
	return &meter{to: to, now: now, started: now()}
}

// begin begins a phase.
func (m *meter) begin(phase Phase, mailboxes int, total Amount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.event = Event{Phase: phase, TotalMailboxes: mailboxes, Total: total, Left: -1}
	m.began, m.pace = m.now(), pace{}
	m.pace.note(m.began, Amount{})
	m.tell(true)
}

// end ends it.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.event.Ended = true
	m.tell(true)
	m.ended = append(m.ended, Took{m.event.Phase, m.event.Elapsed.Seconds()})
}

// phases are those that have ended.
func (m *meter) phases() []Took {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ended)
}

func (m *meter) done() Amount {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.event.Done
}

// mailboxes says how many mailboxes are done.
func (m *meter) mailboxes(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.event.Mailboxes = max(m.event.Mailboxes, n)
	m.tell(false)
}

// copied adds to what was copied.
func (m *meter) copied(a Amount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.event.Done.add(a)
	m.tell(false)
}

func (m *meter) tell(always bool) {
	now := m.now()
	if !always && now.Sub(m.told) < reportEvery {
		return
	}
	m.told = now
	m.event.Elapsed, m.event.Since = now.Sub(m.began), now.Sub(m.started)
	m.pace.note(now, m.event.Done)
	m.event.BytesPerSecond, m.event.Left = m.pace.rate(m.event)
	if m.to != nil {
		m.to.Report(m.event)
	}
}

// pace knows how fast it has been going in the last while.
type pace struct {
	marks []mark
}

type mark struct {
	at   time.Time
	done Amount
}

// paceWindow is how far back the pace looks: long enough for one large message
// not to rule it.
const paceWindow = 30 * time.Second

func (p *pace) note(now time.Time, done Amount) {
	p.marks = append(p.marks, mark{now, done})
	for len(p.marks) > 2 && now.Sub(p.marks[1].at) > paceWindow {
		p.marks = p.marks[1:]
	}
}

// rate is octets a second, and how long the rest takes: its cost, which counts
// messages as well as octets, at the pace of late.
func (p *pace) rate(e Event) (bytesPerSecond float64, left time.Duration) {
	first, last := p.marks[0], p.marks[len(p.marks)-1]
	seconds := last.at.Sub(first.at).Seconds()
	done := last.done.cost() - first.done.cost()
	if seconds < 0.5 || done <= 0 {
		return 0, -1
	}
	rest := max(e.Total.cost()-e.Done.cost(), 0)
	return float64(last.done.Bytes-first.done.Bytes) / seconds, time.Duration(float64(rest) / float64(done) * seconds * float64(time.Second))
}

// Time is how long copying takes where so many octets come in a second.
func (a Amount) Time(octetsPerSecond float64) time.Duration {
	return time.Duration(float64(a.cost()) / octetsPerSecond * float64(time.Second))
}

// cost is what copying costs, see fileCost.
func (a Amount) cost() int64 { return a.Bytes + a.Messages*fileCost }
