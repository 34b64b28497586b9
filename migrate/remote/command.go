package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode"
)

const (
	// What a program may write before it is stopped.
	defaultMaxOutput = 64 << 20

	// How much of standard error is kept, its end.
	keptStderr = 8 << 10

	// How long the pipes of a killed ssh may stay open.
	pipeGrace = 2 * time.Second

	exitNotFound = 127 // of the shell, POSIX 2.8.2
	exitSSH      = 255 // of ssh itself (ssh(1))
)

// Command is a program that will run on the host. Its fields may be set before
// it runs, which it does once.
type Command struct {
	// Slot is the connection it uses.
	Slot int
	// Stdin is what it reads; nil: nothing. A Script has its own.
	Stdin io.Reader
	// MaxOutput is how many bytes it may write to standard output before it is
	// stopped; 0: 64 MiB for Output, any number for Stream.
	MaxOutput int64

	host *Host
	ctx  context.Context
	name string
	line string // for the login shell there
}

// Command is a program with its arguments, which reach it as they are, through
// the login shell there: a POSIX shell, and what holds no special characters
// through any.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Command {
	line := Quote(append([]string{name}, args...)...)
	if h.opts.Sudo {
		line = "sudo -n -- " + line
	}
	return &Command{host: h, ctx: ctx, name: name, line: "exec " + line}
}

// Script is a POSIX shell script with its arguments ($1, $2, …). Both are sent
// by standard input, so that neither a list of processes nor the login shell
// sees them: secrets may be in them. What the script runs has an empty standard
// input.
func (h *Host) Script(ctx context.Context, script string, args ...string) *Command {
	line := "exec sh -s"
	if h.opts.Sudo {
		line = "exec sudo -n -- sh -s"
	}
	// A function is read whole before it runs: a script that was cut off does
	// nothing.
	text := "LC_ALL=C PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin\nexport LC_ALL PATH\n" +
		"script() {\n" + script + "\n}\nset -- " + Quote(args...) + "\nscript \"$@\" </dev/null\nexit $?\n"
	return &Command{host: h, ctx: ctx, name: "script", line: line, Stdin: strings.NewReader(text)}
}

// Output runs the command and returns what it wrote to standard output. Its
// errors are *ConnectError, *SudoError, *NotFoundError, *ExitError, *LimitError
// or the context's; with an *ExitError the output is there, too.
func (c *Command) Output() ([]byte, error) {
	if c.MaxOutput == 0 {
		c.MaxOutput = defaultMaxOutput
	}
	stream, err := c.Stream()
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(stream)
	return out, errors.Join(err, stream.Close())
}

// Stream starts the command; its standard output is to be read. Reading gives
// io.EOF only when the program has succeeded, and Output's errors otherwise.
// Close stops it if it still runs.
func (c *Command) Stream() (io.ReadCloser, error) {
	if err := c.host.Open(c.ctx, c.Slot); err != nil {
		return nil, err
	}
	args := append(c.host.options(c.Slot, false), "-T", "--", c.host.opts.Target, c.line)
	cmd := c.host.ssh(c.ctx, args)
	cmd.Stdin = c.Stdin
	said := &tail{}
	cmd.Stderr = said
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, &ConnectError{Target: c.host.opts.Target, Reason: NoProgram, Err: err}
	}
	return &stream{command: c, cmd: cmd, stdout: stdout, said: said}, nil
}

// ssh prepares the program, in a process group of its own that ends with the
// context: ssh's own children (ProxyCommand) with it. SIGKILL, as nothing here
// has anything to put in order.
func (h *Host) ssh(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.opts.Program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeGrace
	return cmd
}

// connect logs in. Where ssh may ask it needs the terminal, which belongs to
// our process group, and is ended gently: it puts the echo back.
func (h *Host) connect(ctx context.Context, args []string) error {
	cmd := h.ssh(ctx, args)
	if h.opts.Ask {
		cmd.SysProcAttr = nil
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	}
	said := &tail{}
	cmd.Stderr = said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("connect to %s: %w", h.opts.Target, cause)
	}
	failure := &ConnectError{Target: h.opts.Target, Said: said.last(), Err: err, opts: h.opts}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if failure.Reason, _ = reasonOf(said.String()); failure.Reason == Lost {
			failure.Reason = Unreachable // there was none yet
		}
	} else {
		failure.Reason = NoProgram
	}
	return failure
}

