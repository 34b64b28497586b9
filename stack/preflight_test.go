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
	"strings"
	"testing"
)

func TestCheckHost(t *testing.T) {
	needRoot(t)
	good := newFakeEngine().info
	for name, test := range map[string]struct {
		change func(*EngineInfo)
		want   []string // one of each error
	}{
		"good":       {func(*EngineInfo) {}, nil},
		"remote":     {func(i *EngineInfo) { i.Local, i.Host = false, "tcp://192.0.2.1:2376" }, []string{"the engine at tcp://192.0.2.1:2376 is on another host"}},
		"rootless":   {func(i *EngineInfo) { i.Rootless = true }, []string{"rootless"}},
		"userns":     {func(i *EngineInfo) { i.UserNS = true }, []string{"userns-remap"}},
		"snap":       {func(i *EngineInfo) { i.Snap = true }, []string{"snap"}},
		"windows":    {func(i *EngineInfo) { i.OSType = "windows" }, []string{"windows containers"}},
		"everything": {func(i *EngineInfo) { i.Rootless, i.Snap = true, true }, []string{"rootless", "snap"}},
	} {
		info := good
		test.change(&info)
		err := CheckHost(info)
		if lines := strings.Split(errText(err), "\n"); err != nil && len(lines) != len(test.want) || err == nil && len(test.want) > 0 {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range test.want {
			if !strings.Contains(errText(err), want) {
				t.Errorf("%s: error %v lacks %q", name, err, want)
			}
		}
		var obstacle *ObstacleError
		if err != nil && (!errors.As(err, &obstacle) || obstacle.Fix == "") {
			t.Errorf("%s: %v gives no advice", name, err)
		}
	}
}

// A file system without blocks, such as /proc, is full. Only what is made there
// is refused: a stack on a full disk can still be started and maintained.
func TestCheckRoom(t *testing.T) {
	dir := t.TempDir()
	info := EngineInfo{RootDir: dir}
	volume := func(name, target string) InitVolume {
		return InitVolume{Volume: VolumeWanted{Name: name, Target: target}}
	}
	for name, test := range map[string]struct {
		full   func(*EngineInfo, *Layout)
		action Action
		want   string // empty: it is let through
	}{
		"room":                       {func(*EngineInfo, *Layout) {}, volume("vmail", "/var/vmail"), ""},
		"volume on a full disk":      {func(_ *EngineInfo, l *Layout) { l.Dir = "/proc/not/there" }, volume("vmail", "/var/vmail"), "the disk of /proc is nearly full: 0 MiB free, at least 1024 are needed"},
		"volume on its own":          {func(_ *EngineInfo, l *Layout) { l.Paths = map[string]string{"vmail": "/proc/m"} }, volume("vmail", "/var/vmail"), "at least 128 are needed"},
		"another volume's disk":      {func(_ *EngineInfo, l *Layout) { l.Paths = map[string]string{"vmail": "/proc/m"} }, volume("queue", "/var/spool/postfix"), ""},
		"socket on its own":          {func(_ *EngineInfo, l *Layout) { l.Paths = map[string]string{"socket/mysql": "/proc/m"} }, volume("socket/mysql", ""), ""},
		"image":                      {func(i *EngineInfo, _ *Layout) { i.RootDir = "/proc" }, BuildImage{}, "the disk of /proc is nearly full"},
		"base":                       {func(i *EngineInfo, _ *Layout) { i.RootDir = "/proc" }, FetchBase{}, "the disk of /proc is nearly full"},
		"volume, the engine's full":  {func(i *EngineInfo, _ *Layout) { i.RootDir = "/proc" }, volume("vmail", "/var/vmail"), ""},
		"start on a full disk":       {func(i *EngineInfo, l *Layout) { i.RootDir, l.Dir = "/proc", "/proc" }, StartContainer{}, ""},
		"certificate on a full disk": {func(i *EngineInfo, l *Layout) { i.RootDir, l.Dir = "/proc", "/proc" }, RunTask{}, ""},
	} {
		info, l := info, Layout{Dir: dir}
		test.full(&info, &l)
		op := Operation{Action: test.action}
		err := CheckRoom(info, l, &Plan{Operations: []Operation{op, op}})
		if text := errText(err); test.want == "" && err != nil || !strings.Contains(text, test.want) || strings.Contains(text, "\n") {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
	if err := CheckImageRoom(EngineInfo{RootDir: "/proc"}); err == nil {
		t.Error("images are built where there is no room")
	}
}

func TestFreeBytes(t *testing.T) {
	dir := t.TempDir()
	here, _, err := freeBytes(dir)
	must(t, err)
	free, at, err := freeBytes(filepath.Join(dir, "not", "there", "yet"))
	if err != nil || at != dir || free <= 0 || here <= 0 {
		t.Errorf("free at a path that is not there: %d at %s: %v", free, at, err)
	}
	if _, _, err := freeBytes(""); err == nil {
		t.Error("an empty path has room")
	}
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	if _, _, err := freeBytes(filepath.Join(dir, "file", "below")); err == nil {
		t.Error("there is room below a file")
	}
}

// listen takes a free port of this host.
func listen(t *testing.T, address string) uint16 {
	t.Helper()
	network := "tcp4"
	if strings.Contains(address, ":") {
		network = "tcp6"
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), network, net.JoinHostPort(address, "0"))
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	return netip.MustParseAddrPort(ln.Addr().String()).Port()
}

// portPair is a stack with one listener, imaps at this port; running says
// where its container listens now.
func portPair(t *testing.T, address string, port uint16, running ...netip.AddrPort) *pair {
	t.Helper()
	p := settledPair(t, func(set *Settings, _ *Identity) {
		set.Listen, set.Ports = []netip.Addr{netip.MustParseAddr(address)}, map[string]uint16{"imaps": port}
	})
	for i := range p.o.Containers {
		p.o.Containers[i].Ports = nil
	}
	for _, at := range running {
		c := p.on("dovecot")
		c.Ports = append(c.Ports, Port{Address: at.Addr(), Host: at.Port(), Container: 993})
	}
	if len(running) == 0 {
		p.remove("dovecot")
	}
	return p
}

func checkPorts(t *testing.T, in *pair) error {
	t.Helper()
	p, err := NewPlan(in.d, in.o, in.opts)
	must(t, err)
	if !slices.ContainsFunc(p.Operations, func(op Operation) bool { return op.Subject == "container demo-dovecot" }) {
		t.Fatalf("the plan starts nothing:\n%s", p)
	}
	return CheckPorts(t.Context(), in.d, in.o, p)
}

func TestCheckPortsNamesTheHolder(t *testing.T) {
	needRoot(t)
	port := listen(t, "127.0.0.1")
	name, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	want := fmt.Sprintf("port 127.0.0.1:%d is taken by %s (process %d); stop that, or change `imaps` in [listen] (0 turns it off)",
		port, strings.TrimSpace(string(name)), os.Getpid())
	if err := checkPorts(t, portPair(t, "127.0.0.1", port)); errText(err) != want {
		t.Errorf("error %v, want %s", err, want)
	}
	// On all addresses it is taken too.
	if err := checkPorts(t, portPair(t, "0.0.0.0", port)); err == nil {
		t.Error("a port that is taken on one address is free on all")
	}
}

func TestCheckPortsOfFreeOnes(t *testing.T) {
	port := listen(t, "127.0.0.1")
	if err := checkPorts(t, portPair(t, "127.0.0.2", port)); err != nil {
		t.Errorf("the port of another address: %v", err)
	}
	if err := checkPorts(t, portPair(t, "192.0.2.1", port)); err == nil || !strings.Contains(err.Error(), "address 192.0.2.1 is not one of this host's; change `address` in [listen]") {
		t.Errorf("an address of another host: %v", err)
	}
}

// What this stack's own containers hold is theirs to give up.
func TestCheckPortsOfOwnContainers(t *testing.T) {
	port := listen(t, "127.0.0.1") // stands for the engine's proxy
	local := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	for _, address := range []string{"127.0.0.1", "0.0.0.0"} {
		if err := checkPorts(t, portPair(t, address, port, local)); err != nil {
			t.Errorf("replacing a container by one at %s: %v", address, err)
		}
	}
	other := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port+1)
	if err := checkPorts(t, portPair(t, "127.0.0.1", port, other)); err == nil {
		t.Error("a port that another program holds was passed over")
	}
	// A container that does not run holds nothing.
	in := portPair(t, "127.0.0.1", port, local)
	in.on("dovecot").State = "exited"
	if err := checkPorts(t, in); err == nil {
		t.Error("a port of a stopped container was passed over")
	}
}

// Both families may have the same port: what holds it for IPv4 is not in the
// way of IPv6.
func TestCheckPortsOfBothFamilies(t *testing.T) {
	if !HasIPv6() {
		t.Log("this host has no IPv6: only that it is said was tested")
		err := checkPorts(t, portPair(t, "::1", listen(t, "127.0.0.1")))
		if err == nil || !strings.Contains(err.Error(), "[::1]") && !strings.Contains(err.Error(), "address ::1") {
			t.Errorf("error %v", err)
		}
		return
	}
	port := listen(t, "0.0.0.0")
	if err := checkPorts(t, portPair(t, "::", port)); err != nil {
		t.Errorf("[::] beside 0.0.0.0: %v", err)
	}
	six := listen(t, "::1")
	if err := checkPorts(t, portPair(t, "::1", six)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port [::1]:%d is taken by ", six)) {
		t.Errorf("error %v", err)
	}
}

func TestCheckPortsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in := portPair(t, "127.0.0.1", listen(t, "127.0.0.1"))
	p, err := NewPlan(in.d, in.o, in.opts)
	must(t, err)
	if err := CheckPorts(ctx, in.d, in.o, p); err == nil {
		t.Error("no error although nothing could be looked at")
	}
}

func TestDisks(t *testing.T) {
	l := Layout{Dir: t.TempDir(), Paths: map[string]string{"queue": filepath.Join(t.TempDir(), "absent")}}
	tree(t, l.Dir, map[string]string{"mysql/": "", "vmail/": ""})
	disks := Disks(l, catalogGraph(t))
	if len(disks) != 1 {
		t.Fatalf("disks %+v, want one", disks)
	}
	if d := disks[0]; d.FreeBytes <= 0 || d.TotalBytes < d.FreeBytes || d.FreeShare <= 0 || d.FreeShare > 1 {
		t.Errorf("%+v", d)
	}
}
