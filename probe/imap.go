package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailstack/imapguard"
)

// IMAP, RFC 9051 and RFC 3501. The library does the dialogue; banner and
// STARTTLS are done here, so that each can be timed and judged by itself.
var imapProtocol = protocol{
	banner:   imapBanner,
	startTLS: imapStartTLS,
	open:     openIMAP,
}

func imapBanner(w *wire) error {
	line, err := w.readLine()
	if err != nil {
		return err
	}
	switch word, _, _ := strings.Cut(strings.TrimPrefix(line, "* "), " "); {
	case !strings.HasPrefix(line, "* "):
		return failf(KindGarbage, "banner %q", printable(line))
	case strings.EqualFold(word, "OK"):
		return nil
	case strings.EqualFold(word, "BYE"):
		return failf(KindBackend, "banner %q", printable(line))
	case strings.EqualFold(word, "PREAUTH"):
		return failf(KindInsecure, "the server takes everybody as logged in: banner %q", printable(line))
	}
	return failf(KindGarbage, "banner %q", printable(line))
}

func imapStartTLS(w *wire) error {
	const tag = "p0"
	if err := w.writeLine(tag + " STARTTLS"); err != nil {
		return err
	}
	for range maxLines {
		line, err := w.readLine()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "* ") {
			continue
		}
		answer, ok := strings.CutPrefix(line, tag+" ")
		if !ok {
			return failf(KindGarbage, "answer to STARTTLS: %q", printable(line))
		}
		if word, _, _ := strings.Cut(answer, " "); !strings.EqualFold(word, "OK") {
			return failf(KindTLS, "STARTTLS refused: %q", printable(answer))
		}
		return nil
	}
	return failf(KindGarbage, "no end to the answer to STARTTLS")
}

// imapSession is a session of the library.
type imapSession struct {
	*imapclient.Client
	conn *replayConn
}

func openIMAP(w *wire, _ bool) (session, error) {
	// The banner has been read, and after STARTTLS there is no second one; the
	// library waits for one all the same. This one carries no capabilities, so
	// that those from before TLS are never believed.
	conn := &replayConn{Conn: w.conn, ahead: bytes.NewReader([]byte("* OK begin\r\n")), rest: w.r}
	s := &imapSession{imapclient.New(conn, &imapclient.Options{DebugWriter: &imapguard.Guard{Close: conn.Close}}), conn}
	if s.Caps() == nil {
		// The reason is in the connection; any command brings it out.
		if err := s.Noop().Wait(); err != nil {
			return nil, s.failure(err)
		}
		return nil, failf(KindAnswer, "no capabilities")
	}
	return s, nil
}

func (s *imapSession) login(user string, password Secret) error {
	return s.failure(s.Login(user, string(password)).Wait())
}

func (s *imapSession) loginInClear(user string) error {
	err := s.login(user, wrongPassword)
	switch {
	case err == nil:
		return failf(KindInsecure, "logged in without TLS, and with a wrong password")
	case isKind(err, KindNeedsTLS):
		return nil
	case isKind(err, KindAnswer) && s.Caps().Has(imap.CapLoginDisabled):
		return nil // RFC 9051, section 6.2.3
	case isKind(err, KindCredentials), isKind(err, KindAnswer):
		return failf(KindInsecure, "the server looks at passwords sent without TLS: %s", detailIn(err))
	}
	return err
}

func (s *imapSession) read() error {
	data, err := s.Status("INBOX", &imap.StatusOptions{NumMessages: true}).Wait()
	if err != nil {
		return s.failure(err)
	}
	if data.NumMessages == nil {
		return failf(KindAnswer, "STATUS INBOX without a number of messages")
	}
	return nil
}

func (s *imapSession) quit() error { return s.failure(s.Logout().Wait()) }

// failure gives the server's codes their meaning (RFC 5530).
func (s *imapSession) failure(err error) error {
	if err == nil {
		return nil
	}
	var status *imap.Error
	if !errors.As(err, &status) {
		// The library describes a broken connection as bad syntax and drops
		// the cause; the connection remembers it.
		if cause := s.conn.failed.Load(); cause != nil {
			return *cause
		}
		return err
	}
	f := &Failure{Kind: KindAnswer, Detail: printable(imapText(status)), Err: err}
	switch status.Code {
	case imap.ResponseCodeAuthenticationFailed, imap.ResponseCodeAuthorizationFailed, imap.ResponseCodeExpired:
		f.Kind = KindCredentials
	case imap.ResponseCodeUnavailable, imap.ResponseCodeServerBug:
		f.Kind = KindBackend
	case imap.ResponseCodePrivacyRequired:
		f.Kind = KindNeedsTLS
	}
	if status.Type == imap.StatusResponseTypeBye {
		f.Kind = KindBackend
	}
	return f
}

func imapText(e *imap.Error) string {
	if e.Code == "" {
		return fmt.Sprintf("%s %s", e.Type, e.Text)
	}
	return fmt.Sprintf("%s [%s] %s", e.Type, e.Code, e.Text)
}

// detailIn is the detail of a Failure, for use in another one.
func detailIn(err error) string {
	var f *Failure
	if errors.As(err, &f) {
		return f.Detail
	}
	return printable(err.Error())
}

// replayConn is a connection of which something was read already. It also
// bounds the length of a line, which the library does not.
type replayConn struct {
	net.Conn
	ahead  *bytes.Reader // is read first
	rest   io.Reader     // the buffer above Conn
	line   int           // bytes since the last line's end
	failed atomic.Pointer[error]
}

func (c *replayConn) Read(p []byte) (int, error) {
	if c.ahead.Len() > 0 {
		return c.ahead.Read(p)
	}
	n, err := c.rest.Read(p)
	if end := bytes.LastIndexByte(p[:n], '\n'); end >= 0 {
		c.line = n - end - 1
	} else if c.line += n; c.line > maxLine {
		err = failf(KindGarbage, "line of more than %d bytes", maxLine)
	}
	if err != nil {
		c.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}
