package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"mailstack/e2e/lab"
)

// login opens an IMAP session. It ends with ctx.
func (a *arena) login(ctx context.Context, account string) (*imapclient.Client, error) {
	conn, err := a.dial(ctx, "imaps")
	if err != nil {
		return nil, err
	}
	c := imapclient.New(conn, nil)
	if err := c.Login(account, a.password).Wait(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// read is a mail program: it flags, moves and deletes messages of an account's
// INBOX, one at a time, and logs in again whenever its session ends.
func (a *arena) read(ctx context.Context, rng *rand.Rand, round int, account string) error {
	for ctx.Err() == nil {
		err := a.attempt(ctx, 20*time.Second, func(ctx context.Context) error { return a.readSession(ctx, rng, round, account) })
		if errors.Is(err, errLedger) {
			return err
		}
		if ctx.Err() == nil {
			a.findings.judge("IMAP reader", err)
		}
		lab.Pause(ctx, 200*time.Millisecond)
	}
	return nil
}

// readSession is one session.
func (a *arena) readSession(ctx context.Context, rng *rand.Rand, round int, account string) error {
	c, err := a.login(ctx, account)
	if err != nil {
		return err
	}
	defer c.Close()
	for ctx.Err() == nil {
		lab.Pause(ctx, time.Duration(100+rng.IntN(400))*time.Millisecond)
		inbox, err := c.Select("INBOX", nil).Wait()
		if err != nil {
			return err
		}
		if inbox.NumMessages == 0 {
			continue
		}
		// Among the newest: what has just come is what a fault may undo.
		number := max(1, int(inbox.NumMessages)-rng.IntN(20))
		found, err := c.Fetch(imap.SeqSetNum(uint32(number)), &imap.FetchOptions{UID: true, Envelope: true}).Collect()
		if err != nil {
			return err
		}
		if len(found) == 0 || !strings.HasPrefix(found[0].Envelope.Subject, subjectPrefix) {
			continue
		}
		one := change{
			Round: round, Account: account, ID: strings.TrimPrefix(found[0].Envelope.Subject, subjectPrefix),
			Kind: []string{flagged, flagged, moved, deleted}[rng.IntN(4)], Validity: inbox.UIDValidity, UID: uint32(found[0].UID),
		}
		a.ledger.tryChange(one)
		if err := apply(c, one); err != nil {
			return err
		}
		one.At = time.Now()
		if err := a.ledger.acknowledged(entry{Change: &one}); err != nil {
			return err
		}
	}
	return nil
}

// apply asks for a change; no error is the server's OK.
func apply(c *imapclient.Client, one change) error {
	uids := imap.UIDSetNum(imap.UID(one.UID))
	flag := func(flag imap.Flag) error {
		return c.Store(uids, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{flag}, Silent: true}, nil).Close()
	}
	switch one.Kind {
	case flagged:
		return flag(imap.FlagFlagged)
	case moved:
		_, err := c.Move(uids, "Archive").Wait()
		return err
	default:
		if err := flag(imap.FlagDeleted); err != nil {
			return err
		}
		return c.UIDExpunge(uids).Close()
	}
}

// pop3Error is a negative answer.
type pop3Error struct{ answer string }

func (e *pop3Error) Error() string { return e.answer }

// loginPOP3 logs in and says good-bye.
func (a *arena) loginPOP3(ctx context.Context, account string) error {
	conn, err := a.dial(ctx, "pop3s")
	if err != nil {
		return err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for _, line := range []string{"", "USER " + account + "\r\n", "PASS " + a.password + "\r\n", "QUIT\r\n"} {
		if _, err := conn.Write([]byte(line)); err != nil {
			return err
		}
		answer, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(answer, "+OK") {
			return &pop3Error{strings.TrimSpace(answer)}
		}
	}
	return nil
}

// loginIMAP logs in and says good-bye.
func (a *arena) loginIMAP(ctx context.Context, account string) error {
	c, err := a.login(ctx, account)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Logout().Wait()
}

// loginManageSieve logs in for scripts (RFC 5804).
func (a *arena) loginManageSieve(ctx context.Context, account string) error {
	client, err := a.manageSieve(ctx, account)
	if err != nil {
		return err
	}
	return client.Close()
}

// manageSieve opens a session.
func (a *arena) manageSieve(ctx context.Context, account string) (_ net.Conn, err error) {
	conn, err := a.dial(ctx, "managesieve")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	for _, command := range []string{"", "STARTTLS"} {
		if err := sieveCommand(conn, command); err != nil {
			return nil, err
		}
	}
	client := tls.Client(conn, a.tls)
	token := base64.StdEncoding.EncodeToString([]byte("\x00" + account + "\x00" + a.password))
	for _, command := range []string{"", `AUTHENTICATE "PLAIN" "` + token + `"`} {
		if err := sieveCommand(client, command); err != nil {
			return nil, err
		}
	}
	return client, nil
}

// loginSMTP logs in for submission.
func (a *arena) loginSMTP(ctx context.Context, account string) error {
	conn, err := a.dial(ctx, "submissions")
	if err != nil {
		return err
	}
	defer conn.Close()
	c := smtp.NewClient(conn)
	if err := c.Hello("client.example"); err != nil {
		return err
	}
	return c.Auth(sasl.NewPlainClient("", account, a.password))
}

// installSieve makes the script of the account "sieved" by ManageSieve (RFC 5804).
func (a *arena) installSieve(ctx context.Context) error {
	const script = "require [\"fileinto\", \"mailbox\"];\r\n" +
		"if header :is \"X-Chaos-File\" \"yes\" { fileinto :create \"Filed\"; }\r\n"
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	client, err := a.manageSieve(ctx, a.sieved)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, command := range []string{
		fmt.Sprintf("PUTSCRIPT \"chaos\" {%d+}\r\n%s", len(script), script), `SETACTIVE "chaos"`,
	} {
		if err := sieveCommand(client, command); err != nil {
			return err
		}
	}
	return nil
}

// sieveCommand says a command ("" says nothing) and reads up to its answer.
// Without pipelining nothing is left to read behind it.
func sieveCommand(conn net.Conn, command string) error {
	if command != "" {
		if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
			return err
		}
	}
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
			return fmt.Errorf("ManageSieve: %w", err)
		case strings.HasPrefix(line, "OK"):
			return nil
		case strings.HasPrefix(line, "NO"), strings.HasPrefix(line, "BYE"):
			return fmt.Errorf("ManageSieve: %s", strings.TrimSpace(line))
		}
	}
}

// bySubject looks for a subject.
func bySubject(subject string) *imap.SearchCriteria {
	return &imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}}}
}
