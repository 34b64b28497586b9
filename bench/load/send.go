package load

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// SMTP is a session.
type SMTP struct{ d *dialogue }

// Submission opens a session on the listener "submissions" and signs in.
func (s *Server) Submission(ctx context.Context, user, password string) (*SMTP, error) {
	d, err := s.dial(ctx, "submissions")
	if err != nil {
		return nil, err
	}
	session := &SMTP{d}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	for _, step := range []struct{ name, line, want string }{
		{"the connection", "", "220"}, {"EHLO", "EHLO bench.localhost", "250"}, {"AUTH", "AUTH PLAIN " + plain, "235"},
	} {
		if err := session.command(step.name, step.line, step.want); err != nil {
			return nil, d.fail(err)
		}
	}
	return session, nil
}

// Inbound opens a session on the listener "smtp" as another mail server does,
// with STARTTLS.
func (s *Server) Inbound(ctx context.Context) (*SMTP, error) {
	d, err := s.dial(ctx, "smtp")
	if err != nil {
		return nil, err
	}
	session := &SMTP{d}
	for _, step := range []struct{ name, line, want string }{
		{"the connection", "", "220"}, {"EHLO", "EHLO bench.localhost", "250"}, {"STARTTLS", "STARTTLS", "220"},
	} {
		if err := session.command(step.name, step.line, step.want); err != nil {
			return nil, d.fail(err)
		}
	}
	if err := d.startTLS(ctx, s.TLS); err != nil {
		return nil, d.fail(fmt.Errorf("STARTTLS: %w", err))
	}
	if err := session.command("EHLO", "EHLO bench.localhost", "250"); err != nil {
		return nil, d.fail(err)
	}
	return session, nil
}

// command says a line and reads the whole reply (RFC 5321, section 4.2.1).
func (c *SMTP) command(name, line, want string) error {
	return c.d.expect(name, line, want+" ", func(answer string) bool { return strings.HasPrefix(answer, want+"-") })
}

// Send hands a message over: a whole transaction, up to the 250 that makes it
// the server's. No line of the message may begin with a dot.
func (c *SMTP) Send(from, to string, message []byte) error {
	for _, step := range []struct{ name, line, want string }{
		{"MAIL", "MAIL FROM:<" + from + ">", "250"},
		{"RCPT", "RCPT TO:<" + to + ">", "250"},
		{"DATA", "DATA", "354"},
		{"the message", string(message) + ".", "250"},
	} {
		if err := c.command(step.name, step.line, step.want); err != nil {
			return err
		}
	}
	return nil
}

// Sender begins a transaction.
func (c *SMTP) Sender(from string) error { return c.command("MAIL", "MAIL FROM:<"+from+">", "250") }

// Recipient names a recipient of the transaction.
func (c *SMTP) Recipient(to string) error { return c.command("RCPT", "RCPT TO:<"+to+">", "250") }

// Reset takes the transaction back.
func (c *SMTP) Reset() error { return c.command("RSET", "RSET", "250") }

// Leave ends the session.
func (c *SMTP) Leave() error {
	defer c.d.close()
	return c.command("QUIT", "QUIT", "221")
}

// Message is one of about as many bytes, headers and all; n tells it from
// others.
func Message(from, to string, n, bytes int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: number %d of a benchmark\r\nDate: %s\r\nMessage-ID: <%d.%d@bench.localhost>\r\n\r\n",
		from, to, n, time.Now().Format(time.RFC1123Z), n, time.Now().UnixNano())
	const line = "The quick brown fox jumps over the lazy dog, as it did in the last one.\r\n"
	for b.Len() < bytes {
		b.WriteString(line)
	}
	return []byte(b.String())
}
