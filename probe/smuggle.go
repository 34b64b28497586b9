package probe

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Ends of data that are none: only CRLF "." CRLF is (RFC 5321, section 4.1.1.4).
// A server that takes one of them takes what follows for commands, and so
// passes on mail that another server has never seen
// (https://www.postfix.org/smtp-smuggling.html).
var falseEnds = []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r"}

// hops is the number of Received fields that makes a message one that loops,
// which every server refuses (RFC 5321, section 6.3, says that the limit should
// be at least 100). So the message of this check is never delivered, whichever
// end of it is taken.
const hops = 120

// smuggle is a message to the account itself with every false end in it, each
// followed by a command that does nothing.
func smuggle(t *Target, now time.Time) []byte {
	var b strings.Builder
	for i := range hops {
		fmt.Fprintf(&b, "Received: from loop.invalid by loop.invalid id %d; %s\r\n", i, now.Format(time.RFC1123Z))
	}
	b.Write(newMarker(now).message(t, t.User, t.User, "refusal.smtp", now))
	for _, end := range falseEnds {
		b.WriteString("text" + end + "NOOP\r\n")
	}
	b.WriteString("\r\n.\r\n")
	return []byte(b.String())
}

// errHungUp says that the server has refused an attempt by ending the
// connection.
var errHungUp = errors.New("the server hung up")

// noSmuggling: there is one answer to a message, whatever is in it.
func noSmuggling(t *Target, s *smtpSession) error {
	for _, c := range []struct {
		code    int
		command string
	}{{250, "MAIL FROM:<>"}, {250, "RCPT TO:<" + t.User + ">"}, {354, "DATA"}} {
		if _, err := s.command(c.code, "%s", c.command); err != nil {
			if isKind(err, KindBackend) || isKind(err, KindAnswer) {
				// Why it takes no mail at all is what delivery.inbound is about.
				return failf(KindNotRun, "no message is taken now: %s", detailIn(err))
			}
			return err
		}
	}
	if _, err := s.w.conn.Write(smuggle(t, time.Now())); err != nil {
		return err
	}
	first, err := s.reply()
	if err != nil {
		return err
	}
	if first.code == 421 || first.code == 521 {
		return errHungUp // what was left of the message is nobody's command then
	}
	// Answers to smuggled commands, if there are any, come before the one to
	// the next command, which is the only one of several lines.
	if _, err := io.WriteString(s.w.conn, "EHLO "+helloName+"\r\n"); err != nil {
		return err
	}
	for answers := 1; answers < maxLines; answers++ {
		r, err := s.reply()
		switch {
		case err != nil:
			return err
		case len(r.lines) > 1 && answers == 1:
			return nil
		case len(r.lines) > 1:
			return failf(KindInsecure, "an end of data that is none is taken: %d answers to one message, the first %s", answers, first)
		}
	}
	return failf(KindGarbage, "no end to the answers to one message")
}
