package e2e

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wire joins the machine to a network namespace where clients are:
// what comes from there reaches a container with its own address, and not with
// the bridge's, as from the machine itself.
type wire struct {
	server    string   // the machine's address there
	addresses []string // its own
	netns     *os.File
}

func newWire(t *testing.T) *wire {
	t.Helper()
	name := "ms-" + randomHex(4)
	net := fmt.Sprintf("198.18.%d.", mrand.IntN(256)) // RFC 2544: for tests of networks
	o := &wire{server: net + "1", addresses: []string{net + "2", net + "3"}}
	mustTool(t, "", "ip", "netns", "add", name)
	t.Cleanup(func() { program(context.Background(), nil, "ip", "netns", "delete", name) })
	mustTool(t, "", "ip", "link", "add", name+"a", "type", "veth", "peer", "name", name+"b", "netns", name)
	t.Cleanup(func() { program(context.Background(), nil, "ip", "link", "delete", name+"a") })
	mustTool(t, "", "ip", "address", "add", o.server+"/24", "dev", name+"a")
	mustTool(t, "", "ip", "link", "set", name+"a", "up")
	for _, a := range o.addresses {
		mustTool(t, "", "ip", "-n", name, "address", "add", a+"/24", "dev", name+"b")
	}
	mustTool(t, "", "ip", "-n", name, "link", "set", name+"b", "up")
	var err error
	if o.netns, err = os.Open("/var/run/netns/" + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.netns.Close() })
	return o
}

// dial connects from one of the addresses to a port of the machine.
func (o *wire) dial(from string, port int) (net.Conn, error) {
	type dialled struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialled)
	go func() {
		// The thread ends with this function: it is not unlocked.
		runtime.LockOSThread()
		if err := unix.Setns(int(o.netns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- dialled{nil, fmt.Errorf("enter network namespace: %w", err)}
			return
		}
		d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp4", net.JoinHostPort(o.server, fmt.Sprint(port)))
		done <- dialled{conn, err}
	}()
	d := <-done
	return d.conn, d.err
}

// sessionsEach is how many an address may have on one port of Postfix's.
const sessionsEach = 15

// testOneAddress: a client whose address is known gets its share of the sessions
// and no more, however many it opens. A neighbour is served as ever.
func (s *Stack) testOneAddress(t *testing.T, o *wire, user string) {
	const many = 300
	greeted, refused := 0, 0
	for range many {
		conn, err := o.dial(o.addresses[0], s.port("smtp"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		switch greeting, err := newDialogue(conn).try(""); {
		case strings.HasPrefix(greeting, "220 "):
			greeted++
		case strings.HasPrefix(greeting, "421 "):
			refused++
		default:
			t.Fatalf("greeted with %q, %v", greeting, err)
		}
	}
	if greeted != sessionsEach || refused != many-sessionsEach {
		t.Errorf("of %d sessions of one address %d are greeted and %d refused, want %d greeted", many, greeted, refused, sessionsEach)
	}
	began := time.Now()
	conn, err := o.dial(o.addresses[1], s.port("smtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	d := newDialogue(conn)
	d.expect(t, "", "220 ")
	d.smtp(t, "EHLO client.example")
	d.expect(t, "MAIL FROM:<"+stranger+">", "250")
	d.expect(t, "RCPT TO:<"+user+">", "250")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a neighbour waits %v", took)
	}
}
