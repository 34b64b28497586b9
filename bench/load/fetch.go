package load

import (
	"context"
	"fmt"
	"strings"
)

// LogIn opens a connection to the listener "imaps" or "pop3s", logs in, and
// leaves again. A login that is refused is a [*Refusal].
func (s *Server) LogIn(ctx context.Context, listener, user, password string) error {
	if listener == "imaps" {
		session, err := s.IMAP(ctx, user, password)
		if err != nil {
			return err
		}
		return session.Leave()
	}
	d, err := s.dial(ctx, listener)
	if err != nil {
		return err
	}
	defer d.close()
	for _, step := range []struct{ name, line string }{
		{"the connection", ""}, {"USER", "USER " + user}, {"PASS", "PASS " + password}, {"QUIT", "QUIT"},
	} {
		if err := d.expect(step.name, step.line, "+OK", never); err != nil {
			return err
		}
	}
	return nil
}

// IMAP is a session.
type IMAP struct{ d *dialogue }

// imapTag begins no line of the messages here.
const imapTag = "bench1"

// IMAP opens a session on the listener "imaps".
func (s *Server) IMAP(ctx context.Context, user, password string) (*IMAP, error) {
	d, err := s.dial(ctx, "imaps")
	if err != nil {
		return nil, err
	}
	session := &IMAP{d}
	err = d.expect("the connection", "", "* OK", never)
	if err == nil {
		err = session.command("LOGIN", fmt.Sprintf("LOGIN %q %q", user, password), nil)
	}
	if err != nil {
		return nil, d.fail(err)
	}
	return session, nil
}

// command says a command and reads to its end; each gets the lines before.
func (c *IMAP) command(name, line string, each func(string)) error {
	return c.d.expect(name, imapTag+" "+line, imapTag+" OK", func(answer string) bool {
		if each != nil {
			each(answer)
		}
		return !strings.HasPrefix(answer, imapTag+" ")
	})
}

// Select opens a mailbox and returns how many messages it has.
func (c *IMAP) Select(mailbox string) (messages int, err error) {
	err = c.command("SELECT", fmt.Sprintf("SELECT %q", mailbox), func(line string) {
		var n int
		if _, err := fmt.Sscanf(line, "* %d EXISTS", &n); err == nil {
			messages = n
		}
	})
	return messages, err
}

// Unselect closes the mailbox.
func (c *IMAP) Unselect() error { return c.command("UNSELECT", "UNSELECT", nil) }

// FetchHeaders fetches of the first n messages what a list of them shows, and
// returns of how many it came.
func (c *IMAP) FetchHeaders(n int) (came int, err error) {
	const items = "(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM TO SUBJECT MESSAGE-ID)])"
	err = c.command("FETCH", fmt.Sprintf("FETCH 1:%d %s", n, items), func(line string) {
		if strings.HasPrefix(line, "* ") && strings.Contains(line, " FETCH (") {
			came++
		}
	})
	return came, err
}

// Leave ends the session.
func (c *IMAP) Leave() error {
	defer c.d.close()
	return c.command("LOGOUT", "LOGOUT", nil)
}
