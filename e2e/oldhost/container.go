package oldhost

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// startTimeout bounds the start of a host's services: 5 s on a quiet machine.
const startTimeout = 3 * time.Minute

// endTimeout bounds the container's end, which takes half a second.
const endTimeout = time.Minute

// container is what runs a host.
type container struct {
	name string
	args []string // further ones of docker run, the image and its arguments last
}

// run starts the container and waits for its "oldhost: ready". It is attached:
// its standard input is a pipe from this process, and its end that of the
// container, whether the test removes it, fails or is killed.
func (c container) run(t T) {
	t.Helper()
	cmd := exec.Command("docker", append([]string{
		"run", "--rm", "--interactive", "--init", "--name", c.name, "--label", "mailstack.stack=" + c.name,
	}, c.args...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output := &bootLog{ready: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", c.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", c.name, output)
		}
		_ = stdin.Close()
		select {
		case <-ended:
		case <-time.After(endTimeout):
			out, err := exec.Command("docker", "rm", "--force", "--volumes", c.name).CombinedOutput()
			t.Errorf("%s did not end within %v; removed: %v: %s", c.name, endTimeout, err, out)
		}
	})
	select {
	case <-output.ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("%s ended before it was ready: %v", c.name, err)
	case <-time.After(startTimeout):
		t.Fatalf("%s is not ready after %v", c.name, startTimeout)
	case <-t.Context().Done():
		t.Fatalf("%s: %v", c.name, t.Context().Err())
	}
}

// published asks the engine for the addresses of the container's ports.
func (c container) published(t T) map[int]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "port", c.name).Output()
	if err != nil {
		t.Fatalf("ports of %s: %v", c.name, err)
	}
	addresses := map[int]string{}
	for line := range strings.Lines(string(out)) { // 143/tcp -> 127.0.0.1:32781
		inside, address, ok := strings.Cut(strings.TrimSpace(line), "/tcp -> ")
		port, err := strconv.Atoi(inside)
		if !ok || err != nil {
			t.Fatalf("ports of %s: %q", c.name, out)
		}
		addresses[port] = address
	}
	return addresses
}

// Exec runs a program on the host as root, not by ssh. It has to succeed within
// two minutes; its standard output is returned.
func (h *Host) Exec(t T, name string, args ...string) string {
	t.Helper()
	out, err := h.TryExec(t.Context(), name, args...)
	if err != nil {
		t.Fatalf("%s %s on %s: %v", name, strings.Join(args, " "), h.Name, err)
	}
	return out
}

// TryExec is Exec for what may fail: the error holds what it wrote on standard
// error.
func (h *Host) TryExec(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", slices.Concat([]string{"exec", h.Name, name}, args)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), err
}

// bootLog keeps what the container says and waits for the word.
type bootLog struct {
	mu    sync.Mutex
	text  strings.Builder
	ready chan struct{}
	heard bool
}

func (l *bootLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if !l.heard && strings.Contains(l.text.String(), "oldhost: ready\n") {
		l.heard = true
		close(l.ready)
	}
	return len(p), nil
}

func (l *bootLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
