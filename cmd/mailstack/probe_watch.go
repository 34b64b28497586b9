package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"mailstack/probe"
)

// Control sequences of ECMA-48 and xterm: the screen beside the one that the
// shell writes on, so that nothing of what was there is lost.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// watchProbe shows the probe live, until ctx ends. It then is what the last run
// found.
func (a *app) watchProbe(ctx context.Context, f probeFlags) error {
	out, ok := a.Stdout.(*os.File)
	if !ok || !isTerminal(out) {
		return probeUnknown(errors.New("--watch: standard output is no terminal"))
	}
	run, name, err := a.watched(ctx, f)
	if err != nil {
		return probeUnknown(err)
	}
	io.WriteString(out, enterScreen)
	defer io.WriteString(out, leaveScreen)
	w := &watcher{out: out, name: name, every: f.interval, paint: colour(out), size: func() (int, int) {
		if width, height, err := term.GetSize(int(out.Fd())); err == nil {
			return width, height
		}
		return 80, 24
	}}
	return statusError(w.loop(ctx, run))
}

// watched is what a run does, and what it is about.
func (a *app) watched(ctx context.Context, f probeFlags) (func(context.Context) (probe.Report, error), string, error) {
	if f.remote.host != "" {
		t, err := a.remoteTarget(ctx, f.remote) // the password can be read once only
		return func(ctx context.Context) (probe.Report, error) {
			return probeRemote(ctx, t, f.remote.host, f.options(), f.retries), nil
		}, f.remote.host, err
	}
	cfg, err := a.config()
	if err != nil {
		return nil, "", err
	}
	return func(ctx context.Context) (probe.Report, error) { return a.localReport(ctx, f) }, cfg.Name, nil
}

// watcher redraws a screen.
type watcher struct {
	out     io.Writer
	name    string
	every   time.Duration // from the end of a run to the beginning of the next
	paint   bool
	size    func() (width, height int)
	history probe.History
}

type watchedRun struct {
	report probe.Report
	err    error
}

// loop runs and draws until ctx ends, and returns the last status.
func (w *watcher) loop(ctx context.Context, run func(context.Context) (probe.Report, error)) probe.Status {
	last := probe.Unknown
	done := make(chan watchedRun, 1)
	begin := func() {
		go func() {
			r, err := run(ctx)
			done <- watchedRun{r, err}
		}()
	}
	begin()
	running, next := true, time.Time{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		w.draw(running, next)
		select {
		case <-ctx.Done():
			return last
		case r := <-done:
			if ctx.Err() != nil {
				return last // it was cut short, and says nothing
			}
			if r.err != nil {
				r.report = probe.Stopped(w.name, "preparation", probe.KindNotRun, r.err.Error(), "")
			}
			w.history.Add(r.report, time.Now())
			last, running, next = r.report.Status, false, time.Now().Add(w.every)
		case now := <-tick.C:
			if !running && !now.Before(next) {
				begin()
				running = true
			}
		}
	}
}

// draw writes the whole screen at once, without clearing it first: it would
// flicker.
func (w *watcher) draw(running bool, next time.Time) {
	heading := w.name + "   running"
	if !running {
		heading = fmt.Sprintf("%s   next run in %.0f s", w.name, max(0, time.Until(next).Seconds()))
	}
	heading += "   (Ctrl-C ends)"
	width, height := w.size()
	var b bytes.Buffer
	b.WriteString("\x1b[H")
	for i, line := range w.history.Screen(heading, probe.TextOptions{Colour: w.paint}, width, height) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	w.out.Write(b.Bytes())
}
