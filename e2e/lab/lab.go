// Package lab makes stacks for programs that try one out: each with a name, a
// directory and loopback ports of its own, driven by the mailstack program as
// its users drive it, and removed at the end. The e2e suite, whose stacks live
// inside tests, has a harness of its own.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Listeners are the keys of [listen].
var Listeners = []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "managesieve"}

// Stack is one that New has configured; Up starts it.
type Stack struct {
	Binary, Version string // the mailstack program and what it says of itself
	Name            string
	Dir             string // of everything that belongs to it
	Hostname        string
	Ports           map[string]int // by Listeners
	// Engine is the engine that it runs on; nil for the machine's. It is set
	// before Up.
	Engine *Engine

	Progress io.Writer // gets a line for each step that takes long

	kind string
	keys [][2]string // dotted key, TOML value
}

// New makes a directory and a configuration with ports that are free now; kind
// begins the stack's name. Nothing runs yet.
func New(ctx context.Context, binary, kind string, progress io.Writer) (*Stack, error) {
	dir, err := os.MkdirTemp("", "ms-"+kind+"-")
	if err != nil {
		return nil, err
	}
	s := &Stack{
		Binary: binary, Dir: dir, Name: strings.TrimPrefix(filepath.Base(dir), "ms-"), Ports: map[string]int{},
		kind: kind, Progress: progress,
	}
	s.Hostname = "mail." + s.Name + ".localhost"
	err = s.configure(ctx)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Stack) configure(ctx context.Context) error {
	s.keys = [][2]string{
		{"name", quote(s.Name)},
		{"hostname", quote(s.Hostname)},
		{"postmaster", quote("me@" + s.Hostname)},
		{"data.dir", quote(s.Data())},
		{"listen.address", `["127.0.0.1"]`},
	}
	for _, key := range Listeners {
		port, err := FreePort()
		if err != nil {
			return err
		}
		s.Ports[key] = port
		s.keys = append(s.keys, [2]string{"listen." + key, fmt.Sprint(port)})
	}
	// Load comes from a few accounts; it is counted all the same.
	for _, key := range []string{"messages_per_hour", "messages_per_day", "recipients_per_hour", "recipients_per_day"} {
		s.keys = append(s.keys, [2]string{"limits." + key, "1000000"})
	}
	if err := s.write(); err != nil {
		return err
	}
	version, err := s.Run(ctx, nil, "version")
	s.Version = strings.TrimPrefix(strings.TrimSpace(version), "mailstack ")
	return err
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

// Set changes a key (dotted, "limits.message_size") to a value in TOML's
// notation and writes the configuration again.
func (s *Stack) Set(key, value string) error {
	keys := s.keys[:0:0]
	for _, k := range s.keys {
		if k[0] != key {
			keys = append(keys, k)
		}
	}
	s.keys = append(keys, [2]string{key, value})
	return s.write()
}

func (s *Stack) write() error {
	var b strings.Builder
	for _, k := range s.keys {
		fmt.Fprintf(&b, "%s = %s\n", k[0], k[1])
	}
	return os.WriteFile(s.config(), []byte(b.String()), 0o600)
}

func (s *Stack) config() string { return filepath.Join(s.Dir, "mailstack.toml") }

// Data is the stack's data.dir.
func (s *Stack) Data() string { return filepath.Join(s.Dir, "data") }

// Container is the name of a service's container.
func (s *Stack) Container(service string) string { return s.Name + "-" + service }

// Address is where a listener is dialled.
func (s *Stack) Address(listener string) string {
	return fmt.Sprintf("127.0.0.1:%d", s.Ports[listener])
}

// Up brings the stack up and waits until it is proven.
func (s *Stack) Up(ctx context.Context) error {
	fmt.Fprintf(s.Progress, "%s: bringing up stack %s in %s\n", s.kind, s.Name, s.Dir)
	if _, err := s.Run(ctx, nil, "up", "--no-probe"); err != nil {
		return err
	}
	_, err := s.Run(ctx, nil, "probe", "--retries", "5", "--timeout", "2m")
	return err
}

// AddAccount makes an account.
func (s *Stack) AddAccount(ctx context.Context, address, password string) error {
	_, err := s.Run(ctx, []byte(password+"\n"), "account", "add", address, "--password-stdin")
	return err
}

// Command is the program with the stack's configuration, yet to be run. When
// ctx ends it is interrupted, as by a person.
func (s *Stack) Command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{s.Binary, "--config", s.config()}, args...)
	if s.Engine != nil {
		args = append([]string{"env", "DOCKER_HOST=" + s.Engine.Host(), "nsenter", "--net=" + s.Engine.Namespace()}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// Run runs the program with the stack's configuration for at most 20 minutes (an
// up may have images to make) and returns its standard output; the error has all that it said.
func (s *Stack) Run(ctx context.Context, stdin []byte, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	cmd := s.Command(ctx, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	return Output(cmd)
}

// Docker runs the client of the stack's engine for at most two minutes.
func (s *Stack) Docker(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if s.Engine != nil {
		return s.Engine.Docker(ctx, args...)
	}
	return Docker(ctx, args...)
}

// Dial connects to a listener.
func (s *Stack) Dial(ctx context.Context, listener string) (net.Conn, error) {
	if s.Engine != nil {
		return s.Engine.Dial(ctx, "tcp", s.Address(listener))
	}
	return new(net.Dialer).DialContext(ctx, "tcp", s.Address(listener))
}

// Images are those that the stack's containers were made of.
func (s *Stack) Images(ctx context.Context) ([]string, error) {
	out, err := s.Docker(ctx, "ps", "--all", "--filter", "label=mailstack.stack="+s.Name, "--format", "{{.Image}}")
	if err == nil && out == "" {
		err = fmt.Errorf("list images of %s: it has no containers", s.Name)
	}
	return strings.Fields(out), err
}

// Down takes the stack down with its data.
func (s *Stack) Down(ctx context.Context) error {
	fmt.Fprintf(s.Progress, "%s: removing stack %s\n", s.kind, s.Name)
	_, err := s.Run(ctx, nil, "down", "--purge", "--yes")
	return err
}

// Remove is Down, and removes the stack's directory.
func (s *Stack) Remove(ctx context.Context) error {
	return errors.Join(s.Down(ctx), os.RemoveAll(s.Dir))
}

// Docker runs the client of the machine's engine.
func Docker(ctx context.Context, args ...string) (string, error) {
	out, err := Output(exec.CommandContext(ctx, "docker", args...))
	return strings.TrimSpace(out), err
}

// Output runs a program and returns its standard output; the error of one that
// fails has all that it said.
func Output(cmd *exec.Cmd) (string, error) {
	stdout, _, err := Outputs(cmd)
	return stdout, err
}

// Outputs is Output with standard error apart.
func Outputs(cmd *exec.Cmd) (stdout, stderr string, err error) {
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", "", fmt.Errorf("run %s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out.Bytes(), log.Bytes())
	}
	return out.String(), log.String(), nil
}

// FreePort is a port of loopback that nobody listens on, below those that the
// kernel gives to outgoing connections.
func FreePort() (int, error) {
	for range 1000 {
		port := 10000 + mrand.IntN(20000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("find a free port: none between 10000 and 30000")
}

// Pause waits for d, or less when ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Eventually asks until the answer is nil; the error quotes the last one.
func Eventually(ctx context.Context, within time.Duration, what string, ask func(context.Context) error) error {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	last := errors.New("not tried yet")
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if Pause(ctx, 200*time.Millisecond); whole.Err() != nil {
			return fmt.Errorf("%s: %w", what, whole.Err())
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: not within %v; last seen: %w", what, within, last)
		}
	}
}
