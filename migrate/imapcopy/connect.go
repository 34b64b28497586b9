package imapcopy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailstack/imapguard"
)

// LoginError says that a server refused a login.
type LoginError struct {
	Address, User string
	Temporary     bool // the server cannot tell now whether the password is right
	Detail        string
}

// Error names the server and what it said.
func (e *LoginError) Error() string {
	return fmt.Sprintf("log in to %s as %s: %s", e.Address, e.User, e.Detail)
}

// Hint says what to do.
func (e *LoginError) Hint() string {
	if e.Temporary {
		return "that server has trouble of its own; try again later"
	}
	return "check user name and password; some servers want a password for programs, or IMAP switched on"
}

// session is a client that is logged in.
type session struct {
	*imapclient.Client
	close  func()
	answer *allowance
}

// Reach says whether a server answers, with a certificate that is its own.
func Reach(ctx context.Context, server Server) error {
	var p pulse
	ctx, cancel := p.watch(ctx, reachSilence)
	defer cancel()
	s, err := open(ctx, server, &p)
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	defer s.close()
	if err := s.WaitGreeting(); err != nil {
		return fmt.Errorf("wait for the greeting of %s: %w", server.Address, errors.Join(context.Cause(ctx), err))
	}
	return nil
}

// reachSilence is how long a server may take to greet.
const reachSilence = 30 * time.Second

// open begins a session. It ends with ctx.
func open(ctx context.Context, server Server, p *pulse) (*session, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server.Address, err)
	}
	live := &liveConn{conn, p, new(allowance)}
	live.answer.renew()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	s := &session{close: func() { stop(); _ = conn.Close() }, answer: live.answer}
	// A server that claims to know no TLS may not be the server.
	options := &imapclient.Options{TLSConfig: server.TLS, DebugWriter: &imapguard.Guard{Close: conn.Close}}
	if server.StartTLS {
		s.Client, err = imapclient.NewStartTLS(live, options)
	} else {
		s.Client, err = overTLS(ctx, live, options)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("begin TLS with %s: %w", server.Address, err)
	}
	return s, nil
}

// connect logs in.
func connect(ctx context.Context, l Login, p *pulse) (*session, error) {
	s, err := open(ctx, l.Server, p)
	if err != nil {
		return nil, err
	}
	if err := s.Login(l.User, string(l.Password)).Wait(); err != nil {
		s.close()
		var refused *imap.Error
		if !errors.As(err, &refused) {
			return nil, fmt.Errorf("log in to %s: %w", l.Server.Address, err)
		}
		return nil, &LoginError{
			Address: l.Server.Address, User: l.User, Detail: refused.Text,
			Temporary: refused.Code == imap.ResponseCodeUnavailable,
		}
	}
	return s, nil
}

// overTLS begins with TLS.
func overTLS(ctx context.Context, conn net.Conn, options *imapclient.Options) (*imapclient.Client, error) {
	secure := tls.Client(conn, options.TLSConfig)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return imapclient.New(secure, options), nil
}

// pulse is when one of the connections of a copy was last heard of. While one
// server is busy with a large message, the other has nothing to say: only both
// together are dead.
type pulse struct{ last atomic.Int64 }

func (p *pulse) beat() { p.last.Store(time.Now().UnixNano()) }

// SilenceError says that nothing was heard for too long.
type SilenceError struct{ For time.Duration }

// Error says for how long.
func (e *SilenceError) Error() string {
	return fmt.Sprintf("neither server said anything for %s", e.For)
}

// watch returns a context that ends when nothing was heard for so long.
func (p *pulse) watch(ctx context.Context, silence time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.beat()
	ticker := time.NewTicker(silence / 4)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if time.Since(time.Unix(0, p.last.Load())) > silence {
					cancel(&SilenceError{silence})
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// liveConn tells when something moves on it. The library sets deadlines for
// single commands, shorter ones than searching a mailbox of 100,000 messages may
// take; the pulse takes their place.
type liveConn struct {
	net.Conn
	pulse  *pulse
	answer *allowance
}

func (c *liveConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.pulse.beat()
	if c.answer.left.Add(int64(-n)) < 0 {
		return 0, errAnswer
	}
	return n, err
}

func (c *liveConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.pulse.beat()
	c.answer.renew()
	return n, err
}

func (*liveConn) SetDeadline(time.Time) error      { return nil }
func (*liveConn) SetReadDeadline(time.Time) error  { return nil }
func (*liveConn) SetWriteDeadline(time.Time) error { return nil }

// maxAnswer is how many octets a server may say before what it said is of use: to
// one command, or of one message. The library keeps what it hears until a line, a
// literal or a list has its end, and a server need not end them. A flag of two
// octets takes forty of memory.
const maxAnswer = 4 << 20

var errAnswer = fmt.Errorf("the server goes on and on: more than %d bytes, and no end to its answer", maxAnswer)

// allowance is what a server may still say.
type allowance struct{ left atomic.Int64 }

func (a *allowance) renew() { a.left.Store(maxAnswer) }

// next is fetch.Next; a message that is done with counts no more.
func (s *session) next(fetch *imapclient.FetchCommand) *imapclient.FetchMessageData {
	data := fetch.Next()
	s.answer.renew()
	return data
}

// text is a message's text, which is handed on as it comes: what was handed on
// counts no more.
func (s *session) text(literal io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := literal.Read(p)
		s.answer.renew()
		return n, err
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
