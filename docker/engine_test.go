package docker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailstack/docker"
	"mailstack/stack"
)

func TestInfo(t *testing.T) {
	info, err := connect(t).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Version == "" || info.APIVersion == "" || info.Host == "" || info.OSType != "linux" || info.RootDir == "" {
		t.Errorf("incomplete: %+v", info)
	}
}

// TestLife: create, start, stop, restart, remove, and what is seen of each.
func TestLife(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	spec.Labels["odd"] = "a=b, \"c\"\n"
	spec.Restart = "always"
	create(t, engine, spec)

	c := inspect(t, engine, spec.Name)
	if c.State != "created" || c.Image != box.ref || !c.StartedAt.IsZero() || c.HealthStatus != "" {
		t.Errorf("created: %+v", c)
	}
	if diff := cmp.Diff(spec.Labels, c.Labels); diff != "" {
		t.Error("labels:", diff)
	}
	if err := engine.CreateContainer(t.Context(), spec); !errors.Is(err, stack.ErrConflict) {
		t.Errorf("second container of the same name: %v", err)
	}

	for range 2 { // the second is no error
		if err := engine.StartContainer(t.Context(), spec.Name); err != nil {
			t.Fatal(err)
		}
	}
	if c = inspect(t, engine, spec.Name); c.State != "running" || time.Since(c.StartedAt).Abs() > time.Minute {
		t.Errorf("started: %+v", c)
	}
	awaitReady(t, engine, spec.Name, 1)
	if err := engine.RestartContainer(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, engine, spec.Name, 2)
	if again := inspect(t, engine, spec.Name); again.State != "running" || !again.StartedAt.After(c.StartedAt) {
		t.Errorf("restarted: %+v, started before at %v", again, c.StartedAt)
	}
	for range 2 {
		if err := engine.StopContainer(t.Context(), spec.Name); err != nil {
			t.Fatal(err)
		}
	}
	if c = inspect(t, engine, spec.Name); c.State != "exited" || c.ExitCode != 0 {
		t.Errorf("stopped: %+v", c)
	}
	if err := engine.StartContainer(t.Context(), spec.Name); err != nil {
		t.Fatal(err)
	}
	if err := engine.RemoveContainer(t.Context(), spec.Name); err != nil { // running
		t.Fatal(err)
	}
	if _, err := engine.Container(t.Context(), spec.Name); !errors.Is(err, stack.ErrNotFound) {
		t.Errorf("after its removal: %v", err)
	}
}

// TestStopGrace: a container that needs longer than its grace is killed then,
// and one that needs less is not.
func TestStopGrace(t *testing.T) {
	engine := connectWithBox(t)
	for _, c := range []struct {
		grace    time.Duration
		exitCode int
	}{{500 * time.Millisecond, 137}, {15 * time.Second, 0}} {
		spec := newSpec("linger", "2")
		spec.StopGrace = c.grace
		start(t, engine, spec)
		awaitReady(t, engine, spec.Name, 1)
		if err := engine.StopContainer(t.Context(), spec.Name); err != nil {
			t.Fatal(err)
		}
		if got := inspect(t, engine, spec.Name); got.ExitCode != c.exitCode {
			t.Errorf("grace of %s: exit code %d, want %d", c.grace, got.ExitCode, c.exitCode)
		}
	}
}

