package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"golang.org/x/sys/unix"
)

// cable is a network namespace with a cable to the host, whose addresses the
// containers see as they are: over loopback every client is the gateway.
type cable struct {
	name, host string // the namespace, the host's address on the cable
	prefix     string // of the addresses there, "10.77.3."
}

func newCable(t *testing.T) cable {
	t.Helper()
	id := randomHex(2)
	o := cable{name: "ms-e2e-" + id, prefix: fmt.Sprintf("10.132.%d.", freePort(t)%250)}
	o.host = o.prefix + "1"
	mustTool(t, "", "ip", "netns", "add", o.name)
	t.Cleanup(func() { // and with it both ends of the cable
		if err := run("ip", "netns", "del", o.name); err != nil {
			t.Error(err)
		}
	})
	near, far := "mse"+id+"a", "mse"+id+"b"
	mustTool(t, "", "ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", o.name)
	mustTool(t, "", "ip", "addr", "add", o.host+"/24", "dev", near)
	mustTool(t, "", "ip", "link", "set", near, "up")
	mustTool(t, "", "ip", "-n", o.name, "link", "set", far, "up")
	for last := 2; last < 9; last++ {
		mustTool(t, "", "ip", "-n", o.name, "addr", "add", o.address(last)+"/24", "dev", far)
	}
	return o
}

func (o cable) address(last int) string { return fmt.Sprint(o.prefix, last) }

// dial connects from one of the addresses to a port of the host.
func (o cable) dial(from string, port int) (net.Conn, error) {
	type dialled struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialled)
	go func() {
		// The thread is left in the namespace and ends with this goroutine.
		runtime.LockOSThread()
		var d dialled
		defer func() { done <- d }()
		namespace, err := os.Open("/run/netns/" + o.name)
		if err != nil {
			d.err = err
			return
		}
		defer namespace.Close()
		if d.err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); d.err != nil {
			return
		}
		dialer := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		d.conn, d.err = dialer.Dial("tcp4", net.JoinHostPort(o.host, fmt.Sprint(port)))
	}()
	d := <-done
	return d.conn, d.err
}

