package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// caPEM is the stack's CA as `cert trust --print` gives it.
func (s *Stack) caPEM(t *testing.T) []byte {
	t.Helper()
	s.caOnce.Do(func() { s.ca = []byte(s.mustRun(t, "cert", "trust", "--print")) })
	return s.ca
}

// caFile is a file with the stack's CA.
func (s *Stack) caFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, s.caPEM(t), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// tls trusts the stack's CA for the stack's hostname and nothing else.
func (s *Stack) tls(t *testing.T) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.caPEM(t)) {
		t.Fatalf("no CA in %q", s.ca)
	}
	return &tls.Config{RootCAs: pool, ServerName: s.hostname()}
}

// dial opens a connection to a listener, with TLS where it begins with TLS. A
// whole dialogue has two minutes.
func (s *Stack) dial(t *testing.T, key string) (net.Conn, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.addr(key), 10*time.Second)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return nil, err
	}
	switch key {
	case "imaps", "pop3s", "submissions":
		client, err := s.secure(t, conn)
		if err != nil {
			return nil, err
		}
		return client, nil
	}
	return conn, nil
}

// dialogue is a line protocol spoken by hand.
type dialogue struct {
	conn net.Conn
	r    *bufio.Reader
}

// line opens a dialogue and reads no greeting.
func (s *Stack) line(t *testing.T, key string) *dialogue {
	t.Helper()
	conn, err := s.dial(t, key)
	if err != nil {
		t.Fatalf("dial %s: %v", key, err)
	}
	return &dialogue{conn, bufio.NewReader(conn)}
}

// try sends a line ("" sends nothing) and reads one.
func (d *dialogue) try(line string) (string, error) {
	if line != "" {
		if _, err := d.conn.Write([]byte(line + "\r\n")); err != nil {
			return "", err
		}
	}
	answer, err := d.r.ReadString('\n')
	return strings.TrimRight(answer, "\r\n"), err
}

// say is try for what has to be answered.
func (d *dialogue) say(t *testing.T, line string) string {
	t.Helper()
	answer, err := d.try(line)
	if err != nil {
		t.Fatalf("after %q: %v", line, err)
	}
	return answer
}

// expect is say with the beginning that the answer must have.
func (d *dialogue) expect(t *testing.T, line, prefix string) string {
	t.Helper()
	answer := d.say(t, line)
	if !strings.HasPrefix(answer, prefix) {
		t.Fatalf("answer to %q is %q, not %q…", line, answer, prefix)
	}
	return answer
}

// until says a line and reads lines to the first one for which end is true,
// which it returns too.
func (d *dialogue) until(t *testing.T, line string, end func(string) bool) []string {
	t.Helper()
	lines := []string{d.say(t, line)}
	for !end(lines[len(lines)-1]) {
		lines = append(lines, d.say(t, ""))
	}
	return lines
}

// smtp says a line and reads the whole reply.
func (d *dialogue) smtp(t *testing.T, line string) []string {
	t.Helper()
	return d.until(t, line, func(l string) bool { return len(l) >= 4 && l[3] == ' ' })
}

// startTLS goes on in TLS, after the command for it was accepted.
func (d *dialogue) startTLS(t *testing.T, s *Stack) {
	t.Helper()
	client, err := s.secure(t, d.conn)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	*d = *newDialogue(client)
}

// secure makes a connection one in TLS.
func (s *Stack) secure(t *testing.T, conn net.Conn) (*tls.Conn, error) {
	t.Helper()
	client := tls.Client(conn, s.tls(t))
	return client, client.HandshakeContext(t.Context())
}

// drain reads to the other end's hanging up.
func drain(conn net.Conn) string {
	all, _ := io.ReadAll(conn)
	return string(all)
}

// imap logs in on the port with TLS.
func (s *Stack) imap(t *testing.T, user, password string) *imapclient.Client {
	t.Helper()
	c, err := s.imapLogin(t, user, password)
	if err != nil {
		t.Fatalf("IMAP login of %s: %v", user, err)
	}
	return c
}

func (s *Stack) imapLogin(t *testing.T, user, password string) (*imapclient.Client, error) {
	t.Helper()
	conn, err := s.dial(t, "imaps")
	if err != nil {
		return nil, err
	}
	c := imapclient.New(conn, nil)
	t.Cleanup(func() { c.Close() })
	return c, c.Login(user, password).Wait()
}

// pop3Login opens a POP3 session on the port with TLS.
func (s *Stack) pop3Login(t *testing.T, user, password string) (*dialogue, error) {
	t.Helper()
	d := s.line(t, "pop3s")
	d.expect(t, "", "+OK")
	d.expect(t, "USER "+user, "+OK")
	answer, err := d.try("PASS " + password)
	if err == nil && !strings.HasPrefix(answer, "+OK") {
		err = errors.New(answer)
	}
	return d, err
}

// smtpLogin opens a submission session on the port with TLS.
func (s *Stack) smtpLogin(t *testing.T, user, password string) (*smtp.Client, error) {
	t.Helper()
	conn, err := s.dial(t, "submissions")
	if err != nil {
		return nil, err
	}
	c := smtp.NewClient(conn)
	if err := c.Hello("client.example"); err != nil {
		return nil, err
	}
	return c, c.Auth(sasl.NewPlainClient("", user, password))
}

// submit sends a message as a mail program does, on the port with TLS.
func (s *Stack) submit(t *testing.T, user, password, from string, to []string, message string) error {
	t.Helper()
	c, err := s.smtpLogin(t, user, password)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail(from, to, strings.NewReader(message))
}

