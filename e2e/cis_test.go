package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// benchmarked is what the CIS Docker Benchmark asks of a container and its image.
type benchmarked struct {
	service   string
	processes string   // their command lines
	setid     string   // files with the setuid or setgid bit
	programs  string   // paths of what no service needs
	history   []string // of the image: what made each layer

	AppArmorProfile string
	Config          struct {
		User        string
		Image       string
		Env         []string
		Healthcheck struct{ Test []string }
	}
	State      struct{ Health struct{ Status string } }
	Mounts     []struct{ Source, Destination, Propagation string }
	HostConfig struct {
		CapAdd, CapDrop, SecurityOpt                                     []string
		Privileged, ReadonlyRootfs, PublishAllPorts                      bool
		NetworkMode, PidMode, IpcMode, UTSMode, UsernsMode, CgroupParent string
		Memory, CpuShares, PidsLimit                                     int64
		Devices                                                          []any
		Ulimits                                                          []struct{ Name string }
		RestartPolicy                                                    struct{ Name string }
		PortBindings                                                     map[string][]struct{ HostIp, HostPort string }
	}
}

// cisCheck is a recommendation of sections 4 and 5 (numbers of version 1.5). seen
// is empty where it is met, else what was seen. A reason says why it is not met,
// for those services; it must not be met then.
type cisCheck struct {
	id, title string
	seen      func(b benchmarked) string
	reason    string
	services  string // those that reason is for; empty: all
}