// secure is a connection from one of the addresses to a listener with TLS.
func (o cable) secure(t *testing.T, s *Stack, from, key string) net.Conn {
	t.Helper()
	conn, err := o.dial(from, s.port(key))
	if err != nil {
		t.Fatalf("connect from %s: %v", from, err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return tls.Client(conn, s.tls(t))
}

func (o cable) imap(t *testing.T, s *Stack, from, user, password string) string {
	t.Helper()
	c := imapclient.New(o.secure(t, s, from, "imaps"), nil)
	return answer(c, c.Login(user, password).Wait())
}

func (o cable) submission(t *testing.T, s *Stack, from, user, password string) string {
	t.Helper()
	c := smtp.NewClient(o.secure(t, s, from, "submissions"))
	return answer(c, c.Auth(sasl.NewPlainClient("", user, password)))
}

// everywhere is a login by IMAP and by submission.
func (o cable) everywhere(t *testing.T, s *Stack, what, from, user, password, want string) {
	t.Helper()
	if got := o.imap(t, s, from, user, password); got != want {
		t.Errorf("%s, %s by IMAP: %s, want %s", what, from, got, want)
	}
	if got := o.submission(t, s, from, user, password); got != want {
		t.Errorf("%s, %s by submission: %s, want %s", what, from, got, want)
	}
}

// spray tries one password at many accounts.
func (o cable) spray(t *testing.T, s *Stack, from string) {
	t.Helper()
	together(8, func(worker int) {
		for i := worker; i < limit+8; i += 8 {
			login := o.imap
			if i%2 == 0 {
				login = o.submission
			}
			if got := login(t, s, from, fmt.Sprintf("user%d@%s", i, s.hostname()), "summer"); got != "wrong" && got != "later" {
				t.Errorf("a guess: %s", got)
			}
		}
	})
}

// TestGuessingByAddress: where addresses are real, one that guesses at many accounts
// is held back by itself, on all ports, but for those who have signed in from it.
// Who guesses at one account from many addresses has it held back from everywhere but
// where its owner has signed in.
func TestGuessingByAddress(t *testing.T) {
	t.Parallel()
	o := newCable(t)
	s := newSmallStack(t)
	s.set(t, "listen.address", fmt.Sprintf(`["127.0.0.1", "::1", %q]`, o.host))
	s.up(t, "--no-probe")
	alice, alices := s.account(t)
	bob, bobs := s.account(t)
	guesser, home, elsewhere := o.address(2), o.address(3), o.address(4)
	s.caPEM(t)

	o.everywhere(t, s, "before", guesser, alice, alices, "taken")
	o.spray(t, s, guesser)
	if h := s.waitHeldBack(t, guesser); h.Address != guesser {
		t.Errorf("held back is %+v", h)
	}
	o.everywhere(t, s, "has signed in from there", guesser, alice, alices, "taken")
	o.everywhere(t, s, "has not", guesser, bob, bobs, "later")
	o.everywhere(t, s, "from another address", home, bob, bobs, "taken")
	s.everywhere(t, "from the gateway", bob, bobs, "taken")
	s.mustRun(t, "unban", guesser)
	o.everywhere(t, s, "after unban", guesser, bob, bobs, "taken")

	// One account, from several addresses and the gateway.
	together(8, func(worker int) {
		for i := worker; i < limit+8; i += 8 {
			o.imap(t, s, o.address(5+i%4), bob, fmt.Sprintf("guess-%d", i))
		}
	})
	s.waitHeldBack(t, bob)
	if held := s.heldBack(t); held[bob].Account != bob || len(held) != 1 {
		t.Errorf("held back: %v", held)
	}
	o.everywhere(t, s, "where he has signed in", home, bob, bobs, "taken")
	if got := o.imap(t, s, elsewhere, bob, bobs); got != "later" {
		t.Errorf("where he has not: %s, want later", got)
	}
	waitUntil(t, 30*time.Second, "the right password is taken elsewhere", func() (bool, string) {
		got := o.imap(t, s, elsewhere, bob, bobs)
		return got == "taken", got
	})
	o.everywhere(t, s, "then", elsewhere, bob, bobs, "taken")
	o.everywhere(t, s, "another account", elsewhere, alice, alices, "taken")

	s.set(t, "limits.shared_addresses", fmt.Sprintf("[%q]", o.prefix+"0/25"))
	s.up(t, "--no-probe")
	o.spray(t, s, guesser)
	if held := s.heldBack(t); len(held) > 0 {
		t.Errorf("held back of shared addresses: %v", held)
	}
}

// TestGuessesAreForgotten: while MySQL is away nothing is counted and nobody is told
// that his password is wrong; a restart of Dovecot lets everybody begin anew, as does
// unban --all.
func TestGuessesAreForgotten(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	user, password := s.account(t)
	docker(t, "stop", "-t", "10", s.container("mysql"))
	if counts := s.guess(t, user, limit+8); counts["later"] != limit+8 {
		t.Errorf("without MySQL guesses are %v", counts)
	}
	s.everywhere(t, "without MySQL", user, password, "later")
	docker(t, "start", s.container("mysql"))
	waitUntil(t, time.Minute, "the right password is taken", func() (bool, string) {
		got := s.ways(t, user, password)["imap"]()
		if got == "wrong" {
			t.Error("the right password is called wrong")
		}
		return got == "taken", got
	})
	if held := s.heldBack(t); len(held) > 0 {
		t.Errorf("held back for guesses while MySQL was away: %v", held)
	}

	other, others := s.account(t)
	s.guess(t, other, limit+8)
	s.waitHeldBack(t, other)
	docker(t, "restart", s.container("dovecot"))
	waitUntil(t, time.Minute, "status says that nobody is held back", func() (bool, string) {
		text := s.run(t, "status")
		return strings.Contains(text.stdout, "held back    nobody"), text.String()
	})
	s.everywhere(t, "after a restart", other, others, "taken")

	s.guess(t, other, limit+8)
	s.mustRun(t, "unban", "--all")
	if held := s.heldBack(t); len(held) > 0 {
		t.Errorf("after unban --all: %v", held)
	}
}
