package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Engine is a Docker Engine beside the machine's, which can be stopped and
// killed: a containerd and a dockerd with sockets and directories of their own.
// It lives in a network namespace of its own, since two engines in one would
// rewrite each other's firewall rules; what it publishes is reached from in
// there only (Dial).
type Engine struct {
	dir    string
	netns  string // name of the network namespace
	driver string // for storage
	// Daemon is dockerd, Runtime the containerd that has its containers.
	Daemon, Runtime Process
}

// NewEngine starts one in a new directory. It makes images from nothing but
// what LoadImages brings: the namespace has no way out.
func NewEngine(ctx context.Context) (_ *Engine, err error) {
	dir, err := os.MkdirTemp("", "ms-engine-")
	if err != nil {
		return nil, err
	}
	e := &Engine{dir: dir, netns: strings.TrimPrefix(filepath.Base(dir), "ms-")}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Remove(context.WithoutCancel(ctx)))
		}
	}()
	for _, args := range [][]string{
		{"ip", "netns", "add", e.netns},
		{"ip", "-n", e.netns, "link", "set", "lo", "up"},
	} {
		if _, err := Output(exec.CommandContext(ctx, args[0], args[1:]...)); err != nil {
			return nil, err
		}
	}
	// What works for the machine's engine works here.
	if e.driver, err = Docker(ctx, "info", "--format", "{{.Driver}}"); err != nil {
		return nil, err
	}
	if err := errors.Join(e.configureRuntime(), e.configureDaemon(false)); err != nil {
		return nil, err
	}
	if err := e.Runtime.Start(ctx); err != nil {
		return nil, err
	}
	return e, e.Daemon.Start(ctx)
}

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

// Host is the engine's address, for DOCKER_HOST.
func (e *Engine) Host() string { return "unix://" + e.path("docker.sock") }

// Namespace is the file that stands for the network namespace.
func (e *Engine) Namespace() string { return filepath.Join("/run/netns", e.netns) }

func (e *Engine) configureRuntime() error {
	e.Runtime = Process{
		name: "containerd",
		log:  e.path("containerd.log"),
		// nsenter, not ip netns exec, which mounts a /sys without cgroups.
		args: []string{"nsenter", "--net=" + e.Namespace(), "containerd", "--config", e.path("containerd.toml")},
		alive: func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", e.path("containerd.sock"))
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
	return os.WriteFile(e.path("containerd.toml"), fmt.Appendf(nil,
		"version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		e.path("containerd"), e.path("run/containerd"), e.path("containerd.sock")), 0o600)
}

func (e *Engine) configureDaemon(liveRestore bool) error {
	e.Daemon.name, e.Daemon.log = "dockerd", e.path("dockerd.log")
	e.Daemon.args = []string{
		"nsenter", "--net=" + e.Namespace(), "dockerd", "--config-file", e.path("daemon.json"), "--host", e.Host(),
		"--data-root", e.path("data"), "--exec-root", e.path("run/docker"), "--pidfile", e.path("dockerd.pid"),
		"--containerd", e.path("containerd.sock"),
	}
	e.Daemon.alive = func(ctx context.Context) error {
		_, err := e.Docker(ctx, "version")
		return err
	}
	data, err := json.Marshal(map[string]any{"storage-driver": e.driver, "live-restore": liveRestore})
	if err != nil {
		return err
	}
	return os.WriteFile(e.path("daemon.json"), data, 0o600)
}

// LiveRestore says whether containers are to outlive a stop of the daemon,
// which learns it at once.
func (e *Engine) LiveRestore(ctx context.Context, on bool) error {
	if err := e.configureDaemon(on); err != nil {
		return err
	}
	if err := e.Daemon.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return Eventually(ctx, time.Minute, "the engine reads its configuration", func(ctx context.Context) error {
		out, err := e.Docker(ctx, "info", "--format", "{{.LiveRestoreEnabled}}")
		if err == nil && out != fmt.Sprint(on) {
			err = fmt.Errorf("LiveRestoreEnabled is %s", out)
		}
		return err
	})
}

// Docker runs the engine's client on it.
func (e *Engine) Docker(ctx context.Context, args ...string) (string, error) {
	return Docker(ctx, append([]string{"--host", e.Host()}, args...)...)
}

// LoadImages copies images from the machine's engine.
func (e *Engine) LoadImages(ctx context.Context, refs []string) error {
	file := e.path("images.tar")
	if _, err := Docker(ctx, append([]string{"save", "--output", file}, refs...)...); err != nil {
		return err
	}
	_, err := e.Docker(ctx, "load", "--quiet", "--input", file)
	return errors.Join(err, os.Remove(file))
}

// Dial connects from inside the namespace, where address must be numeric: a
// name would be looked up by another thread.
func (e *Engine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer home.Close()
	there, err := os.Open(e.Namespace())
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("enter network namespace %s: %w", e.netns, err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if left := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); left != nil {
		// The thread stays locked, and so ends with its goroutine.
		return conn, errors.Join(err, fmt.Errorf("leave network namespace %s: %w", e.netns, left))
	}
	runtime.UnlockOSThread()
	return conn, err
}

// Crash kills the engine with everything that runs on it, as a crash of the
// machine would.
func (e *Engine) Crash(ctx context.Context) error {
	return errors.Join(e.Daemon.End(ctx, syscall.SIGKILL), e.Runtime.End(ctx, syscall.SIGKILL), e.killContainers())
}

// killContainers kills what runs in containers, and the shims that hold them:
// those that were started with our containerd's socket.
func (e *Engine) killContainers() error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var shims []int
	children := map[int][]int{}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return err
		}
		// What is gone by now needs no killing.
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		args := strings.Split(string(command), "\x00")
		if strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") && slices.Contains(args, e.path("containerd.sock")) {
			shims = append(shims, pid)
		}
		stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
		if fields := strings.Fields(rest); len(fields) > 1 { // state, parent: proc(5)
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	var errs []error
	for _, shim := range shims {
		for _, pid := range append(children[shim], shim) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, fmt.Errorf("kill process %d: %w", pid, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Remove ends everything and takes it away. Stacks are to be down already; what
// is left of one that could not be is killed.
func (e *Engine) Remove(ctx context.Context) error {
	var errs []error
	for _, p := range []*Process{&e.Daemon, &e.Runtime} {
		if p.cmd != nil {
			errs = append(errs, p.End(ctx, syscall.SIGTERM))
		}
	}
	errs = append(errs, e.killContainers())
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	errs = append(errs, err)
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], e.dir+"/") {
			// Lazily: the processes that were killed may not be gone yet.
			errs = append(errs, unix.Unmount(fields[4], unix.MNT_DETACH))
		}
	}
	_, err = Output(exec.CommandContext(ctx, "ip", "netns", "delete", e.netns))
	return errors.Join(append(errs, err, os.RemoveAll(e.dir))...)
}