// inbound delivers a message to port 25 as another mail server does.
func (s *Stack) inbound(t *testing.T, from string, to []string, message string) error {
	t.Helper()
	conn, err := s.dial(t, "smtp")
	if err != nil {
		return err
	}
	defer conn.Close()
	c := smtp.NewClient(conn)
	if err := c.Hello("elsewhere.example"); err != nil {
		return err
	}
	return c.SendMail(from, to, strings.NewReader(message))
}

// deliver is inbound for what has to be accepted; it returns the subject.
func (s *Stack) deliver(t *testing.T, from string, to ...string) (subject string) {
	t.Helper()
	subject = "subject " + randomHex(6)
	if err := s.inbound(t, from, to, message(from, to[0], subject, "Hello.")); err != nil {
		t.Fatalf("mail from <%s> to %v: %v", from, to, err)
	}
	return subject
}

// message is a plain message.
func message(from, to, subject, body string) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@client.example>\r\n\r\n%s\r\n",
		from, to, subject, time.Now().Format(time.RFC1123Z), randomHex(8), strings.ReplaceAll(body, "\n", "\r\n"))
}

// smtpCode is the reply code in an error of go-smtp, 0 if there is none.
func smtpCode(err error) int {
	var e *smtp.SMTPError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// find gives the messages in a mailbox whose subject contains subject.
func find(c *imapclient.Client, mailbox, subject string) ([]string, error) {
	if _, err := c.Select(mailbox, &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		return nil, err
	}
	data, err := c.UIDSearch(&imap.SearchCriteria{
		Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}},
	}, nil).Wait()
	if err != nil || len(data.AllUIDs()) == 0 {
		return nil, err
	}
	all := &imap.FetchItemBodySection{Peek: true}
	fetched, err := c.Fetch(imap.UIDSetNum(data.AllUIDs()...), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{all}}).Collect()
	if err != nil {
		return nil, err
	}
	var messages []string
	for _, m := range fetched {
		messages = append(messages, string(m.FindBodySection(all)))
	}
	return messages, nil
}

// waitMail waits until a message with the subject is in the mailbox. It signs in
// again where its session ends: a change of the account that another command
// has just seen to may end one that is newer.
func (s *Stack) waitMail(t *testing.T, user, password, mailbox, subject string) string {
	t.Helper()
	var found []string
	waitUntil(t, 30*time.Second, fmt.Sprintf("mail %q in %s of %s", subject, mailbox, user), func() (bool, string) {
		var err error
		found, err = s.look(t, user, password, mailbox, subject)
		return len(found) > 0, fmt.Sprintf("no such message (%v)", err)
	})
	return found[0]
}

// waitFiled is waitMail for a message that the filter may mark, and says where it is.
func (s *Stack) waitFiled(t *testing.T, user, password, subject string) (mailbox, letter string) {
	t.Helper()
	waitUntil(t, 30*time.Second, fmt.Sprintf("mail %q of %s", subject, user), func() (bool, string) {
		for _, mailbox = range []string{"INBOX", "Junk"} {
			found, err := s.look(t, user, password, mailbox, subject)
			if err != nil {
				return false, err.Error()
			}
			if len(found) > 0 {
				letter = found[0]
				return true, ""
			}
		}
		return false, "no such message in INBOX or Junk"
	})
	return mailbox, letter
}

// count is the number of messages with the subject in INBOX now.
func (s *Stack) count(t *testing.T, user, password, subject string) int {
	t.Helper()
	var found []string
	waitUntil(t, 10*time.Second, "look into INBOX of "+user, func() (bool, string) {
		var err error
		found, err = s.look(t, user, password, "INBOX", subject)
		return err == nil, fmt.Sprint(err)
	})
	return len(found)
}

// look finds messages in a session of its own.
func (s *Stack) look(t *testing.T, user, password, mailbox, subject string) ([]string, error) {
	t.Helper()
	c, err := s.imapLogin(t, user, password)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return find(c, mailbox, subject)
}

// sieveLogin opens a ManageSieve session (RFC 5804): STARTTLS, then the login.
func (s *Stack) sieveLogin(t *testing.T, user, password string) (*dialogue, error) {
	t.Helper()
	ended := func(l string) bool {
		return strings.HasPrefix(l, "OK") || strings.HasPrefix(l, "NO") || strings.HasPrefix(l, "BYE")
	}
	d := s.line(t, "managesieve")
	d.until(t, "", ended)
	d.expect(t, "STARTTLS", "OK")
	d.startTLS(t, s)
	d.until(t, "", ended)
	answer, err := d.try(plainSieve(user, password))
	if err == nil && !strings.HasPrefix(answer, "OK") {
		err = errors.New(answer)
	}
	return d, err
}

// sieve stores a script and makes it the active one.
func (s *Stack) sieve(t *testing.T, user, password, script string) {
	t.Helper()
	d, err := s.sieveLogin(t, user, password)
	if err != nil {
		t.Fatalf("ManageSieve login of %s: %v", user, err)
	}
	d.expect(t, fmt.Sprintf("PUTSCRIPT \"test\" {%d+}\r\n%s", len(script), script), "OK")
	d.expect(t, `SETACTIVE "test"`, "OK")
	d.expect(t, "LOGOUT", "OK")
}

// plainSieve is the command that logs in to ManageSieve (RFC 5804).
func plainSieve(user, password string) string {
	return `AUTHENTICATE "PLAIN" "` + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + `"`
}

// plain is the command that logs in to SMTP in one line (RFC 4954).
func plain(user, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}
