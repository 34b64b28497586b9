package stack

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// fakeEngine is an Engine in memory. Like the real one it refuses containers
// whose bind sources are missing, keeps a container's network by identity, and
// removes no network that is in use.
type fakeEngine struct {
	mu         sync.Mutex
	info       EngineInfo
	registry   map[string]string // what can be pulled: reference -> content
	images     map[string]Image
	containers map[string]*fakeContainer
	networks   map[string]Network
	made       int // objects so far, for ids

	calls []string // of what changes something, "create container demo-mysql"
	// before and after are asked at every call; the error of after comes when
	// the call has had its effect, as when a process dies waiting for the answer.
	before, after func(call string) error
	hang          func(call string) bool // the call ends only with its context

	// init is the image's mailstack-init: it fills the directory.
	init func(spec ContainerSpec, dir string) (exitCode int)
	// exec answers commands; nil, or a result of nil: success.
	exec func(container string, command []string) *ExecResult
	// stays says which containers with a command of their own do not end.
	stays func(spec ContainerSpec) bool
	// output is what a one-shot container prints.
	output func(spec ContainerSpec) string
	logs   map[string]string
	// started is told of containers that start or reload.
	started func(c Container)
}

type fakeContainer struct {
	Container
	spec      ContainerSpec
	networkID string
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{
		info:       EngineInfo{Version: "20.10.24", Host: "unix:///var/run/docker.sock", Local: true, OSType: "linux", MemoryLimit: true, PidsLimit: true, Seccomp: true},
		registry:   map[string]string{"debian:trixie-slim": "debian"},
		images:     map[string]Image{},
		containers: map[string]*fakeContainer{},
		networks:   map[string]Network{},
		logs:       map[string]string{},
	}
}

