package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a cancelled tool may unmount and remove what it made
// before it is killed.
const stopGrace = 20 * time.Second

// keptLines is how much of a failed tool's output an error quotes.
const keptLines = 10

// CommandError is a program that could not be run or failed.
type CommandError struct {
	Name   string
	Err    error    // *exec.ExitError, or ctx's error
	Output []string // its last lines
}

func (e *CommandError) Error() string {
	msg := fmt.Sprintf("%s: %v", e.Name, e.Err)
	if len(e.Output) > 0 {
		msg += "; its last words:\n  " + strings.Join(e.Output, "\n  ")
	}
	return msg
}

func (e *CommandError) Unwrap() error { return e.Err }

// command is a child process whose error output goes to a function line by
// line.
type command struct {
	*exec.Cmd
	ctx   context.Context
	lines *lineWriter
}

// newCommand prepares a child in a process group of its own: Ctrl-C in the
// terminal reaches it once, by way of ctx, and its children with it.
func newCommand(ctx context.Context, tool string, args []string, progress func(string)) *command {
	c := &command{exec.CommandContext(ctx, tool, args...), ctx, &lineWriter{progress: progress}}
	c.Stderr = c.lines
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = stopGrace
	return c
}

// wait is Wait with a telling error.
func (c *command) wait() error { return c.explain(c.Wait()) }

func (c *command) explain(err error) error {
	if err == nil {
		return nil
	}
	if cause := c.ctx.Err(); cause != nil {
		err = cause
	}
	c.lines.flush()
	return &CommandError{Name: filepath.Base(c.Path), Err: err, Output: c.lines.last}
}

// run starts the child and waits for it.
func (c *command) run() error {
	if err := c.Start(); err != nil {
		return c.explain(err)
	}
	return c.wait()
}

// archiveReader is the standard output of a child. The end of the output is
// not the end of the archive before the child has said that it succeeded.
type archiveReader struct {
	cmd     *command
	stdout  io.Reader
	cleanup func() error // may be nil
	done    bool         // the child was waited for
	err     error        // what reading ends with, once done
}

var errUnfinished = errors.New("closed before the archive's end")

func startArchive(cmd *command, cleanup func() error) (io.ReadCloser, error) {
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		err = cmd.explain(err)
		if cleanup != nil {
			err = errors.Join(err, cleanup())
		}
		return nil, err
	}
	return &archiveReader{cmd: cmd, stdout: stdout, cleanup: cleanup}, nil
}

// Read returns io.EOF only after the child has succeeded.
func (a *archiveReader) Read(p []byte) (int, error) {
	if a.done {
		return 0, a.err
	}
	n, err := a.stdout.Read(p)
	if err == nil {
		return n, nil
	}
	a.done = true
	a.err = a.cmd.wait()
	if a.err == nil {
		a.err = err
	}
	return n, a.err
}

// Close stops the child if it still runs and removes what it left. Its error is
// the child's; a reader that gave up early gets none.
func (a *archiveReader) Close() error {
	var err error
	switch {
	case !a.done:
		a.done, a.err = true, errUnfinished
		_ = a.cmd.Cancel() // it may have ended by itself
		// Its error is that it was stopped, which is no news; but who cancelled
		// the context is told so.
		if failed := a.cmd.wait(); a.cmd.ctx.Err() != nil {
			err = failed
		}
	case !errors.Is(a.err, io.EOF) && !errors.Is(a.err, errUnfinished):
		err = a.err
	}
	if a.cleanup != nil {
		err = errors.Join(err, a.cleanup())
		a.cleanup = nil
	}
	return err
}

// lineWriter passes on whole lines and remembers the last ones. A carriage
// return ends a line too, as progress bars are drawn.
type lineWriter struct {
	progress func(string)
	partial  []byte
	last     []string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.partial = append(w.partial, p...)
	for {
		i := bytes.IndexAny(w.partial, "\r\n")
		if i < 0 {
			return len(p), nil
		}
		w.line(w.partial[:i])
		w.partial = w.partial[i+1:]
	}
}

func (w *lineWriter) flush() {
	w.line(w.partial)
	w.partial = nil
}

func (w *lineWriter) line(b []byte) {
	line := strings.TrimSpace(string(b))
	if line == "" {
		return
	}
	w.last = append(w.last, line)
	if len(w.last) > keptLines {
		w.last = w.last[1:]
	}
	if w.progress != nil {
		w.progress(line)
	}
}
