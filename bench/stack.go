package main

import (
	"bytes"
	"context"
	"crypto/rand"
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

	layout "mailstack/stack"
)

// listeners are the keys of [listen].
var listeners = []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "managesieve"}

// stack is one that is measured, made by the mailstack program.
type stack struct {
	binary, version string
	name            string
	dir             string // of everything that belongs to it
	hostname        string
	ports           map[string]int
	user, password  string // an account
	progress        io.Writer

	ours, bare *target // once somebody asked for them
}

// newStack brings up a stack, waits until it is proven, and makes an account.
func newStack(ctx context.Context, binary string, progress io.Writer) (*stack, error) {
	s, err := makeStack(ctx, binary, progress, "")
	if err == nil {
		err = s.bringUp(ctx)
	}
	if err != nil && s != nil {
		err = errors.Join(err, s.remove())
	}
	return s, err
}

// makeStack makes a stack's configuration; toml is more of it, as dotted keys.
func makeStack(ctx context.Context, binary string, progress io.Writer, toml string) (*stack, error) {
	dir, err := os.MkdirTemp("", "ms-bench-")
	if err != nil {
		return nil, err
	}
	s := &stack{
		binary: binary, dir: dir, name: strings.TrimPrefix(filepath.Base(dir), "ms-"), ports: map[string]int{},
		progress: progress, password: rand.Text(),
	}
	s.hostname = "mail." + s.name + ".localhost"
	s.user = "bench@" + s.hostname
	if err := s.configure(toml); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if s.version, err = s.mailstack(ctx, nil, "version"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.version = strings.TrimPrefix(strings.TrimSpace(s.version), "mailstack ")
	return s, nil
}

func (s *stack) bringUp(ctx context.Context) error {
	fmt.Fprintf(s.progress, "bench: bringing up stack %s in %s\n", s.name, s.dir)
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"up", "--no-probe"}},
		{"", []string{"probe", "--retries", "5", "--timeout", "2m"}},
		{s.password + "\n", []string{"account", "add", s.user, "--password-stdin"}},
	} {
		if _, err := s.mailstack(ctx, []byte(step.stdin), step.args...); err != nil {
			return err
		}
	}
	return nil
}

// again makes another stack of the same program.
func (s *stack) again(ctx context.Context) (*stack, error) {
	return newStack(ctx, s.binary, s.progress)
}

func (s *stack) config() string { return filepath.Join(s.dir, "mailstack.toml") }

// configure writes the configuration: ports that are free now.
func (s *stack) configure(toml string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "name = %q\nhostname = %q\npostmaster = %q\ndata.dir = %q\nlisten.address = [\"127.0.0.1\"]\n",
		s.name, s.hostname, "me@"+s.hostname, s.data())
	for _, key := range listeners {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.ports[key] = port
		fmt.Fprintf(&b, "listen.%s = %d\n", key, port)
	}
	return os.WriteFile(s.config(), []byte(b.String()+toml), 0o600)
}

// data is the stack's directory.
func (s *stack) data() string { return filepath.Join(s.dir, "data") }

// container is the name of a service's container.
func (s *stack) container(service string) string { return s.name + "-" + service }

// layout says where things of the stack are.
func (s *stack) layout() layout.Layout { return layout.Layout{Dir: s.data()} }

// freePort is a port of loopback that nobody listens on, below those that the
// kernel gives to outgoing connections.
func freePort() (int, error) {
	for range 1000 {
		port := 10000 + mrand.IntN(20000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("find a free port: none between 10000 and 30000")
}

// mailstack runs the program with the stack's configuration; the error has
// what it said.
func (s *stack) mailstack(ctx context.Context, stdin []byte, args ...string) (string, error) {
	stdout, _, err := s.told(ctx, stdin, args...)
	return stdout, err
}

// told is mailstack with what it wrote to standard error.
func (s *stack) told(ctx context.Context, stdin []byte, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"--config", s.config()}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stdin = bytes.NewReader(stdin)
	return outputs(cmd)
}

// docker runs the engine's own client.
func docker(ctx context.Context, args ...string) (string, error) {
	out, err := output(exec.CommandContext(ctx, "docker", args...))
	return strings.TrimSpace(out), err
}

// output runs a program and returns its standard output; the error of one that
// fails has all that it said.
func output(cmd *exec.Cmd) (string, error) {
	stdout, _, err := outputs(cmd)
	return stdout, err
}

func outputs(cmd *exec.Cmd) (stdout, stderr string, err error) {
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		return "", "", fmt.Errorf("run %s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out.Bytes(), errors.Bytes())
	}
	return out.String(), errors.String(), nil
}

// remove takes the stack down with its data, and what was started beside it,
// also after a context has ended.
func (s *stack) remove() error {
	fmt.Fprintf(s.progress, "bench: removing stack %s\n", s.name)
	_, err := s.mailstack(context.Background(), nil, "down", "--purge", "--yes")
	return errors.Join(err, s.removeBare(context.Background()), os.RemoveAll(s.dir))
}