// call runs one call, with the failures that the test asks for.
func (e *fakeEngine) call(ctx context.Context, change bool, name string, do func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if change {
		e.calls = append(e.calls, name)
	}
	if e.hang != nil && e.hang(name) {
		<-ctx.Done()
		return ctx.Err()
	}
	if e.before != nil {
		if err := e.before(name); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if e.after != nil {
		return e.after(name)
	}
	return nil
}

func (e *fakeEngine) id(kind string) string {
	e.made++
	return fmt.Sprintf("%s-%d", kind, e.made)
}

func (e *fakeEngine) Info(ctx context.Context) (info EngineInfo, err error) {
	err = e.call(ctx, false, "info", func() error { info = e.info; return nil })
	return info, err
}

func (e *fakeEngine) Containers(ctx context.Context, stackName string) (list []Container, err error) {
	err = e.call(ctx, false, "list containers", func() error {
		for _, name := range slices.Sorted(maps.Keys(e.containers)) {
			c := e.containers[name]
			if label, ok := c.Labels[LabelStack]; ok && (stackName == "" || label == stackName) {
				list = append(list, c.Container)
			}
		}
		return nil
	})
	return list, err
}

func (e *fakeEngine) Container(ctx context.Context, name string) (found Container, err error) {
	err = e.with(ctx, false, "inspect container", name, func(c *fakeContainer) error { found = c.Container; return nil })
	return found, err
}

// with calls do for the container of this name.
func (e *fakeEngine) with(ctx context.Context, change bool, what, name string, do func(*fakeContainer) error) error {
	return e.call(ctx, change, what+" "+name, func() error {
		c, ok := e.containers[name]
		if !ok {
			return ErrNotFound
		}
		return do(c)
	})
}

func (e *fakeEngine) CreateContainer(ctx context.Context, spec ContainerSpec) error {
	return e.call(ctx, true, "create container "+spec.Name, func() error {
		if _, taken := e.containers[spec.Name]; taken {
			return ErrConflict
		}
		img, ok := e.images[spec.Image]
		if !ok {
			return fmt.Errorf("image %s: %w", spec.Image, ErrNotFound)
		}
		if err := checkSources(spec); err != nil {
			return err
		}
		c := &fakeContainer{spec: spec, Container: Container{
			ID: e.id("container"), Name: spec.Name, Image: spec.Image, ImageID: img.ID, Labels: maps.Clone(spec.Labels),
			State: "created", Mounts: slices.Clone(spec.Mounts), Ports: slices.Clone(spec.Ports),
		}}
		c.Networks = map[string]NetworkEnd{spec.Network: {}}
		if !builtinNetwork(spec.Network) {
			n, ok := e.networks[spec.Network]
			if !ok {
				return fmt.Errorf("network %s: %w", spec.Network, ErrNotFound)
			}
			c.networkID = n.ID
		}
		e.containers[spec.Name] = c
		return nil
	})
}

func builtinNetwork(name string) bool { return name == "none" || name == "bridge" }

func checkSources(spec ContainerSpec) error {
	for _, m := range spec.Mounts {
		if info, err := os.Stat(m.Source); err != nil || !info.IsDir() {
			return fmt.Errorf("bind source path does not exist: %s", m.Source)
		}
	}
	return nil
}

func (e *fakeEngine) StartContainer(ctx context.Context, name string) error {
	return e.with(ctx, true, "start container", name, e.start)
}

func (e *fakeEngine) start(c *fakeContainer) error {
	switch c.State {
	case "running", "restarting":
		return nil // the engine answers "not modified"
	case "paused", "dead":
		return fmt.Errorf("cannot start a %s container", c.State)
	}
	if err := checkSources(c.spec); err != nil {
		return err
	}
	if !builtinNetwork(c.spec.Network) && e.networks[c.spec.Network].ID != c.networkID {
		return fmt.Errorf("network %s not found", c.networkID)
	}
	if len(c.spec.Entrypoint) > 0 && (e.stays == nil || !e.stays(c.spec)) {
		return e.runOnce(c)
	}
	c.State, c.HealthStatus, c.RestartCount, c.ExitCode = "running", "starting", 0, 0
	if e.started != nil {
		e.started(c.Container)
	}
	return nil
}

// runOnce runs a one-shot container to its end.
func (e *fakeEngine) runOnce(c *fakeContainer) error {
	c.State = "exited"
	if c.spec.Entrypoint[0] == InitCmd && e.init != nil {
		c.ExitCode = e.init(c.spec, c.spec.Mounts[0].Source)
	}
	if e.output != nil {
		e.logs[c.Name] = e.output(c.spec)
	}
	return nil
}

func (e *fakeEngine) StopContainer(ctx context.Context, name string) error {
	return e.with(ctx, true, "stop container", name, func(c *fakeContainer) error { c.stop(); return nil })
}

func (c *fakeContainer) stop() { c.State, c.HealthStatus = "exited", "" }

func (e *fakeEngine) RestartContainer(ctx context.Context, name string) error {
	return e.with(ctx, true, "restart container", name, func(c *fakeContainer) error { c.stop(); return e.start(c) })
}

func (e *fakeEngine) RemoveContainer(ctx context.Context, name string) error {
	return e.with(ctx, true, "remove container", name, func(*fakeContainer) error { delete(e.containers, name); return nil })
}

func (e *fakeEngine) WaitContainer(ctx context.Context, name string) (code int, err error) {
	running := false
	err = e.with(ctx, false, "wait for container", name, func(c *fakeContainer) error {
		code, running = c.ExitCode, c.State == "running"
		return nil
	})
	if running {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return code, err
}

func (e *fakeEngine) Exec(ctx context.Context, name string, spec ExecSpec) (res ExecResult, err error) {
	what := "exec " + filepath.Base(spec.Command[0]) + " in"
	err = e.with(ctx, spec.Command[0] != HealthCmd, what, name, func(c *fakeContainer) error {
		if c.State != "running" {
			return fmt.Errorf("container %s is not running: %w", name, ErrConflict)
		}
		if e.exec != nil {
			if scripted := e.exec(name, spec.Command); scripted != nil {
				res = *scripted
			}
		}
		if spec.Stdout != nil {
			if _, err := spec.Stdout.Write(res.Stdout); err != nil {
				return err
			}
			res.Stdout = nil
		}
		switch {
		case res.ExitCode != 0:
		case spec.Command[0] == HealthCmd:
			c.HealthStatus = "healthy"
		case spec.Command[0] == ReloadCmd && e.started != nil:
			e.started(c.Container)
		}
		return nil
	})
	return res, err
}

func (e *fakeEngine) Logs(ctx context.Context, name string, spec LogSpec, stdout, _ io.Writer) error {
	return e.with(ctx, false, "read log of", name, func(*fakeContainer) error {
		lines := strings.SplitAfter(e.logs[name], "\n")
		if n := cmp.Or(spec.Tail, len(lines)) + 1; len(lines) > n { // the last one is empty
			lines = lines[len(lines)-n:]
		}
		_, err := io.WriteString(stdout, strings.Join(lines, ""))
		return err
	})
}

func (e *fakeEngine) Networks(ctx context.Context, stackName string) (list []Network, err error) {
	err = e.call(ctx, false, "list networks", func() error {
		for _, name := range slices.Sorted(maps.Keys(e.networks)) {
			if n := e.networks[name]; n.Labels[LabelStack] == stackName {
				list = append(list, n)
			}
		}
		return nil
	})
	return list, err
}

func (e *fakeEngine) Network(ctx context.Context, name string) (found Network, err error) {
	err = e.call(ctx, false, "inspect network "+name, func() error {
		var ok bool
		if found, ok = e.networks[name]; !ok {
			return ErrNotFound
		}
		return nil
	})
	return found, err
}

func (e *fakeEngine) CreateNetwork(ctx context.Context, spec NetworkSpec) error {
	name := spec.Name
	return e.call(ctx, true, "create network "+name, func() error {
		if _, taken := e.networks[name]; taken {
			return ErrConflict
		}
		e.networks[name] = Network{ID: e.id("network"), Name: name, Driver: "bridge", Outbound: spec.Outbound, Labels: spec.Labels}
		return nil
	})
}

func (e *fakeEngine) RemoveNetwork(ctx context.Context, name string) error {
	return e.call(ctx, true, "remove network "+name, func() error {
		n, ok := e.networks[name]
		if !ok {
			return ErrNotFound
		}
		for _, c := range e.containers {
			if c.networkID == n.ID {
				return fmt.Errorf("container %s uses it: %w", c.Name, ErrConflict)
			}
		}
		delete(e.networks, name)
		return nil
	})
}

func (e *fakeEngine) Close() error { return nil }

var _ Engine = (*fakeEngine)(nil)
