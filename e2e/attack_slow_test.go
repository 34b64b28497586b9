package e2e

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// slowEach clients of each kind hold on to each port, 1,128 on all ports: so many
// that slowAtOnce are connected while the others are thrown out and come again.
const (
	slowEach   = 47
	slowAtOnce = 1000
)

// slowKinds are ways to take part in a protocol without getting anywhere. Each
// says what it says before it falls silent, and what it then goes on with, an
// octet a second.
var slowKinds = []struct {
	name  string
	begin func(listener string) string
	drip  bool
}{
	{"idle", func(string) string { return "" }, false},
	{"slow", func(listener string) string { return helloTLS(listener) }, true},
	{"in the handshake", func(listener string) string { return startOfTLS[listener] }, false},
}

// startOfTLS is what asks for TLS, or where it comes first, the beginning of a
// ClientHello of 512 octets.
var startOfTLS = map[string]string{
	"smtp": "EHLO x\r\nSTARTTLS\r\n", "submission": "EHLO x\r\nSTARTTLS\r\n", "imap": "a STARTTLS\r\n", "pop3": "STLS\r\n",
	"managesieve": "STARTTLS\r\n", "submissions": halfHello, "imaps": halfHello, "pop3s": halfHello,
}

const halfHello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

// helloTLS begins TLS where TLS comes first, and is nothing elsewhere: what drips
// then is a command.
func helloTLS(listener string) string {
	if strings.HasSuffix(listener, "s") && listener != "managesieve" {
		return halfHello
	}
	return ""
}

// How long a client waits at most for its turn. Dovecot makes room by itself. Postfix
// lets a client keep a session for 60 s, and once all of them are taken, for 10 s:
// the first has to wait for that, and for as long again where master goes on
// counting an smtpd as free that took a client in the moment of the change (see
// mailstack-reload); the later ones wait for those before them.
var slowWaits = map[string][2]time.Duration{
	"smtp": {150 * time.Second, 60 * time.Second}, "submission": {150 * time.Second, 60 * time.Second}, "submissions": {150 * time.Second, 60 * time.Second},
	"imap": {20 * time.Second, 20 * time.Second}, "imaps": {20 * time.Second, 20 * time.Second}, "pop3": {20 * time.Second, 20 * time.Second},
	"pop3s": {20 * time.Second, 20 * time.Second}, "managesieve": {20 * time.Second, 20 * time.Second},
}

// TestAttackSlow: 1,000 clients, on every port as many, that are idle, dribble, or
// stop in the middle of a handshake, and come again when they are thrown out. All
// have the address that everybody else has. Whoever wants something gets it.
func TestAttackSlow(t *testing.T) {
	t.Parallel()
	world := newWire(t)
	s := newStack(t, "")
	s.set(t, "listen.address", `["127.0.0.1", "::1", "`+world.server+`"]`)
	s.up(t, "--no-probe")
	user, password := s.account(t)
	s.caPEM(t)
	t.Run("one address", func(t *testing.T) { s.testOneAddress(t, world, user) })
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() { stop(); all.Wait() })
	began := time.Now()
	var open atomic.Int64
	for _, listener := range listeners {
		for _, kind := range slowKinds {
			for range slowEach {
				all.Go(func() {
					for ctx.Err() == nil {
						hold(ctx, s.addr(listener), kind.begin(listener), kind.drip, &open)
					}
				})
			}
		}
	}
	waitUntil(t, 30*time.Second, fmt.Sprintf("%d slow clients at once", slowAtOnce), func() (bool, string) {
		n := open.Load()
		return n >= slowAtOnce, fmt.Sprintf("%d of %d", n, len(listeners)*len(slowKinds)*slowEach)
	})
	t.Run("served", func(t *testing.T) {
		for _, listener := range listeners {
			t.Run(listener, func(t *testing.T) {
				t.Parallel()
				for round, limit := range slowWaits[listener] {
					began := time.Now()
					if err := s.serve(t, listener, user, password); err != nil {
						t.Fatal(err)
					}
					took := time.Since(began)
					t.Logf("client %d is served after %v, with %d others connected", round+1, took.Round(time.Millisecond), open.Load())
					if took > limit {
						t.Errorf("client %d is served after %v, at most %v", round+1, took, limit)
					}
				}
			})
		}
	})
	stop()
	all.Wait()
	s.expectNoCrash(t, began, crash)
	s.expectNoCrash(t, began, memory)
	s.expectMemory(t, "postfix")
	s.expectMemory(t, "dovecot")
	waitUntil(t, time.Minute, "a green probe after slow clients", func() (bool, string) {
		red := s.probe(t).red()
		// It listens beyond loopback, under a name that no DNS knows.
		maps.DeleteFunc(red, func(check, _ string) bool { return strings.HasPrefix(check, "dns.") })
		return len(red) == 0, fmt.Sprint(red)
	})
}

