package oldhost

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

// dialTimeout bounds connections to a host and what is said on them.
const dialTimeout = time.Minute

// dial connects; the connection ends with ctx.
func dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return conn, conn.SetDeadline(time.Now().Add(dialTimeout))
}

// Login opens an IMAP session. The error is the server's refusal, or that of the
// connection.
func (h *Host) Login(ctx context.Context, address, password string) (*imapclient.Client, error) {
	conn, err := dial(ctx, h.IMAP)
	if err != nil {
		return nil, err
	}
	c := imapclient.New(conn, nil)
	if err := c.Login(address, password).Wait(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// POP3Answer logs in, says one command, and returns the first line of the answer:
// "STAT" is answered "+OK 488 15003687".
func (h *Host) POP3Answer(t T, a Account, command string) string {
	t.Helper()
	return h.pop3(t, a, command, func(string) bool { return true })[0]
}

// UIDLs are the names that POP3 has for the messages of an account, a line each:
// "1 UID1-1234567890".
func (h *Host) UIDLs(t T, a Account) []string {
	t.Helper()
	lines := h.pop3(t, a, "UIDL", func(line string) bool { return line == "." })
	return lines[1 : len(lines)-1]
}

// pop3 is a whole session with one command, and returns the lines of the answer to
// it, down to the one that ends it.
func (h *Host) pop3(t T, a Account, command string, end func(line string) bool) (answer []string) {
	t.Helper()
	conn, err := dial(t.Context(), h.POP3)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for _, say := range []string{"", "USER " + a.Address, "PASS " + a.Password, command, "QUIT"} {
		if say != "" {
			if _, err := fmt.Fprintf(conn, "%s\r\n", say); err != nil {
				t.Fatal(err)
			}
		}
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "+OK") {
			t.Fatalf("POP3 %s: %q: %q, %v", a.Address, strings.Fields(say + " -")[0], line, err)
		}
		if say != command {
			continue
		}
		answer = []string{strings.TrimSpace(line)}
		for !end(answer[len(answer)-1]) {
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatalf("POP3 %s: %s: %v", a.Address, command, err)
			}
			answer = append(answer, strings.TrimSpace(line))
		}
	}
	return answer
}

// Send hands a message to the host's Postfix, as another server would. When it
// returns, Postfix has taken it (250): a moment later it is in the mailbox.
func (h *Host) Send(ctx context.Context, to, subject string) (err error) {
	conn, err := dial(ctx, h.SMTP)
	if err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, h.Hostname)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Hello("elsewhere.example"); err != nil {
		return err
	}
	if err := c.Mail("writer@elsewhere.example"); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "From: <writer@elsewhere.example>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: <%s@traffic.example>\r\n\r\n%s\r\n",
		to, subject, strings.Join(strings.Fields(subject), "."), strings.Repeat("traffic ", 40))
	return errors.Join(err, w.Close())
}

// Drain waits until Postfix has delivered all that it took.
func (h *Host) Drain(t T) {
	t.Helper()
	h.shell(t, `postqueue -f
tries=0
until postqueue -p | grep -q "Mail queue is empty"; do
	tries=$((tries + 1))
	[ $tries -le 300 ] || { postqueue -p >&2; exit 1; }
	sleep 0.1
done`)
}
