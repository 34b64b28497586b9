package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"mailstack/stack"
)

// Output rules: results go to stdout; progress, warnings and errors to stderr.
// A pipe gets one plain line when an operation ends; a terminal also sees what
// is under way, redrawn below. Nothing is ever only in the redrawn part.

// progress returns the renderer for w and a function that ends it.
func progress(w io.Writer, total int) (stack.Reporter, func()) {
	if !isTerminal(w) || !colour(w) {
		return &plainProgress{w: w, total: total}, func() {}
	}
	p := &liveProgress{plainProgress: plainProgress{w: w, total: total, paint: true}, active: map[int]*activeOp{}, stop: make(chan struct{})}
	p.done.Go(p.tick)
	return p, p.end
}

// plainProgress prints one line for each operation that ended.
type plainProgress struct {
	w     io.Writer
	total int
	count int
	paint bool
}

// Report implements stack.Reporter.
func (p *plainProgress) Report(e stack.Event) {
	switch e.Kind {
	case stack.Done:
		p.count++
		p.line("✓", "32", e)
	case stack.Failed:
		p.count++
		p.line("✗", "31", e)
	}
}

func (p *plainProgress) line(mark, colour string, e stack.Event) {
	if p.paint {
		mark = "\x1b[" + colour + "m" + mark + "\x1b[0m"
	}
	fmt.Fprintf(p.w, "%s %*d/%d  %-8s %s  %s\n", mark, len(fmt.Sprint(p.total)), p.count, p.total,
		e.Op.Action.Verb(), e.Op.Subject, seconds(e.Took))
}

// seconds prints a duration for people.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// activeOp is an operation under way.
type activeOp struct {
	op    stack.Operation
	since time.Time
	line  string
}

// liveProgress redraws what is under way below what has ended.
type liveProgress struct {
	plainProgress
	mu     sync.Mutex
	active map[int]*activeOp
	order  []int
	drawn  int // lines of the last drawing
	stop   chan struct{}
	done   sync.WaitGroup
}

// Report implements stack.Reporter.
func (p *liveProgress) Report(e stack.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	switch e.Kind {
	case stack.Started:
		p.active[e.Index] = &activeOp{op: e.Op, since: time.Now()}
		p.order = append(p.order, e.Index)
	case stack.Output:
		if a := p.active[e.Index]; a != nil {
			a.line = e.Line
		}
	default:
		delete(p.active, e.Index)
		p.plainProgress.Report(e)
	}
	p.draw()
}

// tick redraws while time passes.
func (p *liveProgress) tick() {
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.mu.Lock()
			p.erase()
			p.draw()
			p.mu.Unlock()
		}
	}
}

func (p *liveProgress) end() {
	close(p.stop)
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *liveProgress) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.w, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

func (p *liveProgress) draw() {
	width := 80
	if f, ok := p.w.(interface{ Fd() uintptr }); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			width = w
		}
	}
	for _, i := range p.order {
		a := p.active[i]
		if a == nil {
			continue
		}
		text := fmt.Sprintf("… %s %s  %s  %s", a.op.Action.Verb(), a.op.Subject, seconds(time.Since(a.since)), a.line)
		fmt.Fprintln(p.w, cut(text, width-1))
		p.drawn++
	}
}

// cut shortens a line to a width in characters.
func cut(text string, width int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	runes := []rune(text)
	if len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}