// hold is a slow client until the server throws it out.
func hold(ctx context.Context, address, begin string, drip bool, open *atomic.Int64) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		pause(ctx, time.Second)
		return
	}
	open.Add(1)
	defer open.Add(-1)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		drain(conn)
	}()
	if _, err := conn.Write([]byte(begin)); err != nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			// Not at once: the server's turn to be quick is over then.
			pause(ctx, 100*time.Millisecond)
			return
		case <-ctx.Done():
			conn.Close()
			<-gone
			return
		case <-tick.C:
			if drip {
				_, _ = conn.Write([]byte("X"))
			}
		}
	}
}

// serve does what a client of a port came for: a login, or a recipient on 25.
func (s *Stack) serve(t *testing.T, listener, user, password string) error {
	t.Helper()
	conn, err := s.dial(t, listener)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		return err
	}
	d := newDialogue(conn)
	say := func(line, want string) error {
		for {
			answer, err := d.try(line)
			if err != nil {
				return fmt.Errorf("after %q: %w", line, err)
			}
			line = ""
			if strings.HasPrefix(answer, want) {
				return nil
			}
			if strings.HasPrefix(answer, "5") || strings.HasPrefix(answer, "4") || strings.HasPrefix(answer, "-ERR") || strings.HasPrefix(answer, "a NO") {
				return fmt.Errorf("is answered %q", answer)
			}
		}
	}
	dialogues := map[string][]string{
		"smtp":        {"", "220 ", "EHLO client.example", "250 ", "MAIL FROM:<" + stranger + ">", "250 ", "RCPT TO:<" + user + ">", "250 "},
		"submission":  {"", "220 ", "EHLO client.example", "250 ", "STARTTLS", "220 ", "TLS", "", "EHLO client.example", "250 ", plain(user, password), "235 "},
		"submissions": {"", "220 ", "EHLO client.example", "250 ", plain(user, password), "235 "},
		"imap":        {"", "* OK", "a STARTTLS", "a OK", "TLS", "", "a LOGIN " + user + " " + password, "a OK"},
		"imaps":       {"", "* OK", "a LOGIN " + user + " " + password, "a OK"},
		"pop3":        {"", "+OK", "STLS", "+OK", "TLS", "", "USER " + user, "+OK", "PASS " + password, "+OK"},
		"pop3s":       {"", "+OK", "USER " + user, "+OK", "PASS " + password, "+OK"},
		"managesieve": {"", "OK", "STARTTLS", "OK", "TLS", "", "", "OK", plainSieve(user, password), "OK"},
	}[listener]
	for i := 0; i < len(dialogues); i += 2 {
		if dialogues[i] == "TLS" {
			client, err := s.secure(t, d.conn)
			if err != nil {
				return err
			}
			d = newDialogue(client)
			continue
		}
		if err := say(dialogues[i], dialogues[i+1]); err != nil {
			return err
		}
	}
	return nil
}
