package docker

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"mailstack/stack"
)

// Log rotation of a container whose spec asks for none: without it json-file
// grows until the disk is full.
const (
	defaultLogBytes = 10 << 20
	defaultLogFiles = 3
)

// openFiles is every container's limit of open files. Left alone it is the
// engine's: 2^30 from a systemd unit with LimitNOFILE=infinity, which Docker's
// had up to version 24, and daemons that size tables by it took gigabytes
// (https://github.com/docker-library/mysql/issues/579). Not more than an engine
// without CAP_SYS_RESOURCE can be expected to have itself: it cannot raise it.
const openFiles = 16384

// createOptions says in the engine's words what spec asks for, and adds what
// every container has: no capability but those asked for, no way to gain
// privileges, a read-only root file system, rotated logs, no swap, the same limit
// of open files on every host.
//
// The engine's own defaults that are relied upon and left alone: its seccomp
// and AppArmor profiles, the masked and read-only paths of /proc and /sys, the
// OOM killer being on, private PID and UTS namespaces.
func createOptions(spec stack.ContainerSpec) client.ContainerCreateOptions {
	return client.ContainerCreateOptions{
		Name: spec.Name,
		Config: &container.Config{
			Image:        spec.Image,
			Hostname:     spec.Hostname,
			User:         spec.User,
			Entrypoint:   spec.Entrypoint,
			Cmd:          spec.Command,
			Labels:       spec.Labels,
			ExposedPorts: exposedPorts(spec.Ports),
			Healthcheck:  healthcheck(spec.Health),
			StopTimeout:  stopTimeout(spec.StopGrace),
		},
		HostConfig: &container.HostConfig{
			NetworkMode:    container.NetworkMode(spec.Network),
			DNS:            spec.Resolvers,
			PortBindings:   portBindings(spec.Ports),
			RestartPolicy:  restartPolicy(spec.Restart),
			Mounts:         mounts(spec.Mounts),
			Tmpfs:          tmpfs(spec.Tmpfs),
			LogConfig:      logConfig(spec.LogBytes, spec.LogFiles),
			CapDrop:        []string{"ALL"},
			CapAdd:         spec.Capabilities,
			SecurityOpt:    []string{"no-new-privileges:true"},
			ReadonlyRootfs: true,
			IpcMode:        container.IPCModePrivate,
			Init:           new(bool), // PID 1 is the daemon itself
			Resources:      resources(spec),
		},
	}
}

func resources(spec stack.ContainerSpec) container.Resources {
	r := container.Resources{
		Memory: spec.MemoryBytes,
		// Memory and swap together: equal means no swap. Where the kernel does
		// not account swap the engine drops this with a warning, on cgroup v1
		// (swapaccount=0) as on v2. It must not be set without a limit.
		MemorySwap: spec.MemoryBytes,
		Ulimits:    []*container.Ulimit{{Name: "nofile", Soft: openFiles, Hard: openFiles}},
	}
	if spec.PidsLimit > 0 {
		r.PidsLimit = &spec.PidsLimit
	}
	return r
}

// mounts are of type bind, never the short "source:target" form: that one
// creates a missing source, and a disk that is not mounted becomes an empty
// volume. Where the engine can (25 and newer, Linux 5.12), read-only covers
// what is mounted below the source too.
func mounts(wanted []stack.Mount) []mount.Mount {
	var out []mount.Mount
	for _, m := range wanted {
		out = append(out, mount.Mount{
			Type:     mount.TypeBind,
			Source:   m.Source,
			Target:   m.Target,
			ReadOnly: m.ReadOnly,
			BindOptions: &mount.BindOptions{
				Propagation: mount.PropagationRPrivate,
			},
		})
	}
	return out
}

// tmpfs puts the options that never vary last: the engine lets the last of two
// contradicting ones win.
func tmpfs(wanted []stack.Tmpfs) map[string]string {
	out := make(map[string]string, len(wanted))
	for _, t := range wanted {
		options := "noexec,nosuid,nodev"
		if t.Options != "" {
			options = t.Options + "," + options
		}
		out[t.Target] = options
	}
	return out
}

func logConfig(bytes int64, files int) container.LogConfig {
	return container.LogConfig{
		Type: "json-file",
		Config: map[string]string{
			"max-size": strconv.FormatInt(cmp.Or(bytes, defaultLogBytes), 10),
			"max-file": strconv.Itoa(cmp.Or(files, defaultLogFiles)),
		},
	}
}

func restartPolicy(policy string) container.RestartPolicy {
	return container.RestartPolicy{Name: cmp.Or(container.RestartPolicyMode(policy), container.RestartPolicyDisabled)}
}

// healthcheck disables what the image may declare if none is asked for.
func healthcheck(h *stack.Health) *container.HealthConfig {
	if h == nil {
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	return &container.HealthConfig{
		Test:        slices.Concat([]string{"CMD"}, h.Command),
		Interval:    h.Interval,
		Timeout:     h.Timeout,
		StartPeriod: h.StartPeriod,
		Retries:     h.Retries,
	}
}

// stopTimeout rounds up to the engine's whole seconds; zero leaves the engine's
// default of ten.
func stopTimeout(grace time.Duration) *int {
	if grace <= 0 {
		return nil
	}
	seconds := int(math.Ceil(grace.Seconds()))
	return &seconds
}

func exposedPorts(ports []stack.Port) network.PortSet {
	set := make(network.PortSet, len(ports))
	for _, p := range ports {
		set[tcpPort(p.Container)] = struct{}{}
	}
	return set
}

func portBindings(ports []stack.Port) network.PortMap {
	bindings := make(network.PortMap, len(ports))
	for _, p := range ports {
		binding := network.PortBinding{HostIP: p.Address}
		if p.Host != 0 { // else the engine chooses one
			binding.HostPort = strconv.Itoa(int(p.Host))
		}
		port := tcpPort(p.Container)
		bindings[port] = append(bindings[port], binding)
	}
	return bindings
}

func tcpPort(number uint16) network.Port {
	port, _ := network.PortFrom(number, network.TCP) // fails only without a protocol
	return port
}
