package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"mailstack/migrate"
	"mailstack/migrate/imapcopy"
)

// copyBar shows how far a copy of several mailboxes is: one bar in a terminal,
// a line for each mailbox that ends elsewhere.
type copyBar struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil: no terminal
	last  []imapcopy.Event
	count int
}

func newCopyBar(w io.Writer, mailboxes int) *copyBar {
	b := &copyBar{w: w, last: make([]imapcopy.Event, mailboxes)}
	if colour(w) {
		b.bar = bytesBar(w)
	}
	return b
}

// report takes an event of mailbox i.
func (b *copyBar) report(i int, e imapcopy.Event) {
	b.last[i] = e
	if b.bar == nil {
		return
	}
	var done, total imapcopy.Event
	for _, e := range b.last {
		done.Messages += e.Messages
		done.Bytes += e.Bytes
		total.Total += e.Total
		total.TotalBytes += max(e.TotalBytes, e.Bytes)
	}
	b.bar.Describe(fmt.Sprintf("%d of %d mailboxes, %d of %d messages", b.count, len(b.last), done.Messages, total.Total))
	b.bar.ChangeMax64(max(total.TotalBytes, 1))
	_ = b.bar.Set64(min(done.Bytes, total.TotalBytes))
}

// ended says that mailbox i is done.
func (b *copyBar) ended(i int, m migratedMailbox) {
	b.count++
	if b.bar != nil {
		b.report(i, b.last[i])
		return
	}
	mark := "✓"
	if !m.whole() {
		mark = "✗"
	}
	fmt.Fprintf(b.w, "%s %*d/%d  %s  %d messages, %s copied  %s\n", mark, len(fmt.Sprint(len(b.last))), b.count, len(b.last),
		m.User, m.Copied, bytesText(m.Bytes), seconds(m.Took))
}

func (b *copyBar) end() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}

// bytesBar is a bar of bytes with their rate and the time that is left.
func bytesBar(w io.Writer) *progressbar.ProgressBar {
	return progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true), progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(24), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// moveBar shows how far a pass is: a bar in a terminal, a line for each phase
// that ends elsewhere. From the freeze on it shows how long the old server has
// been out of use, too.
type moveBar struct {
	w    io.Writer
	bar  *progressbar.ProgressBar // nil: no terminal
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	since time.Time // of the freeze; the zero time: there was none
	last  string    // what is under way
	ended bool
}

func newMoveBar(w io.Writer) *moveBar {
	b := &moveBar{w: w, stop: make(chan struct{})}
	if colour(w) {
		b.bar = bytesBar(w)
	}
	return b
}

// phaseWords say what a phase does.
var phaseWords = map[migrate.Phase]string{
	migrate.Scanning: "list mailboxes there", migrate.Copying: "copy", migrate.Placing: "put into the mail store",
	migrate.Verifying: "compare both sides", migrate.LoggingIn: "log in",
}

// frozen says that the old server is out of use.
func (b *moveBar) frozen(since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since = since
	if b.bar != nil {
		b.done.Go(b.tick)
	}
}

// clear makes room for other lines until the next phase.
func (b *moveBar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = ""
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}

// tick shows that time passes where nothing else does.
func (b *moveBar) tick() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-t.C:
			b.mu.Lock()
			if b.last != "" {
				b.describe()
			}
			b.mu.Unlock()
		}
	}
}

func (b *moveBar) describe() { b.bar.Describe(b.last + b.outOfUse()) }

// outOfUse is "" before the freeze.
func (b *moveBar) outOfUse() string {
	if b.since.IsZero() {
		return ""
	}
	return fmt.Sprintf(" (out of use for %s)", duration(time.Since(b.since)))
}

// Report implements migrate.Reporter.
func (b *moveBar) Report(e migrate.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar == nil {
		if e.Ended {
			fmt.Fprintf(b.w, "✓ %s: %d mailboxes, %d messages, %s  %s%s\n", phaseWords[e.Phase], e.Mailboxes, e.Done.Messages,
				bytesText(e.Done.Bytes), seconds(e.Elapsed), b.outOfUse())
		}
		return
	}
	b.last = fmt.Sprintf("%s: %d of %d mailboxes, %d of %d messages", phaseWords[e.Phase], e.Mailboxes, e.TotalMailboxes, e.Done.Messages, e.Total.Messages)
	b.describe()
	b.bar.ChangeMax64(max(e.Total.Bytes, 1))
	_ = b.bar.Set64(min(e.Done.Bytes, e.Total.Bytes))
}

func (b *moveBar) end() {
	b.mu.Lock()
	ended := b.ended
	b.ended = true
	b.mu.Unlock()
	if ended {
		return
	}
	close(b.stop)
	b.done.Wait()
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}
