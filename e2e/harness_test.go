package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// listeners are the keys of [listen], all of which every stack has.
var listeners = []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "managesieve"}

// Stack is a stack with a configuration file of its own.
type Stack struct {
	name   string
	host   string // its hostname; empty: one below localhost
	dir    string // its data.dir is dir/data, its file dir/mailstack.toml
	ports  map[string]int
	keys   [][2]string // dotted key, TOML value
	extra  string      // TOML after them
	caOnce sync.Once
	ca     []byte
}

// result is what a program answered.
type result struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit status %d after %v\nstdout:\n%s\nstderr:\n%s", r.code, r.took.Round(time.Millisecond), r.stdout, r.stderr)
}

var (
	sharedOnce  sync.Once
	sharedTold  sync.Once
	sharedStack *Stack
	sharedUp    result                   // of the first up, probe included
	upSlots     = make(chan struct{}, 1) // two cores: an up and its proof want them to themselves
	firstUp     sync.Mutex
	imagesMade  bool
	allocated   = map[int]bool{}
	allocating  sync.Mutex
	stackNumber int
)

// shared is the stack of all tests that leave it as it is: they make accounts
// and domains of their own and may run in parallel.
func shared(t *testing.T) *Stack {
	t.Helper()
	sharedOnce.Do(func() {
		s := makeStack(t, "")
		sharedStack = s
		sharedUp = s.runIn(t.Context(), nil, "up")
	})
	if sharedUp.code == 0 {
		sharedStack.logsOnFailure(t)
		return sharedStack
	}
	sharedTold.Do(func() {
		sharedStack.logsOnFailure(t)
		t.Fatalf("up of the shared stack: %v", sharedUp)
	})
	t.Fatal("the shared stack is not up: the first test says why")
	return nil
}

// downShared ends the shared stack as its owner would.
func downShared() error {
	if sharedStack == nil {
		return nil
	}
	r := sharedStack.runIn(context.Background(), nil, "down", "--purge", "--yes")
	if r.code != 0 {
		return fmt.Errorf("down --purge of the shared stack: %v", r)
	}
	if _, err := os.Stat(sharedStack.data()); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("down --purge left %s behind (%v)", sharedStack.data(), err)
	}
	return nil
}

// newStack is a stack of the test's own, which is not up yet. extraTOML comes
// after the harness's keys, which are dotted (data.dir, listen.smtp): so it may
// hold further dotted keys and, after them, whole [tables] but [data] and
// [listen].
func newStack(t *testing.T, extraTOML string) *Stack {
	t.Helper()
	s := makeStack(t, extraTOML)
	t.Cleanup(func() { sweep(s.name, s.dir) })
	s.logsOnFailure(t) // before the line above: clean-ups run backwards
	return s
}

// newSmallStack is newStack without the filter, for tests whose subject has nothing
// to do with it: two containers fewer start, and the processors have other tests to
// run.
func newSmallStack(t *testing.T) *Stack {
	t.Helper()
	s := newStack(t, "")
	s.set(t, "filter.enabled", "false")
	return s
}

