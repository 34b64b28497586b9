package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// address is where a service's container is on its own network.
func (s *Stack) address(t *testing.T, service string) string {
	t.Helper()
	address := docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", s.container(service))
	if net.ParseIP(address) == nil {
		t.Fatalf("the address of %s is %q", service, address)
	}
	return address
}

// The host of the tests that is elsewhere: addresses for documentation (RFC 5737),
// in a network namespace that nobody else is in.
const (
	outsideHost = "198.51.100.1"
	outsideAddr = "198.51.100.2"
)

// outside makes a network namespace that is a host elsewhere: it is reached over
// the host, and knows no way to the addresses of containers, as nobody out there
// does. It listens at the address that it returns. The namespace has no name: it
// lives as long as its socket, and its end of the cable goes with it.
func outside(t *testing.T) net.Listener {
	t.Helper()
	type made struct {
		thread   int
		listener net.Listener
		err      error
	}
	inside, cabled := make(chan made), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		inside <- made{thread: unix.Gettid(), err: err}
		if err != nil || <-cabled != nil {
			return
		}
		var listener net.Listener
		err = run("ip", "address", "add", outsideAddr+"/30", "dev", "ms-out1")
		if err == nil {
			err = run("ip", "link", "set", "ms-out1", "up")
		}
		if err == nil {
			listener, err = net.Listen("tcp", outsideAddr+":0")
		}
		inside <- made{listener: listener, err: err}
	}()
	m := <-inside
	if m.err != nil {
		t.Fatal(m.err)
	}
	err := run("ip", "link", "add", "ms-out0", "type", "veth", "peer", "name", "ms-out1", "netns", fmt.Sprint(m.thread))
	if err == nil {
		t.Cleanup(func() { _ = run("ip", "link", "delete", "ms-out0") }) // may have gone
		err = run("ip", "address", "add", outsideHost+"/30", "dev", "ms-out0")
	}
	if err == nil {
		err = run("ip", "link", "set", "ms-out0", "up")
	}
	cabled <- err
	if err != nil {
		t.Fatal(err)
	}
	if m = <-inside; m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.listener.Close() })
	return m.listener
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// TestDovecotCannotCallOut: a connection from Postfix's container to a host
// elsewhere is answered, as mail needs it, and from the filter's, which asks name
// servers; from Dovecot's none is. Of two
// networks of the engine, one with and one without masquerading, this tells them
// apart.
func TestDovecotCannotCallOut(t *testing.T) {
	s := shared(t)
	s.testCallsOut(t, map[string]string{"postfix": "ok", "dovecot": "ETIMEDOUT", "mysql": "ENETUNREACH", "filter": "ok", "valkey": "ENETUNREACH"})
}

// testCallsOut has services connect to a host elsewhere.
func (s *Stack) testCallsOut(t *testing.T, services map[string]string) {
	t.Helper()
	listener := outside(t)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed at the end
			}
			conn.Close()
		}
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	call := fmt.Sprintf("$! = 0; answer('call', dial(%q, %d));", outsideAddr, port)
	for service, want := range services {
		t.Run(service, func(t *testing.T) {
			r := tryDocker(t, "exec", "-u", "0", s.container(service), "perl", "-e", preamble+call)
			if answer := strings.TrimSpace(r.stdout); answer != "call\t"+want {
				t.Errorf("a call to a host elsewhere answers %q, want %s: %v", answer, want, r)
			}
		})
	}
}

// TestNetworksAreSeparate: each network has one container, and no two are joined.
func TestNetworksAreSeparate(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, service := range []string{"dovecot", "postfix", "filter"} {
		var networks []struct {
			Containers           map[string]struct{ Name string }
			EnableIPv6, Internal bool
			Options              map[string]string
		}
		if err := json.Unmarshal([]byte(docker(t, "network", "inspect", s.container(service))), &networks); err != nil || len(networks) != 1 {
			t.Fatal(err)
		}
		n := networks[0]
		want := fmt.Sprint(service != "dovecot")
		if is := n.Options["com.docker.network.bridge.enable_ip_masquerade"]; is != want {
			t.Errorf("%s: packets to other hosts get an address of the host's: %s, want %s", service, is, want)
		}
		for _, c := range n.Containers {
			if c.Name != s.container(service) {
				t.Errorf("%s is on the network of %s", c.Name, service)
			}
		}
		if len(n.Containers) != 1 {
			t.Errorf("%d containers are on the network of %s", len(n.Containers), service)
		}
	}
}

// TestOpenNetworkIsReplaced: the network of a stack from before Dovecot's was
// closed is made anew by up, with its container, and all is well then.
func TestOpenNetworkIsReplaced(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	name := s.container("dovecot")
	labels := docker(t, "network", "inspect", "--format", `{{range $k, $v := .Labels}}--label={{$k}}={{$v}} {{end}}`, name)
	docker(t, "network", "disconnect", "-f", name, name)
	docker(t, "network", "rm", name)
	docker(t, append(append([]string{"network", "create"}, strings.Fields(labels)...), name)...)
	docker(t, "network", "connect", name, name)
	if r := s.upGreen(t); !strings.Contains(r.stderr, "are to answer and not to call other hosts") {
		t.Errorf("up does not say that it replaces the network: %v", r)
	}
	masquerade := docker(t, "network", "inspect", "--format", `{{index .Options "com.docker.network.bridge.enable_ip_masquerade"}}`, name)
	if masquerade != "false" {
		t.Errorf("the network masquerades: %q", masquerade)
	}
	if out := s.up(t, "--no-probe").stdout; !strings.Contains(out, "nothing to do") {
		t.Errorf("a second up says %q", out)
	}
}
