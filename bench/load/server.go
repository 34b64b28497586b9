package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// DialogueTimeout bounds a connection from its opening to its end.
const DialogueTimeout = 2 * time.Minute

// Server is a mail server on loopback.
type Server struct {
	TLS   *tls.Config    // whom to trust, and for which name
	Ports map[string]int // by listener: "smtp", "submissions", "imaps", "pop3s"
}

// Refusal is an answer that is not the one that was due.
type Refusal struct {
	Said, Answer string // the client's line (without a password) and the server's
}

func (e *Refusal) Error() string { return fmt.Sprintf("answer to %s: %q", e.Said, e.Answer) }

// dialogue is a protocol of lines.
type dialogue struct {
	net.Conn
	r    *bufio.Reader
	stop func() bool // lets go of the context
}

// dial opens a connection, with TLS where the listener's name ends in "s".
func (s *Server) dial(ctx context.Context, listener string) (*dialogue, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.Ports[listener]))
	if err != nil {
		return nil, err
	}
	d := &dialogue{Conn: conn, stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	if err := conn.SetDeadline(time.Now().Add(DialogueTimeout)); err != nil {
		return nil, d.fail(err)
	}
	if !strings.HasSuffix(listener, "s") {
		d.r = bufio.NewReader(conn)
		return d, nil
	}
	if err := d.startTLS(ctx, s.TLS); err != nil {
		return nil, d.fail(fmt.Errorf("%s: %w", listener, err))
	}
	return d, nil
}

func (d *dialogue) startTLS(ctx context.Context, config *tls.Config) error {
	client := tls.Client(d.Conn, config)
	d.Conn, d.r = client, bufio.NewReader(client)
	return client.HandshakeContext(ctx)
}

// fail ends the dialogue and hands the error on.
func (d *dialogue) fail(err error) error {
	d.close()
	return err
}

func (d *dialogue) close() {
	d.stop()
	_ = d.Close() // what counts was answered before
}

func (d *dialogue) send(lines ...string) error {
	_, err := d.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
	return err
}

func (d *dialogue) line() (string, error) {
	line, err := d.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// expect says a line, unless it is "", and reads up to the line that ends the
// answer, which is the first one without an intermediate's beginning; that has
// to begin with want. name is what errors call the line.
func (d *dialogue) expect(name, line, want string, intermediate func(string) bool) error {
	if line != "" {
		if err := d.send(line); err != nil {
			return fmt.Errorf("say %s: %w", name, err)
		}
	}
	for {
		answer, err := d.line()
		switch {
		case err != nil:
			return fmt.Errorf("answer to %s: %w", name, err)
		case strings.HasPrefix(answer, want):
			return nil
		case !intermediate(answer):
			return &Refusal{Said: name, Answer: answer}
		}
	}
}

func never(string) bool { return false }