func TestNotFound(t *testing.T) {
	engine := connectWithBox(t)
	ctx, none := t.Context(), prefix+"none"
	lost := newSpec("stay")
	lost.Image = none + ":1"
	for what, call := range map[string]func() error{
		"image":             func() error { _, err := engine.Image(ctx, none+":1"); return err },
		"tag image":         func() error { return engine.TagImage(ctx, none+":1", none+":2") },
		"remove image":      func() error { return engine.RemoveImage(ctx, none+":1") },
		"create container":  func() error { return engine.CreateContainer(ctx, lost) },
		"container":         func() error { _, err := engine.Container(ctx, none); return err },
		"start container":   func() error { return engine.StartContainer(ctx, none) },
		"stop container":    func() error { return engine.StopContainer(ctx, none) },
		"restart container": func() error { return engine.RestartContainer(ctx, none) },
		"remove container":  func() error { return engine.RemoveContainer(ctx, none) },
		"wait container":    func() error { _, err := engine.WaitContainer(ctx, none); return err },
		"exec": func() error {
			_, err := engine.Exec(ctx, none, stack.ExecSpec{Command: []string{"/box"}})
			return err
		},
		"logs":           func() error { return engine.Logs(ctx, none, stack.LogSpec{}, io.Discard, io.Discard) },
		"network":        func() error { _, err := engine.Network(ctx, none); return err },
		"remove network": func() error { return engine.RemoveNetwork(ctx, none) },
	} {
		if err := call(); !errors.Is(err, stack.ErrNotFound) || errors.Is(err, stack.ErrConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestNameIsNoID: the beginning of an ID, which the engine would take, names
// nothing here.
func TestNameIsNoID(t *testing.T) {
	engine := connectWithBox(t)
	spec := newSpec("stay")
	create(t, engine, spec)
	id := inspect(t, engine, spec.Name).ID
	if c, err := engine.Container(t.Context(), id[:12]); !errors.Is(err, stack.ErrNotFound) {
		t.Errorf("found %s by the beginning of its ID: %v", c.Name, err)
	}
}

// TestHardening looks from inside at what createOptions promises.
func TestHardening(t *testing.T) {
	engine := connectWithBox(t)
	source := t.TempDir()
	spec := newSpec("stay")
	spec.Capabilities = []string{"CHOWN"}
	spec.PidsLimit, spec.MemoryBytes = 64, 64<<20
	spec.Tmpfs = []stack.Tmpfs{{Target: "/tmp", Options: "exec,size=1m,mode=1777"}}
	spec.Mounts = []stack.Mount{{Source: source, Target: "/rw"}, {Source: source, Target: "/ro", ReadOnly: true}}
	start(t, engine, spec)

	status := run(t, engine, spec.Name, "show", "/proc/1/status")
	for _, want := range []string{"CapPrm:\t0000000000000001", "CapBnd:\t0000000000000001", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process lacks %q:\n%s", want, status)
		}
	}
	if limits := run(t, engine, spec.Name, "show", "/proc/1/limits"); !regexp.MustCompile(`Max open files +16384 +16384 `).MatchString(limits) {
		t.Errorf("limits:\n%s", limits)
	}
	for path, want := range map[string]int{"/rw/file": 0, "/tmp/file": 0, "/file": 1, "/ro/other": 1} {
		result, err := engine.Exec(t.Context(), spec.Name, stack.ExecSpec{Command: []string{"/box", "write", path}})
		if err != nil || result.ExitCode != want {
			t.Errorf("write %s: exit code %d, %v %s", path, result.ExitCode, err, result.Stderr)
		}
	}
	if got := run(t, engine, spec.Name, "show", "/ro/file"); got != "written\n" {
		t.Errorf("read through the read-only mount: %q", got)
	}
	for line := range strings.Lines(run(t, engine, spec.Name, "show", "/proc/mounts")) {
		if fields := strings.Fields(line); fields[1] == "/tmp" {
			for _, option := range []string{"nosuid", "nodev", "noexec", "size=1024k"} {
				if !slices.Contains(strings.Split(fields[3], ","), option) {
					t.Errorf("/tmp lacks %s: %s", option, line)
				}
			}
		}
	}
	want := []stack.Mount{{Source: source, Target: "/ro", ReadOnly: true}, {Source: source, Target: "/rw"}}
	if diff := cmp.Diff(want, inspect(t, engine, spec.Name).Mounts); diff != "" {
		t.Error("mounts:", diff)
	}
}

// TestMissingSource: a source that is not there is an error and stays away,
// when the container is made and when it is started.
func TestMissingSource(t *testing.T) {
	engine := connectWithBox(t)
	source := filepath.Join(t.TempDir(), "not-mounted")
	spec := newSpec("stay")
	spec.Mounts = []stack.Mount{{Source: source, Target: "/data"}}
	if err := engine.CreateContainer(t.Context(), spec); err == nil || !strings.Contains(err.Error(), source) {
		t.Errorf("create: %v", err)
	}
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	create(t, engine, spec)
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	if err := engine.StartContainer(t.Context(), spec.Name); err == nil || !strings.Contains(err.Error(), source) {
		t.Errorf("start: %v", err)
	}
	if _, err := os.Stat(source); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the source has been made: %v", err)
	}
}

// TestContainersOfAStack: those of the stack, by name, and quickly.
func TestContainersOfAStack(t *testing.T) {
	engine := connectWithBox(t)
	name := prefix + randomName()
	var want []string
	for _, service := range []string{"postfix", "dovecot", "mysql"} {
		spec := newSpec("stay")
		spec.Name, spec.Labels = name+"-"+service, map[string]string{stack.LabelStack: name}
		start(t, engine, spec)
		want = append(want, spec.Name)
	}
	create(t, engine, newSpec("stay")) // of another stack
	slices.Sort(want)

	var got []string
	began := time.Now()
	containers, err := engine.Containers(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("looking at three containers took %s", time.Since(began))
	for _, c := range containers {
		got = append(got, c.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if all, err := engine.Containers(t.Context(), ""); err != nil || len(all) < 4 {
		t.Errorf("%d containers of all stacks: %v", len(all), err)
	}
	if none, err := engine.Containers(t.Context(), prefix+"none"); err != nil || len(none) != 0 {
		t.Errorf("containers of no stack: %v, %v", none, err)
	}
}

func TestHealth(t *testing.T) {
	engine := connectWithBox(t)
	source := t.TempDir()
	spec := newSpec("stay")
	spec.Mounts = []stack.Mount{{Source: source, Target: "/data", ReadOnly: true}}
	spec.Health = &stack.Health{
		Command: []string{"/box", "health", "/data/ready"}, Interval: 200 * time.Millisecond,
		Timeout: 5 * time.Second, Retries: 1,
	}
	start(t, engine, spec)
	sick := await(t, engine, spec.Name, "unhealthy", func(c stack.Container) bool { return c.HealthStatus == "unhealthy" })
	if sick.HealthOutput != "waiting for /data/ready" {
		t.Errorf("health output %q", sick.HealthOutput)
	}
	if err := os.WriteFile(filepath.Join(source, "ready"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	well := await(t, engine, spec.Name, "healthy", func(c stack.Container) bool { return c.HealthStatus == "healthy" })
	if well.HealthOutput != "fine" {
		t.Errorf("health output %q", well.HealthOutput)
	}
}

func TestPublishedPorts(t *testing.T) {
	engine := connectWithBox(t)
	network := newNetwork(t, engine)
	spec := newSpec("serve", "25")
	spec.Network = network
	spec.Ports = []stack.Port{{Address: netip.MustParseAddr("127.0.0.1"), Container: 25}}
	start(t, engine, spec)

	c := inspect(t, engine, spec.Name)
	if len(c.Ports) != 1 || c.Ports[0].Host == 0 {
		t.Fatalf("ports %+v", c.Ports)
	}
	address := netip.AddrPortFrom(c.Ports[0].Address, c.Ports[0].Host)
	if greeting := dial(t, address); greeting != "hello\n" {
		t.Errorf("greeting %q", greeting)
	}
	if end := c.Networks[network]; !end.Address.Is4() || !end.Gateway.Is4() {
		t.Errorf("place in the network: %+v", c.Networks)
	}

	t.Run("taken by a container", func(t *testing.T) {
		rival := newSpec("serve", "25")
		rival.Network = network
		rival.Ports = []stack.Port{{Address: address.Addr(), Host: address.Port(), Container: 25}}
		create(t, engine, rival)
		assertPortError(t, engine.StartContainer(t.Context(), rival.Name), address)
	})
	t.Run("taken by a process", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		taken := netip.MustParseAddrPort(listener.Addr().String())
		rival := newSpec("serve", "25")
		rival.Network = network
		rival.Ports = []stack.Port{
			{Address: taken.Addr(), Container: 26},
			{Address: taken.Addr(), Host: taken.Port(), Container: 25},
		}
		create(t, engine, rival)
		assertPortError(t, engine.StartContainer(t.Context(), rival.Name), taken)
	})
}

func assertPortError(t *testing.T, err error, address netip.AddrPort) {
	t.Helper()
	var port *docker.PortError
	if !errors.As(err, &port) || port.Address != address {
		t.Errorf("error %v, want a *PortError for %s", err, address)
	}
}

// dial reads what is said on a port. The engine's proxy may accept before the
// container listens, hence the repetition.
func dial(t *testing.T, address netip.AddrPort) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address.String())
		if err == nil {
			var said bytes.Buffer
			_, _ = said.ReadFrom(conn)
			conn.Close()
			if said.Len() > 0 {
				return said.String()
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("nothing said on %s: %v", address, err)
		case <-tick.C:
		}
	}
}
