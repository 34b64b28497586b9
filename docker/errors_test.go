package docker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"mailstack/stack"
)

// TestConnectSaysWhy: each way in which the engine cannot be reached has its
// own sentence and its own advice.
func TestConnectSaysWhy(t *testing.T) {
	dir := t.TempDir()
	abandoned := filepath.Join(dir, "abandoned.sock")
	listener, err := net.Listen("unix", abandoned)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()

	for _, c := range []struct{ name, host, want, hint string }{
		{"no socket", "unix://" + dir + "/none.sock", "no such socket", "systemctl start docker"},
		{"nobody listens", "unix://" + abandoned, "nobody listens", "systemctl start docker"},
		{"remote", "tcp://127.0.0.1:1", "127.0.0.1:1", "unset DOCKER_HOST"},
		{"ssh", "ssh://root@example.org", "not supported", "unset DOCKER_HOST"},
		{"not an address", "/var/run/docker.sock", "not supported", "unset DOCKER_HOST"},
		{"empty path", "unix://", "unable to parse", "DOCKER_HOST"},
	} {
		for _, way := range []string{"option", "environment"} {
			t.Run(c.name+" by "+way, func(t *testing.T) {
				opts := Options{Host: c.host}
				if way == "environment" {
					opts.Host = ""
					t.Setenv("DOCKER_HOST", c.host)
				}
				_, err := Connect(t.Context(), opts)
				assertConnectError(t, err, c.want, c.hint)
			})
		}
	}
}

func TestConnectWithoutRights(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.Chmod(socket, 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // whom no mode stops: look as somebody else, in this thread only
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
	}
	assertConnectError(t, diagnose(t.Context(), "unix://"+socket, errors.New("any")), "permission denied", "group docker")
}

func assertConnectError(t *testing.T, err error, want, hint string) {
	t.Helper()
	var connect *ConnectError
	if !errors.As(err, &connect) {
		t.Fatalf("error %v is no *ConnectError", err)
	}
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q, want one line with %q", err, want)
	}
	if !strings.Contains(connect.Hint(), hint) {
		t.Errorf("hint %q, want it to say %q", connect.Hint(), hint)
	}
}

func TestConnectEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Connect(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestErrorKinds: the kind comes from the error's type, not from its words.
func TestErrorKinds(t *testing.T) {
	for _, c := range []struct {
		err                error
		notFound, conflict bool
	}{
		{errdefs.ErrNotFound, true, false},
		{errdefs.ErrConflict, false, true},
		{errors.New("Error response from daemon: conflict: not found"), false, false},
	} {
		err := wrap("do it", c.err)
		if errors.Is(err, stack.ErrNotFound) != c.notFound || errors.Is(err, stack.ErrConflict) != c.conflict {
			t.Errorf("%v: wrong kind", c.err)
		}
		if !errors.Is(err, c.err) {
			t.Errorf("%v: lost", c.err)
		}
		if want := "do it: " + strings.TrimPrefix(c.err.Error(), "Error response from daemon: "); err.Error() != want {
			t.Errorf("text %q, want %q", err, want)
		}
	}
}

// TestPortErrorNamesTheAddress with the sentences of several engines.
func TestPortErrorNamesTheAddress(t *testing.T) {
	const (
		v4 = "127.0.0.1:25"
		v6 = "[::]:25"
	)
	for _, c := range []struct{ text, address string }{
		// 20.10
		{"driver failed programming external connectivity on endpoint x (6d7d): Bind for 127.0.0.1:25 failed: port is already allocated", v4},
		{"driver failed programming external connectivity on endpoint x (6d7d): Bind for :::25 failed: port is already allocated", v6},
		{"driver failed programming external connectivity on endpoint x (6d7d): Error starting userland proxy: listen tcp4 127.0.0.1:25: bind: address already in use", v4},
		{"driver failed programming external connectivity on endpoint x (6d7d): Error starting userland proxy: listen tcp6 [::]:25: bind: address already in use", v6},
		// 28
		{"failed to set up container networking: driver failed programming external connectivity on endpoint x (6d7d): failed to bind host port for 127.0.0.1:25:172.18.0.2:25/tcp: address already in use", v4},
		{"failed to set up container networking: driver failed programming external connectivity on endpoint x (6d7d): failed to bind host port 127.0.0.1:25/tcp: address already in use", v4},
		{"failed to set up container networking: driver failed programming external connectivity on endpoint x (6d7d): failed to bind host port [::]:25/tcp: cannot assign requested address", v6},
		// not one of ours, or no port at all
		{"Bind for 127.0.0.1:2525 failed: port is already allocated", ""},
		{"Bind for 7.127.0.0.1:25 failed: port is already allocated", ""},
		{"bind source path does not exist: /data/127.0.0.1:25", ""},
	} {
		ports := []stack.Port{
			{Address: netip.MustParseAddr("0.0.0.0"), Host: 587, Container: 587},
			{Address: netip.MustParseAddr("::"), Host: 25, Container: 25},
			{Address: netip.MustParseAddr("127.0.0.1"), Host: 25, Container: 25},
		}
		cause := errors.New(c.text)
		err := portError(ports, cause)
		var port *PortError
		switch found := errors.As(err, &port); {
		case found != (c.address != ""):
			t.Errorf("%q: got %v", c.text, err)
		case found && port.Address.String() != c.address:
			t.Errorf("%q: address %s", c.text, port.Address)
		}
		if !errors.Is(err, cause) {
			t.Errorf("%q: cause lost", c.text)
		}
	}
}

func TestEnginesNumbersAreLeftOut(t *testing.T) {
	id := strings.Repeat("47fa73d0", 8)
	for said, want := range map[string]string{
		"Error response from daemon: Container " + id + " is not running":                         "Container is not running",
		"on endpoint demo-dovecot (" + id + "): listen tcp 127.0.0.1:143: address already in use": "on endpoint demo-dovecot: listen tcp 127.0.0.1:143: address already in use",
		"no such image: sha256:" + id: "no such image: sha256:" + id,
	} {
		if got := reason(errors.New(said)); got != want {
			t.Errorf("%q is told as %q", said, got)
		}
	}
}
