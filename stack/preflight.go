package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Room that must be free, in bytes, before something is made there. Images, and
// all volumes of an empty stack, take less than half of the first. A disk that
// somebody gave to one volume may be small.
const (
	minFree       = 1 << 30
	minFreeVolume = 128 << 20
)

// CheckHost refuses by name what cannot work on this host or with this engine.
// It reports everything at once.
func CheckHost(info EngineInfo) error {
	var errs []error
	refuse := func(fix, format string, args ...any) {
		errs = append(errs, &ObstacleError{What: fmt.Sprintf(format, args...), Fix: fix})
	}
	if !info.Local {
		refuse("unset DOCKER_HOST and run mailstack on the host itself", "the engine at %s is on another host: mail and sockets are directories of this one", info.Host)
	}
	if info.Rootless {
		refuse("use the system's Docker Engine", "the engine is rootless: it cannot give files to the services' own users")
	}
	if info.UserNS {
		refuse("start the engine without userns-remap", "the engine remaps user ids (userns-remap): the services' files would belong to nobody")
	}
	if info.Snap {
		refuse("use the Docker Engine of Debian or of Docker", "the engine is a snap: it cannot mount directories outside home")
	}
	if info.OSType != "" && info.OSType != "linux" {
		refuse("use a Linux engine", "the engine runs %s containers", info.OSType)
	}
	for feature, has := range map[string]bool{
		"memory limits": info.MemoryLimit, "limits on processes": info.PidsLimit, "seccomp": info.Seccomp,
	} {
		if !has {
			refuse("enable it in the kernel (docker info says what is missing)", "the kernel gives the engine no %s: containers would run without", feature)
		}
	}
	if os.Geteuid() != 0 {
		refuse("run it as root: sudo mailstack …", "not running as root: the services' files must belong to their own users")
	}
	return errors.Join(errs...)
}

// CheckRoom refuses a plan that makes images or volumes where there is hardly
// any room. All other plans are let through: on a full disk too a container is
// to be started and a certificate renewed.
func CheckRoom(info EngineInfo, l Layout, p *Plan) error {
	var errs []error
	seen := map[string]bool{}
	need := func(dir string, least int64) {
		if !seen[dir] {
			errs = append(errs, checkFree(dir, least))
		}
		seen[dir] = true
	}
	for _, op := range p.Operations {
		switch a := op.Action.(type) {
		case FetchBase, BuildImage:
			need(info.RootDir, minFree)
		case InitVolume:
			if own := l.Paths[a.Volume.Name]; own == "" {
				need(l.Dir, minFree)
			} else if a.Volume.Target != "" { // a socket takes no room
				need(own, minFreeVolume)
			}
		}
	}
	return errors.Join(errs...)
}

// CheckImageRoom refuses to build images where there is hardly any room.
func CheckImageRoom(info EngineInfo) error { return checkFree(info.RootDir, minFree) }

func checkFree(dir string, least int64) error {
	free, at, err := freeBytes(dir)
	if err != nil || free >= least {
		return nil // a path that cannot be looked at is reported by whoever uses it
	}
	return &ObstacleError{
		What: fmt.Sprintf("the disk of %s is nearly full: %d MiB free, at least %d are needed", at, free>>20, least>>20),
		Fix:  "free some room or set another path in [data]",
	}
}

// freeBytes is the room at a path, or at its nearest existing parent.
func freeBytes(path string) (free int64, at string, err error) {
	if path == "" {
		return 0, "", os.ErrNotExist
	}
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if err == nil {
			return int64(st.Bavail) * st.Bsize, path, nil
		}
		if !errors.Is(err, unix.ENOENT) || path == filepath.Dir(path) {
			return 0, path, err
		}
		path = filepath.Dir(path)
	}
}

// CheckPorts says which ports that the plan is about to publish are taken, by
// whom where that can be known, and which key to change. Ports that the stack's
// own running containers hold now are not looked at.
func CheckPorts(ctx context.Context, d *Desired, o *Observed, p *Plan) error {
	held := func(wanted Port) bool {
		for _, c := range o.Containers {
			if c.State == "running" && slices.ContainsFunc(c.Ports, wanted.conflicts) {
				return true
			}
		}
		return false
	}
	var errs []error
	said := map[string]bool{}
	for _, op := range p.Operations {
		var name string
		switch a := op.Action.(type) {
		case CreateContainer:
			name = a.Spec.Name
		case ReplaceContainer:
			name = a.Spec.Name
		case StartContainer:
			name = a.Name
		}
		for _, w := range d.Containers {
			if w.Spec.Name != name {
				continue
			}
			for _, port := range w.Spec.Ports {
				if held(port) {
					continue
				}
				// An address that is not this host's is one obstacle, however many ports it has.
				if err := checkPort(ctx, d, w.Service, port); err != nil && !said[err.Error()] {
					said[err.Error()] = true
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// conflicts says whether two published ports exclude each other: a listener on
// all addresses of a family does so with one on any of them.
func (p Port) conflicts(other Port) bool {
	a, b := p.Address, other.Address
	return p.Host == other.Host && a.Is4() == b.Is4() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}

func checkPort(ctx context.Context, d *Desired, service string, port Port) error {
	at := netip.AddrPortFrom(port.Address, port.Host)
	network := "tcp4"
	if at.Addr().Is6() {
		network = "tcp6" // of that family alone, as the engine does: 0.0.0.0 may be held by this stack
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, at.String())
	if err == nil {
		return ln.Close()
	}
	key := ""
	s, _ := d.Graph.Service(service)
	for _, l := range s.Listeners {
		if l.Port == port.Container {
			key = l.Key
		}
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return &ObstacleError{
			What: fmt.Sprintf("port %s is taken by %s", at, portHolder(at)),
			Fix:  fmt.Sprintf("stop that, or change `%s` in [listen] (0 turns it off)", key),
		}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return &ObstacleError{What: fmt.Sprintf("address %s is not one of this host's", at.Addr()), Fix: "change `address` in [listen]"}
	}
	return &ObstacleError{What: fmt.Sprintf("port %s cannot be used: %v", at, err), Fix: fmt.Sprintf("change `%s` or `address` in [listen]", key)}
}

// portHolder names the process that listens on an address, from /proc.
func portHolder(at netip.AddrPort) string {
	inodes := map[string]bool{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			// sl local_address rem_address st … inode is the tenth; 0A is LISTEN
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", at.Port())) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil || len(inodes) == 0 {
		return "another program"
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && inodes[target] {
			pid := strings.Split(fd, "/")[2]
			name, err := os.ReadFile("/proc/" + pid + "/comm")
			if err == nil {
				return strings.TrimSpace(string(name)) + " (process " + pid + ")"
			}
		}
	}
	return "another program"
}

// HasIPv6 says whether this host can listen on IPv6 at all.
func HasIPv6() bool {
	data, err := os.ReadFile("/proc/net/if_inet6")
	return err == nil && len(strings.TrimSpace(string(data))) > 0
}

// portNumber is a port as text.
func portNumber(p uint16) string { return strconv.Itoa(int(p)) }