// explain puts the end of the command into one of the package's errors.
func (c *Command) explain(err error, stderr *tail) error {
	if err == nil {
		return nil
	}
	target := c.host.opts.Target
	if cause := c.ctx.Err(); cause != nil {
		return fmt.Errorf("run %s on %s: %w", c.name, target, cause)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return &ConnectError{Target: target, Reason: Lost, Said: stderr.last(), Err: err}
	}
	status, said := exit.ExitCode(), stderr.last()
	switch {
	case status == exitSSH || status < 0:
		// A program can exit with 255 as well. ssh says why it does, but for a
		// connection that ended under a shared session (mux.c).
		if reason, found := reasonOf(stderr.String()); found || said == "" || status < 0 {
			if reason == Unreachable {
				reason = Lost // it could be reached before
			}
			return &ConnectError{Target: target, Reason: reason, Said: said, Err: err}
		}
	case c.host.opts.Sudo && strings.HasPrefix(said, "sudo: ") && !strings.HasPrefix(said, "sudo: unable to resolve host"):
		if strings.HasSuffix(said, ": command not found") {
			return &NotFoundError{Host: target, Name: c.name}
		}
		return &SudoError{Host: target, Said: strings.TrimPrefix(said, "sudo: ")}
	case status == exitNotFound && c.host.opts.Sudo && strings.Contains(said, "sudo"):
		return &NotFoundError{Host: target, Name: "sudo"}
	case status == exitNotFound && c.name != "script":
		return &NotFoundError{Host: target, Name: c.name}
	}
	return &ExitError{Host: target, Name: c.name, Status: status, Said: said}
}

// stream is the standard output of a running command.
type stream struct {
	command *Command
	cmd     *exec.Cmd
	stdout  io.Reader
	said    *tail
	got     int64
	done    bool  // it was waited for
	err     error // what reading ends with, once done
}

func (s *stream) Read(p []byte) (int, error) {
	if s.done {
		return 0, s.err
	}
	n, err := s.stdout.Read(p)
	s.got += int64(n)
	if limit := s.command.MaxOutput; limit > 0 && s.got > limit {
		s.stop()
		s.err = &LimitError{Host: s.command.host.opts.Target, Name: s.command.name, Bytes: limit}
		return 0, s.err
	}
	if err == nil {
		return n, nil
	}
	s.done = true
	s.err = s.command.explain(s.cmd.Wait(), s.said)
	if s.err == nil {
		s.err = io.EOF
	}
	return n, s.err
}

// Close stops the command, if it still runs. It returns no error of a command
// that was read to its end: Read did.
func (s *stream) Close() error {
	if !s.done {
		s.stop()
		s.err = os.ErrClosed
	}
	return nil
}

func (s *stream) stop() {
	s.done = true
	_ = s.cmd.Cancel() // it may have ended by itself
	_ = s.cmd.Wait()
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-keptStderr):]...)
	t.kept = bytes.Clone(t.kept[max(0, len(t.kept)-keptStderr):])
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }

func (t *tail) last() string { return lastLine(string(t.kept)) }

// lastLine is the last line with something on it, fit to be shown.
func lastLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := len(lines) - 1; i >= 0; i-- {
		if line := Printable(lines[i]); line != "" {
			return line
		}
	}
	return ""
}

// maxShown is how many characters of a text of another host are shown.
const maxShown = 300

// Printable makes a text of another host fit to be shown in one line: without
// what a terminal would obey, and not too long.
func Printable(text string) string {
	line := strings.TrimSpace(Visible(text[:min(len(text), 8*maxShown)]))
	if runes := []rune(line); len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return line
}

// Visible is a text without what a terminal would obey, in one line.
func Visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