// unless gives what was seen, where it is not what it should be.
func unless(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// cisChecks leaves out what says something about the engine or about how people
// work: 4.2, 4.4, 4.5 and 4.11 (whose images come from Debian's signed archive by
// apt, and from nowhere else), 5.22 and 5.23 (how docker exec is used).
var cisChecks = []cisCheck{
	{
		id: "4.1", title: "a user for the container has been created",
		seen: func(b benchmarked) string {
			return unless(b.Config.User != "" && b.Config.User != "0", "User is %q", b.Config.User)
		},
		reason: "master processes that start daemons as others: root without the capability to do more than that", services: "dovecot postfix",
	},
	{id: "4.3", title: "no unnecessary packages", seen: func(b benchmarked) string { return b.programs }},
	{
		id: "4.6", title: "HEALTHCHECK instructions",
		seen: func(b benchmarked) string {
			return unless(len(b.Config.Healthcheck.Test) > 1 && b.Config.Healthcheck.Test[0] == "CMD", "%v", b.Config.Healthcheck.Test)
		},
	},
	{
		id: "4.7", title: "no update instruction alone",
		seen: func(b benchmarked) string {
			return b.layers(func(made string) bool {
				return strings.Contains(made, "apt-get update") && !strings.Contains(made, "apt-get install") && strings.Contains(made, "apt-get") && !strings.Contains(made, " install -y")
			})
		},
	},
	{id: "4.8", title: "setuid and setgid permissions removed", seen: func(b benchmarked) string { return b.setid }},
	{id: "4.9", title: "COPY instead of ADD", seen: func(b benchmarked) string {
		return b.layers(func(made string) bool { return strings.Contains(made, "ADD ") && !strings.HasPrefix(made, "Imported") })
	}},
	{id: "4.10", title: "no secrets in Dockerfiles", seen: func(b benchmarked) string {
		return b.layers(func(made string) bool { return strings.Contains(strings.ToLower(made), "password") })
	}},
	{
		id: "5.1", title: "an AppArmor profile is enabled",
		seen: func(b benchmarked) string { return unless(b.AppArmorProfile != "unconfined", "%s", b.AppArmorProfile) },
	},
	{id: "5.2", title: "SELinux security options are not switched off", seen: func(b benchmarked) string {
		return unless(!slices.Contains(b.HostConfig.SecurityOpt, "label=disable") && !slices.Contains(b.HostConfig.SecurityOpt, "label:disable"), "%v", b.HostConfig.SecurityOpt)
	}},
	{id: "5.3", title: "kernel capabilities are restricted", seen: func(b benchmarked) string {
		return unless(slices.Equal(b.HostConfig.CapDrop, []string{"ALL"}) && len(b.HostConfig.CapAdd) <= 4, "dropped %v, added %v", b.HostConfig.CapDrop, b.HostConfig.CapAdd)
	}},
	{id: "5.4", title: "no privileged containers", seen: func(b benchmarked) string { return unless(!b.HostConfig.Privileged, "privileged") }},
	{id: "5.5", title: "no sensitive directories of the host are mounted", seen: func(b benchmarked) string {
		for _, m := range b.Mounts {
			for _, dir := range []string{"/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr", "/run", "/var/run", "/root"} {
				if m.Source == "/" || m.Source == dir || strings.HasPrefix(m.Source, dir+"/") {
					return m.Source + " is mounted"
				}
			}
		}
		return ""
	}},
	{id: "5.6", title: "no sshd", seen: func(b benchmarked) string { return unless(!strings.Contains(b.processes, "ssh"), "%s", b.processes) }},
	{
		id: "5.7", title: "no privileged ports",
		seen: func(b benchmarked) string {
			for port := range b.HostConfig.PortBindings {
				if len(port) < len("1024/tcp") {
					return port + " is published"
				}
			}
			return ""
		},
		reason: "the ports of mail are below 1024", services: "dovecot postfix",
	},
	{id: "5.8", title: "only needed ports are open", seen: func(b benchmarked) string {
		want := map[string]int{"mysql": 0, "dovecot": 5, "postfix": 3}[b.service]
		return unless(len(b.HostConfig.PortBindings) == want && !b.HostConfig.PublishAllPorts, "%v", b.HostConfig.PortBindings)
	}},
	{id: "5.9", title: "the host's network namespace is not shared", seen: func(b benchmarked) string { return unless(b.HostConfig.NetworkMode != "host", "host") }},
	{id: "5.10", title: "memory is limited", seen: func(b benchmarked) string { return unless(b.HostConfig.Memory > 0, "no limit") }},
	{
		id: "5.11", title: "CPU priority is set",
		seen:   func(b benchmarked) string { return unless(b.HostConfig.CpuShares > 0, "the engine's default") },
		reason: "the services are equals, and share the processors with the host as any of its programs",
	},
	{id: "5.12", title: "the root file system is read-only", seen: func(b benchmarked) string { return unless(b.HostConfig.ReadonlyRootfs, "writable") }},
	{id: "5.13", title: "incoming traffic is bound to an interface", seen: func(b benchmarked) string {
		for port, bindings := range b.HostConfig.PortBindings {
			for _, at := range bindings {
				if slices.Contains([]string{"", "0.0.0.0", "::"}, at.HostIp) || at.HostPort == "" {
					return fmt.Sprintf("%s at %q:%q", port, at.HostIp, at.HostPort)
				}
			}
		}
		return ""
	}},
	{
		id: "5.14", title: "restarted at most 5 times on failure",
		seen: func(b benchmarked) string {
			return unless(b.HostConfig.RestartPolicy.Name == "on-failure", "%s", b.HostConfig.RestartPolicy.Name)
		},
		reason: "mail has to come back by itself, after a power cut too; a growing count turns status red",
	},
	{id: "5.15", title: "the host's processes are not shared", seen: func(b benchmarked) string { return unless(b.HostConfig.PidMode == "", "%s", b.HostConfig.PidMode) }},
	{id: "5.16", title: "the host's IPC is not shared", seen: func(b benchmarked) string {
		return unless(b.HostConfig.IpcMode == "private", "%s", b.HostConfig.IpcMode)
	}},
	{id: "5.17", title: "no devices of the host", seen: func(b benchmarked) string { return unless(len(b.HostConfig.Devices) == 0, "%v", b.HostConfig.Devices) }},
	{id: "5.18", title: "ulimits are set", seen: func(b benchmarked) string { return unless(len(b.HostConfig.Ulimits) > 0, "none") }},
	{id: "5.19", title: "mounts are not shared", seen: func(b benchmarked) string {
		for _, m := range b.Mounts {
			if m.Propagation == "shared" || m.Propagation == "rshared" {
				return m.Destination + " is " + m.Propagation
			}
		}
		return ""
	}},
	{id: "5.20", title: "the host's UTS namespace is not shared", seen: func(b benchmarked) string { return unless(b.HostConfig.UTSMode == "", "%s", b.HostConfig.UTSMode) }},
	{id: "5.21", title: "the default seccomp profile is not disabled", seen: func(b benchmarked) string {
		return unless(!strings.Contains(strings.Join(b.HostConfig.SecurityOpt, " "), "seccomp"), "%v", b.HostConfig.SecurityOpt)
	}},
	{id: "5.24", title: "no cgroup of its own choice", seen: func(b benchmarked) string {
		return unless(b.HostConfig.CgroupParent == "", "%s", b.HostConfig.CgroupParent)
	}},
	{id: "5.25", title: "no new privileges", seen: func(b benchmarked) string {
		return unless(slices.Contains(b.HostConfig.SecurityOpt, "no-new-privileges:true"), "%v", b.HostConfig.SecurityOpt)
	}},
	{id: "5.26", title: "health is checked", seen: func(b benchmarked) string { return unless(b.State.Health.Status != "", "no health") }},
	{id: "5.27", title: "the image is of one version", seen: func(b benchmarked) string {
		return unless(strings.Contains(b.Config.Image, ":") && !strings.HasSuffix(b.Config.Image, ":latest"), "%s", b.Config.Image)
	}},
	{id: "5.28", title: "the number of processes is limited", seen: func(b benchmarked) string { return unless(b.HostConfig.PidsLimit > 0, "no limit") }},
	{id: "5.29", title: "not on the default bridge", seen: func(b benchmarked) string {
		return unless(!slices.Contains([]string{"", "default", "bridge"}, b.HostConfig.NetworkMode), "%q", b.HostConfig.NetworkMode)
	}},
	{id: "5.30", title: "the host's user namespace is not asked for", seen: func(b benchmarked) string { return unless(b.HostConfig.UsernsMode != "host", "host") }},
	{id: "5.31", title: "the engine's socket is not mounted", seen: func(b benchmarked) string {
		for _, m := range b.Mounts {
			if strings.Contains(m.Source, "docker.sock") || strings.Contains(m.Source, "containerd") {
				return m.Source
			}
		}
		return ""
	}},
}

// layers gives the first of the image's layers that was made so.
func (b benchmarked) layers(so func(made string) bool) string {
	for _, made := range b.history {
		if so(made) {
			return made
		}
	}
	return ""
}

func (s *Stack) benchmark(t *testing.T, service string) benchmarked {
	t.Helper()
	b := benchmarked{service: service}
	name := s.container(service)
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(docker(t, "inspect", name)), &all); err != nil || len(all) != 1 {
		t.Fatal(err)
	}
	if err := json.Unmarshal(all[0], &b); err != nil {
		t.Fatal(err)
	}
	b.processes = docker(t, "top", name, "-eo", "pid,args")
	b.history = strings.Split(docker(t, "history", "--no-trunc", "--format", "{{.CreatedBy}}", inspect(t, name).Image), "\n")
	root := s.rootOf(t, service)
	b.setid, b.programs = setID(t, root), needless(t, root)
	return b
}

