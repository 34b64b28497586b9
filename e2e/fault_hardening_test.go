package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailstack/stack"
)

// idleBytes is how much memory the containers that are always there may take when
// idle: those of MariaDB, Dovecot and Postfix. The filter's may take filterBytes more.
const idleBytes = 100e6

// memory sums the proportional set sizes of a service's processes, so that what
// they share counts once.
func (s *Stack) memory(t *testing.T, service string) (bytes int64) {
	t.Helper()
	for _, pid := range s.processes(t, service) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue // has ended
		}
		_, rest, _ := strings.Cut(string(data), "\nPss:")
		kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			t.Fatalf("smaps_rollup: %q", data)
		}
		bytes += kb << 10
	}
	return bytes
}

// testIdleMemory takes the services that are always there together, and those of the
// filter. The stack is one that nobody has used yet: what served somebody stays for
// up to five minutes, what the start needed for one.
func (s *Stack) testIdleMemory(t *testing.T) {
	t.Helper()
	most := map[bool]int64{false: idleBytes, true: filterBytes}
	var said string
	waitUntil(t, 2*time.Minute, "little memory", func() (bool, string) {
		total := map[bool]int64{}
		var each []string
		for _, service := range stack.Catalog() {
			bytes := s.memory(t, service.Name)
			total[service.Option == stack.FilterOption] += bytes
			each = append(each, fmt.Sprintf("%s %.1f", service.Name, float64(bytes)/1e6))
		}
		said = fmt.Sprintf("%s MB: %.1f MB of %.0f, and with the filter %.1f MB of %.0f more", strings.Join(each, ", "),
			float64(total[false])/1e6, float64(most[false])/1e6, float64(total[true])/1e6, float64(most[true])/1e6)
		return total[false] <= most[false] && total[true] <= most[true], said
	})
	t.Logf("idle: %s", said)
}

// capabilities are what each service gets back, as measured.
var capabilities = map[string][]string{
	"mysql":   nil,
	"dovecot": {"CHOWN", "KILL", "SETGID", "SETUID"},
	"postfix": {"CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"},
	"filter":  nil,
	"valkey":  nil,
}

// checkHardened looks at how a service's container was made and at what runs in it.
func (s *Stack) checkHardened(t *testing.T, service string) {
	t.Helper()
	c := inspect(t, s.container(service))
	h := c.HostConfig
	var caps []string
	for _, name := range h.CapAdd {
		caps = append(caps, strings.TrimPrefix(name, "CAP_"))
	}
	slices.Sort(caps)
	check := func(what string, is, want any) {
		if fmt.Sprint(is) != fmt.Sprint(want) {
			t.Errorf("%s: %s is %v, want %v", service, what, is, want)
		}
	}
	check("CapDrop", h.CapDrop, "[ALL]")
	check("CapAdd", caps, capabilities[service])
	check("SecurityOpt", h.SecurityOpt, "[no-new-privileges:true]")
	check("ReadonlyRootfs", h.ReadonlyRootfs, true)
	check("Privileged", h.Privileged, false)
	check("PidMode", h.PidMode, "")
	check("IpcMode", h.IpcMode, "private")
	check("Binds", h.Binds, "[]")
	check("RestartPolicy", h.RestartPolicy.Name, "always")
	check("LogConfig", h.LogConfig.Type, "json-file")
	if h.LogConfig.Config["max-size"] == "" || h.LogConfig.Config["max-file"] == "" {
		t.Errorf("%s: its log is not rotated: %v", service, h.LogConfig)
	}
	if h.PidsLimit <= 0 || h.PidsLimit > 2048 || h.Memory <= 0 || h.Memory > 2<<30 {
		t.Errorf("%s: PidsLimit %d, Memory %d: not limited", service, h.PidsLimit, h.Memory)
	}
	s.checkMounts(t, service, c)
	s.checkProcesses(t, service)
}

