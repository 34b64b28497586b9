package probe

import (
	"errors"
	"fmt"
	"net"
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
// be at least 100). So at a server of others the message is never delivered,
// even if one of its false ends is taken. Postfix logs a warning about such a
// message; at a stack of this program one that gets through is removed like
// every message of the probe's.
const hops = 120

// smuggle is a message to the account itself with every false end in it, each
// followed by a command that does nothing. It has no true end.
func smuggle(t *Target, now time.Time) []byte {
	var b strings.Builder
	for i := range hops {
		if t.Foreign {
			fmt.Fprintf(&b, "Received: from loop.invalid by loop.invalid id %d; %s\r\n", i, now.Format(time.RFC1123Z))
		}
	}
	b.Write(newMarker(now).message(t, t.address(), t.recipient(), "refusal.smtp", now))
	for _, end := range falseEnds {
		b.WriteString("text" + end + "NOOP\r\n")
	}
	return []byte(b.String())
}

// errHungUp says that the server has refused an attempt by ending the
// connection.
var errHungUp = errors.New("the server hung up")

// hungUp says whether err means that the server has ended the connection. If it
// was this side (the deadline), that says nothing about the server.
func hungUp(err error) bool {
	return err != nil && kindOf(err) == KindClosed && !errors.Is(err, net.ErrClosed)
}

// begin begins a message whose end is what matters.
func (s *smtpSession) begin(from, to string) error {
	for _, c := range []struct {
		code    int
		command string
	}{{250, "MAIL FROM:<" + from + ">"}, {250, "RCPT TO:<" + to + ">"}, {354, "DATA"}} {
		if _, err := s.command(c.code, "%s", c.command); err != nil {
			if isKind(err, KindBackend) || isKind(err, KindNoRoom) || isKind(err, KindAnswer) {
				// Why it takes no mail at all is what the checks of deliveries are about.
				return failf(KindNotRun, "no message is taken now: %s", detailIn(err))
			}
			return err
		}
	}
	return nil
}

// noSmuggling: what follows a false end is never taken for a command. The
// message is broken off after them, so that a server that is right has nothing
// to answer, and nothing to deliver.
func noSmuggling(t *Target, s *smtpSession) error {
	if err := s.begin("", t.recipient()); err != nil {
		return err
	}
	_, err := s.w.conn.Write(smuggle(t, time.Now()))
	if err == nil {
		err = s.w.endWriting()
	}
	if err != nil && !hungUp(err) {
		return err
	}
	for answers := 1; answers < maxLines; answers++ {
		r, err := s.reply()
		switch {
		case hungUp(err):
			return errHungUp
		case err != nil:
			return err
		case r.taken(), answers > 1: // a refusal of the whole is one answer
			return failf(KindInsecure, "an end of data that is none is taken: %s", r)
		}
	}
	return failf(KindGarbage, "no end to the answers to one message")
}
