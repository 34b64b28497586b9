package main

import (
	"fmt"
	"io"
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
// that ends elsewhere.
type moveBar struct {
	w   io.Writer
	bar *progressbar.ProgressBar // nil: no terminal
}

func newMoveBar(w io.Writer) *moveBar {
	b := &moveBar{w: w}
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

// Report implements migrate.Reporter.
func (b *moveBar) Report(e migrate.Event) {
	if b.bar == nil {
		if e.Ended {
			fmt.Fprintf(b.w, "✓ %s: %d mailboxes, %d messages, %s  %s\n", phaseWords[e.Phase], e.Mailboxes, e.Done.Messages, bytesText(e.Done.Bytes), seconds(e.Elapsed))
		}
		return
	}
	b.bar.Describe(fmt.Sprintf("%s: %d of %d mailboxes, %d of %d messages", phaseWords[e.Phase], e.Mailboxes, e.TotalMailboxes, e.Done.Messages, e.Total.Messages))
	b.bar.ChangeMax64(max(e.Total.Bytes, 1))
	_ = b.bar.Set64(min(e.Done.Bytes, e.Total.Bytes))
}

func (b *moveBar) end() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}