func makeStack(t *testing.T, extraTOML string) *Stack {
	t.Helper()
	run := os.Getenv(runVar)
	allocating.Lock()
	stackNumber++
	id := fmt.Sprint(stackNumber)
	allocating.Unlock()
	s := &Stack{
		name:  namePrefix(run) + id,
		dir:   dirPrefix(run) + id,
		ports: map[string]int{},
		extra: extraTOML,
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.keys = [][2]string{
		{"name", quote(s.name)},
		{"hostname", quote(s.hostname())},
		{"postmaster", quote(s.postmaster())},
		{"data.dir", quote(s.data())},
		{"listen.address", `["127.0.0.1", "::1"]`},
	}
	for _, key := range listeners {
		s.ports[key] = freePort(t)
		s.keys = append(s.keys, [2]string{"listen." + key, fmt.Sprint(s.ports[key])})
	}
	s.write(t)
	return s
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

// freePort finds a port that is free on both loopback addresses. It is below
// the range from which the kernel gives ports to outgoing connections.
func freePort(t *testing.T) int {
	t.Helper()
	allocating.Lock()
	defer allocating.Unlock()
	for range 1000 {
		port := 10000 + mrand.IntN(20000)
		if allocated[port] || !bindable("127.0.0.1", port) || !bindable("::1", port) {
			continue
		}
		allocated[port] = true
		return port
	}
	t.Fatal("no free port between 10000 and 30000")
	return 0
}

func bindable(address string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(address, fmt.Sprint(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// set changes a key (dotted, "limits.message_size") to a value in TOML's
// notation and writes the file again; "" takes the key out.
func (s *Stack) set(t *testing.T, key, value string) {
	t.Helper()
	keys := s.keys[:0:0]
	for _, k := range s.keys {
		if k[0] != key {
			keys = append(keys, k)
		}
	}
	if value != "" {
		keys = append(keys, [2]string{key, value})
	}
	s.keys = keys
	s.write(t)
}

func (s *Stack) write(t *testing.T) {
	t.Helper()
	var b strings.Builder
	for _, k := range s.keys {
		fmt.Fprintf(&b, "%s = %s\n", k[0], k[1])
	}
	b.WriteString(s.extra)
	if err := os.WriteFile(s.config(), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Stack) config() string     { return filepath.Join(s.dir, "mailstack.toml") }
func (s *Stack) data() string       { return filepath.Join(s.dir, "data") }
func (s *Stack) hostname() string   { return cmp.Or(s.host, "mail."+s.name+".localhost") }
func (s *Stack) postmaster() string { return "me@" + s.hostname() }

// container is the name of a service's container.
func (s *Stack) container(service string) string { return s.name + "-" + service }

// port is the port that a key of [listen] has in this stack.
func (s *Stack) port(key string) int {
	port, ok := s.ports[key]
	if !ok {
		panic("no listener " + key)
	}
	return port
}

// addr is where a listener is dialled.
func (s *Stack) addr(key string) string { return fmt.Sprintf("127.0.0.1:%d", s.port(key)) }

// run runs mailstack with this stack's file.
func (s *Stack) run(t *testing.T, args ...string) result {
	t.Helper()
	return s.runIn(t.Context(), nil, args...)
}

// runInput is run with something on standard input.
func (s *Stack) runInput(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return s.runIn(t.Context(), []byte(stdin), args...)
}

// mustRun is run for what has to succeed; it returns standard output.
func (s *Stack) mustRun(t *testing.T, args ...string) string {
	t.Helper()
	r := s.run(t, args...)
	if r.code != 0 {
		t.Fatalf("mailstack %s: %v", strings.Join(args, " "), r)
	}
	return r.stdout
}

// up is `mailstack up`, which has to succeed.
func (s *Stack) up(t *testing.T, args ...string) result {
	t.Helper()
	r := s.run(t, append([]string{"up"}, args...)...)
	if r.code != 0 {
		t.Fatalf("mailstack up %s: %v", strings.Join(args, " "), r)
	}
	return r
}

func (s *Stack) runIn(ctx context.Context, stdin []byte, args ...string) result {
	limit := time.Minute
	if len(args) > 0 && args[0] == "migrate" {
		limit = 5 * time.Minute
	}
	if len(args) > 0 && args[0] == "up" {
		limit = 5 * time.Minute
		// The images are built once, not by several at a time.
		firstUp.Lock()
		if imagesMade {
			firstUp.Unlock()
			upSlots <- struct{}{}
			defer func() { <-upSlots }()
		} else {
			defer firstUp.Unlock()
			defer func() { imagesMade = true }()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return program(ctx, stdin, os.Getenv(binaryVar), append([]string{"--config", s.config()}, args...)...)
}

// program runs any program; one that cannot be run or does not end in time has
// the code -1.
func program(ctx context.Context, stdin []byte, name string, args ...string) result {
	return runCommand(ctx, exec.CommandContext(ctx, name, args...), stdin)
}

// runCommand is program for a command that was made with ctx.
func runCommand(ctx context.Context, cmd *exec.Cmd, stdin []byte) result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	began := time.Now()
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(began)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		r.code, r.stderr = -1, r.stderr+"\nno end: "+ctx.Err().Error()
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		r.code, r.stderr = -1, r.stderr+"\n"+err.Error()
	}
	return r
}

// exec runs a command in a service's container as root, and gives its standard
// output and error together.
func (s *Stack) exec(t *testing.T, service string, cmd ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := program(ctx, nil, "docker", append([]string{"exec", "-u", "0", s.container(service)}, cmd...)...)
	return r.stdout + r.stderr, r.code
}

// docker runs the engine's own client, which has to succeed.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := program(ctx, nil, "docker", args...)
	if r.code != 0 {
		t.Fatalf("docker %s: %v", strings.Join(args, " "), r)
	}
	return strings.TrimSpace(r.stdout)
}

// account makes a new account in the stack's own domain, with a quota ("10MiB")
// if one is given.
func (s *Stack) account(t *testing.T, quota ...string) (address, password string) {
	t.Helper()
	address = "u" + randomHex(4) + "@" + s.hostname()
	return address, s.accountNamed(t, address, quota...)
}

// accountNamed makes an account and gives its password.
func (s *Stack) accountNamed(t *testing.T, address string, quota ...string) (password string) {
	t.Helper()
	password = "pw-" + randomHex(8)
	args := []string{"account", "add", address, "--password-stdin"}
	if len(quota) > 0 {
		args = append(args, "--quota", quota[0])
	}
	if r := s.runInput(t, password+"\n", args...); r.code != 0 {
		t.Fatalf("account add %s: %v", address, r)
	}
	return password
}

// domain adds a new domain.
func (s *Stack) domain(t *testing.T) string {
	t.Helper()
	name := "d" + randomHex(4) + ".example"
	s.mustRun(t, "domain", "add", name)
	return name
}

func (s *Stack) logsOnFailure(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		r := s.runIn(context.Background(), nil, "logs", "-n", "60")
		t.Logf("logs of %s:\n%s%s", s.name, r.stdout, r.stderr)
	})
}

// waitUntil asks again and again until done; seen is what the failure quotes.
func waitUntil(t *testing.T, within time.Duration, what string, ask func() (done bool, seen string)) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		done, seen := ask()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v; last seen: %s", what, within, seen)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v; last seen: %s", what, t.Context().Err(), seen)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
