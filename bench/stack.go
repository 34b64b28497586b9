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
)

// listeners are the keys of [listen].
var listeners = []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "managesieve"}

// stack is the one that is measured, made by the mailstack program.
type stack struct {
	binary, version string
	name            string
	dir             string // of everything that belongs to it
	hostname        string
	ports           map[string]int
	user, password  string // an account
}

// newStack brings up a stack, waits until it is proven, and makes an account.
func newStack(ctx context.Context, binary string, progress io.Writer) (_ *stack, err error) {
	dir, err := os.MkdirTemp("", "ms-bench-")
	if err != nil {
		return nil, err
	}
	s := &stack{binary: binary, dir: dir, name: strings.TrimPrefix(filepath.Base(dir), "ms-"), ports: map[string]int{}}
	s.hostname = "mail." + s.name + ".localhost"
	s.user, s.password = "bench@"+s.hostname, rand.Text()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove(progress))
		}
	}()
	if err := s.configure(); err != nil {
		return nil, err
	}
	if s.version, err = s.mailstack(ctx, nil, "version"); err != nil {
		return nil, err
	}
	s.version = strings.TrimPrefix(strings.TrimSpace(s.version), "mailstack ")
	fmt.Fprintf(progress, "bench: bringing up stack %s in %s\n", s.name, dir)
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"up", "--no-probe"}},
		{"", []string{"probe", "--retries", "5", "--timeout", "2m"}},
		{s.password + "\n", []string{"account", "add", s.user, "--password-stdin"}},
	} {
		if _, err := s.mailstack(ctx, []byte(step.stdin), step.args...); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *stack) config() string { return filepath.Join(s.dir, "mailstack.toml") }

// configure writes the configuration: ports that are free now.
func (s *stack) configure() error {
	var b strings.Builder
	fmt.Fprintf(&b, "name = %q\nhostname = %q\npostmaster = %q\ndata.dir = %q\nlisten.address = [\"127.0.0.1\"]\n",
		s.name, s.hostname, "me@"+s.hostname, filepath.Join(s.dir, "data"))
	for _, key := range listeners {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.ports[key] = port
		fmt.Fprintf(&b, "listen.%s = %d\n", key, port)
	}
	return os.WriteFile(s.config(), []byte(b.String()), 0o600)
}

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
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"--config", s.config()}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stdin = bytes.NewReader(stdin)
	return output(cmd)
}

// output runs a program and returns its standard output; the error of one that
// fails has all that it said.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w\n%s%s", strings.Join(cmd.Args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String(), nil
}

// remove takes the stack down with its data, also after ctx has ended.
func (s *stack) remove(progress io.Writer) error {
	fmt.Fprintf(progress, "bench: removing stack %s\n", s.name)
	_, err := s.mailstack(context.Background(), nil, "down", "--purge", "--yes")
	return errors.Join(err, os.RemoveAll(s.dir))
}
