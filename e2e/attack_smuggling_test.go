package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// falseEnds look like the end of a message to one server or another. Only
// CRLF "." CRLF is (RFC 5321, section 4.1.1.4).
var falseEnds = []struct{ name, end string }{
	{"LF.LF", "\n.\n"},
	{"LF.CRLF", "\n.\r\n"},
	{"CRLF.LF", "\r\n.\n"},
	{"CR.CR", "\r.\r"},
	{"CRLF.CR", "\r\n.\r"},
	{"CR.CRLF", "\r.\r\n"},
	{"LF.CR", "\n.\r"},
	{"CR.LF", "\r.\n"},
	{"CRLF.NUL.CRLF", "\r\n.\x00\r\n"},
	{"CRLF.CR.CRLF", "\r\n.\r\r\n"},
	{"CRLF..CRLF", "\r\n..\r\n"},
}

// smuggled is a message, without the end of its data, with another one behind a
// false end.
func smuggled(from, to, subject, end string) string {
	return strings.TrimSuffix(message(from, to, subject+" outer", "Hello."), "\r\n") + end +
		"MAIL FROM:<" + from + ">\r\nRCPT TO:<" + to + ">\r\nDATA\r\n" +
		strings.TrimSuffix(message(from, to, subject+" inner", "Smuggled."), "\r\n")
}

// TestAttackSmugglingInward: of a message with a false end in it, one message
// arrives, or none.
func TestAttackSmugglingInward(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	for _, listener := range []string{"smtp", "submissions"} {
		for _, e := range falseEnds {
			t.Run(listener+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				from := stranger
				d := s.smtpLine(t, listener, false)
				if listener == "submissions" {
					from = user
					d.expect(t, plain(user, password), "235")
				}
				d.expect(t, "MAIL FROM:<"+from+">", "250")
				d.expect(t, "RCPT TO:<"+user+">", "250")
				d.expect(t, "DATA", "354")
				subject := "smuggling " + randomHex(6)
				answer := d.say(t, smuggled(from, user, subject, e.end)+"\r\n.")
				if strings.HasPrefix(answer, "2") {
					s.waitMail(t, user, password, "INBOX", subject+" outer")
				}
				// What would have come of the commands in it has been answered by now.
				d.smtp(t, "NOOP")
				s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, user))
				if n := s.count(t, user, password, subject+" inner"); n != 0 {
					t.Errorf("%d messages have been smuggled; the whole was answered %q", n, answer)
				}
			})
		}
	}
}

// TestAttackSmugglingBDAT: a chunk's length is its end, whatever it holds.
func TestAttackSmugglingBDAT(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	d := s.smtpLine(t, "smtp", false)
	d.expect(t, "MAIL FROM:<"+stranger+">", "250")
	d.expect(t, "RCPT TO:<"+user+">", "250")
	subject := "chunk " + randomHex(6)
	data := smuggled(stranger, user, subject, "\r\n.\r\n")
	// The last two octets are the end of the line that is said.
	d.expect(t, fmt.Sprintf("BDAT %d LAST\r\n%s", len(data)+2, data), "250")
	s.waitMail(t, user, password, "INBOX", subject+" outer")
	if n := s.count(t, user, password, subject+" inner"); n != 0 {
		t.Errorf("%d messages have been smuggled", n)
	}
}

// TestAttackSmugglingOutward: what users send, and what Sieve redirects, leaves
// with CRLF at the end of its lines and with neither CR nor LF elsewhere, so
// that no other server can see an end in it that is none.
func TestAttackSmugglingOutward(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	world := s.foreignServer(t)
	redirects, redirectsPassword := s.account(t)
	s.sieve(t, redirects, redirectsPassword, `redirect "`+world.address("redirected")+`";`)
	for _, e := range falseEnds {
		for _, way := range []struct{ name, listener, from, to string }{
			{"submission", "submissions", user, world.address("submitted")},
			{"redirect", "smtp", stranger, redirects},
		} {
			t.Run(way.name+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				d := s.smtpLine(t, way.listener, false)
				if way.listener == "submissions" {
					d.expect(t, plain(user, password), "235")
				}
				d.expect(t, "MAIL FROM:<"+way.from+">", "250")
				d.expect(t, "RCPT TO:<"+way.to+">", "250")
				d.expect(t, "DATA", "354")
				subject := "outward " + randomHex(6)
				if answer := d.say(t, smuggled(way.from, way.to, subject, e.end)+"\r\n."); !strings.HasPrefix(answer, "2") {
					return // nothing leaves
				}
				world.expectClean(t, subject+" outer")
			})
		}
	}
}

// foreignServer is another mail server, on the address by which the stack's Postfix
// reaches this machine. It keeps what it receives octet by octet.
type foreignServer struct {
	host     string
	lock     sync.Mutex
	received []string // each the data of a message, up to its end
}

var port25 sync.Mutex

// foreignServer is the test's own until it ends: mail knows no port but 25.
func (s *Stack) foreignServer(t *testing.T) *foreignServer {
	t.Helper()
	port25.Lock()
	t.Cleanup(port25.Unlock)
	host := docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", s.container("postfix"))
	l, err := net.Listen("tcp", net.JoinHostPort(host, "25"))
	if err != nil {
		t.Fatal(err)
	}
	e := &foreignServer{host: host}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { e.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return e
}

func (e *foreignServer) address(local string) string { return local + "@[" + e.host + "]" }

// serve takes every message.
func (e *foreignServer) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	d := newDialogue(conn)
	reply := func(text string) bool {
		_, err := io.WriteString(conn, text+"\r\n")
		return err == nil
	}
	if !reply("220 elsewhere.example") {
		return
	}
	for {
		command, err := d.try("")
		if err != nil {
			return
		}
		answer := "250 taken"
		switch strings.ToUpper(command) {
		case "DATA":
			if !reply("354 go on") {
				return
			}
			if !e.data(d) {
				return
			}
		case "QUIT":
			reply("221 until then")
			return
		}
		if !reply(answer) {
			return
		}
	}
}

func (e *foreignServer) data(d *dialogue) bool {
	var data strings.Builder
	for !strings.HasSuffix("\r\n"+data.String(), "\r\n.\r\n") {
		line, err := d.r.ReadString('\n')
		if err != nil {
			return false
		}
		data.WriteString(line)
	}
	e.lock.Lock()
	defer e.lock.Unlock()
	e.received = append(e.received, data.String())
	return true
}

// with are the messages received whose data contain a text.
func (e *foreignServer) with(text string) []string {
	e.lock.Lock()
	defer e.lock.Unlock()
	var found []string
	for _, data := range e.received {
		if strings.Contains(data, text) {
			found = append(found, data)
		}
	}
	return found
}

// expectClean waits for the one message with a text, whose lines all have to end
// with CRLF.
func (e *foreignServer) expectClean(t *testing.T, text string) {
	t.Helper()
	waitUntil(t, 30*time.Second, "mail elsewhere", func() (bool, string) {
		return len(e.with(text)) > 0, "none"
	})
	found := e.with(text)
	if len(found) != 1 {
		t.Errorf("%d messages have arrived elsewhere", len(found))
	}
	for _, line := range strings.SplitAfter(found[0], "\r\n") {
		if strings.ContainsAny(strings.TrimSuffix(line, "\r\n"), "\r\n") {
			t.Errorf("leaves with a CR or an LF of its own: %q", line)
		}
	}
}