func TestContainersAreHardened(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, service := range services {
		s.checkHardened(t, service)
	}
	for _, service := range []string{"mysql", "valkey"} {
		c := inspect(t, s.container(service))
		if c.HostConfig.NetworkMode != "none" || len(c.NetworkSettings.Networks) != 1 {
			t.Errorf("%s has the network %s %v", service, c.HostConfig.NetworkMode, c.NetworkSettings.Networks)
		}
	}
	for _, service := range filterServices {
		s.checkNoPort(t, service)
	}
}

// checkMounts: nothing but what the service is to see, writable where it owns.
func (s *Stack) checkMounts(t *testing.T, service string, c inspected) {
	t.Helper()
	want := map[string]string{}
	add := func(mode, source, target string) { want[target] = mode + " " + filepath.Join(s.data(), source) }
	for _, kind := range []string{"config", "secret", "tls"} {
		if kind != "tls" || service == "dovecot" || service == "postfix" {
			add("ro", "run/"+service+"/"+kind, "/run/mailstack/"+kind)
		}
	}
	add("rw", "socket/"+service+"/run", "/socket/"+service)
	switch service {
	case "mysql":
		add("rw", "mysql/data", "/var/lib/mysql")
	case "dovecot":
		add("rw", "vmail/data", "/var/vmail")
		add("ro", "socket/mysql/run", "/socket/mysql")
		add("ro", "socket/postfix/run", "/socket/postfix")
		add("ro", "socket/filter/run", "/socket/filter")
	case "postfix":
		add("rw", "queue/data", "/var/spool/postfix")
		add("ro", "socket/mysql/run", "/socket/mysql")
		add("ro", "socket/dovecot/run", "/socket/dovecot")
		add("ro", "socket/filter/run", "/socket/filter")
	case "filter":
		add("ro", "socket/valkey/run", "/socket/valkey")
		add("ro", "run/filter/signing", "/run/mailstack/signing")
	case "valkey":
		add("rw", "valkey/data", "/var/lib/valkey")
	}
	have := map[string]string{}
	for _, m := range c.Mounts {
		mode := "ro"
		if m.RW {
			mode = "rw"
		}
		if m.Type == "tmpfs" {
			continue
		}
		have[m.Destination] = mode + " " + m.Source
		if m.Type != "bind" || m.Propagation != "rprivate" {
			t.Errorf("%s: %s is mounted as %s, %s", service, m.Destination, m.Type, m.Propagation)
		}
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("%s: its mounts are\n%v\nwant\n%v", service, have, want)
	}
	for target, options := range c.HostConfig.Tmpfs {
		if !strings.Contains(options, "noexec,nosuid,nodev") || !strings.Contains(options, "size=") {
			t.Errorf("%s: tmpfs %s has the options %s", service, target, options)
		}
	}
}

// checkProcesses asks the kernel what the processes may really do.
func (s *Stack) checkProcesses(t *testing.T, service string) {
	t.Helper()
	bits := map[string]uint{"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7, "SYS_CHROOT": 18}
	var allowed uint64
	for _, name := range capabilities[service] {
		allowed |= 1 << bits[name]
	}
	for _, pid := range s.processes(t, service) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // has ended
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(data)) {
			key, value, _ := strings.Cut(line, ":")
			fields[key] = strings.TrimSpace(value)
		}
		for _, set := range []string{"CapEff", "CapPrm", "CapBnd", "CapInh"} {
			has, err := strconv.ParseUint(fields[set], 16, 64)
			if err != nil || has&^allowed != 0 {
				t.Errorf("%s: %s of %s is %s, more than %#x (%v)", service, set, fields["Name"], fields[set], allowed, err)
			}
		}
		if fields["NoNewPrivs"] != "1" || fields["Seccomp"] != "2" {
			t.Errorf("%s: %s has NoNewPrivs %s, Seccomp %s", service, fields["Name"], fields["NoNewPrivs"], fields["Seccomp"])
		}
	}
	out, code := s.exec(t, service, "sh", "-c", "for d in / /etc /usr /usr/local/bin /run/mailstack/config; do touch $d/.attack 2>&1 && echo $d is writable; done; exit 0")
	if code != 0 || strings.Contains(out, "is writable") {
		t.Errorf("%s: %s", service, out)
	}
}
