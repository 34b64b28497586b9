package docker

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"mailstack/stack"
)

// comparePorts lets cmp look into the types whose fields it cannot see.
var comparePorts = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b network.Port) bool { return a == b }),
}

// TestEveryContainerIsHardened: an empty spec and a full one get the same
// hardening.
func TestEveryContainerIsHardened(t *testing.T) {
	for name, spec := range map[string]stack.ContainerSpec{
		"empty": {},
		"full":  fullSpec(),
	} {
		t.Run(name, func(t *testing.T) {
			host := createOptions(spec).HostConfig
			if diff := cmp.Diff([]string{"ALL"}, []string(host.CapDrop)); diff != "" {
				t.Error("dropped capabilities:", diff)
			}
			if diff := cmp.Diff([]string{"no-new-privileges:true"}, host.SecurityOpt); diff != "" {
				t.Error("security options:", diff)
			}
			if !host.ReadonlyRootfs {
				t.Error("the root file system is writable")
			}
			if host.IpcMode != container.IPCModePrivate {
				t.Errorf("IPC mode %q", host.IpcMode)
			}
			if host.Init == nil || *host.Init {
				t.Error("PID 1 would be Docker's init")
			}
			if host.Privileged || host.PublishAllPorts || host.AutoRemove || len(host.Binds) > 0 {
				t.Errorf("privileged %t, publishes all ports %t, removes itself %t, binds %v",
					host.Privileged, host.PublishAllPorts, host.AutoRemove, host.Binds)
			}
			if host.OomKillDisable != nil {
				t.Error("the OOM killer is touched")
			}
			if log := host.LogConfig; log.Type != "json-file" || log.Config["max-size"] == "" || log.Config["max-file"] == "" {
				t.Errorf("logs are not rotated: %+v", log)
			}
		})
	}
}

func fullSpec() stack.ContainerSpec {
	return stack.ContainerSpec{
		Name:       "s-dovecot",
		Image:      "mailstack/dovecot:1",
		Labels:     map[string]string{"mailstack.spec": "a=b,c\n"},
		Hostname:   "mail.example.org",
		User:       "5303:5303",
		Entrypoint: []string{"/usr/sbin/dovecot"},
		Command:    []string{"-F"},
		Network:    "s-dovecot",
		Resolvers:  []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		Ports: []stack.Port{
			{Address: netip.MustParseAddr("0.0.0.0"), Host: 993, Container: 993},
			{Address: netip.MustParseAddr("::"), Host: 993, Container: 993},
			{Address: netip.MustParseAddr("127.0.0.1"), Container: 143},
		},
		Mounts: []stack.Mount{
			{Source: "/data/vmail/data", Target: "/var/vmail"},
			{Source: "/data/socket/mysql/run", Target: "/socket/mysql", ReadOnly: true},
		},
		Tmpfs:        []stack.Tmpfs{{Target: "/tmp", Options: "exec,size=16m,mode=1777"}, {Target: "/run"}},
		Capabilities: []string{"CHOWN", "SETUID"},
		PidsLimit:    200,
		MemoryBytes:  256 << 20,
		Restart:      "always",
		StopGrace:    2500 * time.Millisecond,
		Health: &stack.Health{
			Command: []string{"/usr/local/bin/mailstack-health"}, Interval: 30 * time.Second,
			Timeout: 5 * time.Second, StartPeriod: time.Minute, Retries: 3,
		},
		LogBytes: 5 << 20,
		LogFiles: 2,
	}
}

func TestSpecIsTranslated(t *testing.T) {
	got := createOptions(fullSpec())

	seconds, pids := 3, int64(200)
	wantConfig := &container.Config{
		Image: "mailstack/dovecot:1", Hostname: "mail.example.org", User: "5303:5303",
		Entrypoint: []string{"/usr/sbin/dovecot"}, Cmd: []string{"-F"},
		Labels: map[string]string{"mailstack.spec": "a=b,c\n"},
		ExposedPorts: network.PortSet{
			network.MustParsePort("993/tcp"): {}, network.MustParsePort("143/tcp"): {},
		},
		Healthcheck: &container.HealthConfig{
			Test: []string{"CMD", "/usr/local/bin/mailstack-health"}, Interval: 30 * time.Second,
			Timeout: 5 * time.Second, StartPeriod: time.Minute, Retries: 3,
		},
		StopTimeout: &seconds,
	}
	if diff := cmp.Diff(wantConfig, got.Config, comparePorts); diff != "" {
		t.Error("config:", diff)
	}

	private := &mount.BindOptions{Propagation: mount.PropagationRPrivate}
	wantHost := &container.HostConfig{
		NetworkMode: "s-dovecot",
		DNS:         []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		PortBindings: network.PortMap{
			network.MustParsePort("993/tcp"): {
				{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: "993"},
				{HostIP: netip.MustParseAddr("::"), HostPort: "993"},
			},
			network.MustParsePort("143/tcp"): {{HostIP: netip.MustParseAddr("127.0.0.1")}},
		},
		RestartPolicy: container.RestartPolicy{Name: "always"},
		Mounts: []mount.Mount{
			{Type: "bind", Source: "/data/vmail/data", Target: "/var/vmail", BindOptions: private},
			{Type: "bind", Source: "/data/socket/mysql/run", Target: "/socket/mysql", ReadOnly: true, BindOptions: private},
		},
		Tmpfs: map[string]string{
			"/tmp": "exec,size=16m,mode=1777,noexec,nosuid,nodev",
			"/run": "noexec,nosuid,nodev",
		},
		LogConfig: container.LogConfig{
			Type: "json-file", Config: map[string]string{"max-size": "5242880", "max-file": "2"},
		},
		CapDrop: []string{"ALL"}, CapAdd: []string{"CHOWN", "SETUID"},
		SecurityOpt: []string{"no-new-privileges:true"}, ReadonlyRootfs: true,
		IpcMode: "private", Init: new(bool),
		Resources: container.Resources{
			Memory: 256 << 20, MemorySwap: 256 << 20, PidsLimit: &pids,
			Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 16384, Hard: 16384}},
		},
	}
	if diff := cmp.Diff(wantHost, got.HostConfig, comparePorts); diff != "" {
		t.Error("host config:", diff)
	}
	if got.Name != "s-dovecot" {
		t.Errorf("name %q", got.Name)
	}
}

// TestSpecDefaults: what a spec leaves out never means "whatever the image
// says" nor an invalid request.
func TestSpecDefaults(t *testing.T) {
	got := createOptions(stack.ContainerSpec{})
	if diff := cmp.Diff([]string{"NONE"}, got.Config.Healthcheck.Test); diff != "" {
		t.Error("health check:", diff)
	}
	if got.Config.StopTimeout != nil {
		t.Errorf("stop timeout %d", *got.Config.StopTimeout)
	}
	if p := got.HostConfig.RestartPolicy.Name; p != "no" {
		t.Errorf("restart policy %q", p)
	}
	if r := got.HostConfig.Resources; r.Memory != 0 || r.MemorySwap != 0 || r.PidsLimit != nil {
		t.Errorf("limits %+v", r)
	}
}