// TestCISBenchmark holds the containers against sections 4 and 5 of the CIS Docker
// Benchmark, the part that containers and images can show by themselves.
func TestCISBenchmark(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, service := range services {
		b := s.benchmark(t, service)
		for _, c := range cisChecks {
			excused := c.reason != "" && (c.services == "" || strings.Contains(c.services, service))
			t.Run(service+"/"+c.id+" "+c.title, func(t *testing.T) {
				seen := c.seen(b)
				switch {
				case excused && seen == "":
					t.Errorf("it is met, and the table has a reason why not: %s", c.reason)
				case excused:
					t.Logf("not met (%s): %s", seen, c.reason)
				case seen != "":
					t.Error(seen)
				}
			})
		}
	}
}

// TestCISBenchmarkSeesEveryInterface: a port that is open on all interfaces is not
// bound to one, in whichever way that is written (5.13).
func TestCISBenchmarkSeesEveryInterface(t *testing.T) {
	t.Parallel()
	row := cisChecks[slices.IndexFunc(cisChecks, func(c cisCheck) bool { return c.id == "5.13" })]
	for address, met := range map[string]bool{"": false, "0.0.0.0": false, "::": false, "127.0.0.1": true, "::1": true, "192.0.2.1": true} {
		t.Run(fmt.Sprintf("%q", address), func(t *testing.T) {
			var b benchmarked
			at := fmt.Sprintf(`{"HostConfig": {"PortBindings": {"25/tcp": [{"HostIp": %q, "HostPort": "25"}]}}}`, address)
			if err := json.Unmarshal([]byte(at), &b); err != nil {
				t.Fatal(err)
			}
			if seen := row.seen(b); (seen == "") != met {
				t.Errorf("seen: %q", seen)
			}
		})
	}
}
