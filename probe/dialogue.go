package probe

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Conversation is what was said on one connection.
type Conversation struct {
	Address string // "127.0.0.1:993"
	Lines   []Line
}

// Line is one line of a conversation. Passwords in it are blanked, and it is
// safe to print.
type Line struct {
	At   time.Duration // since the check began
	From Speaker
	Text string
}

// Speaker is who said a line.
type Speaker byte

// The speakers, by the mark that reports give their lines.
const (
	Client Speaker = '>'
	Server Speaker = '<'
	Remark Speaker = '*' // said by nobody: what happened
)

// maxSaid bounds the lines that are kept of one connection.
const maxSaid = 500

// recorder keeps the conversations of one check. A nil recorder keeps nothing.
type recorder struct {
	mu      sync.Mutex
	began   time.Time
	blank   blank
	records []*spoken
}

// spoken is one connection that is listened in on.
type spoken struct {
	rec     *recorder
	address string
	lines   []Line
	partial map[Speaker][]byte // the beginning of a line
}

func newRecorder(t *Target) *recorder {
	return &recorder{began: time.Now(), blank: blankerOf(t)}
}

// listen begins to listen in on a connection. TLS is begun above it.
func (r *recorder) listen(address string) *spoken {
	if r == nil {
		return nil
	}
	s := &spoken{rec: r, address: address, partial: make(map[Speaker][]byte)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, s)
	return s
}

// on returns a connection that is listened in on.
func (s *spoken) on(conn net.Conn) net.Conn {
	if s == nil {
		return conn
	}
	return &heardConn{conn, s}
}

// remark notes what happened.
func (s *spoken) remark(format string, args ...any) {
	if s == nil {
		return
	}
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	s.add(Remark, fmt.Sprintf(format, args...))
}

// hear takes what was said apart into lines. A password is never split between
// two lines, since no protocol can carry one with a line's end in it.
func (s *spoken) hear(from Speaker, p []byte) {
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	for len(p) > 0 && len(s.lines) < maxSaid {
		line, rest, ended := strings.Cut(string(p), "\n")
		s.partial[from] = append(s.partial[from], line...)
		if p = []byte(rest); !ended && len(s.partial[from]) <= maxLine {
			return
		}
		s.flush(from)
	}
}

func (s *spoken) flush(from Speaker) {
	s.add(from, string(s.partial[from]))
	s.partial[from] = nil
}

func (s *spoken) add(from Speaker, text string) {
	text = strings.TrimSuffix(text, "\r")
	s.lines = append(s.lines, Line{time.Since(s.rec.began), from, printable(s.rec.blank.text(text))})
}

// conversations is what was said so far, in the order in which the connections
// were made.
func (r *recorder) conversations() []Conversation {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Conversation, len(r.records))
	for i, s := range r.records {
		for _, from := range []Speaker{Client, Server} {
			if len(s.partial[from]) > 0 {
				s.flush(from)
			}
		}
		all[i] = Conversation{s.address, append([]Line(nil), s.lines...)}
	}
	return all
}

// heardConn is a connection that is listened in on.
type heardConn struct {
	net.Conn
	by *spoken
}

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.by.hear(Server, p[:n])
	return n, err
}

func (c *heardConn) Write(p []byte) (int, error) {
	c.by.hear(Client, p)
	return c.Conn.Write(p)
}
