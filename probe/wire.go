package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
)

const (
	// maxLine bounds one line of an answer, in bytes with its CRLF. SMTP allows
	// 512 and IMAP clients are advised to take 8192 (RFC 7162, section 4).
	maxLine = 8192
	// maxRead bounds everything that one connection may send, in bytes. The
	// probe's mailbox is nearly empty, so a megabyte is a server run wild.
	maxRead = 1 << 20
	// maxLines bounds an answer of several lines that has no end.
	maxLines = 5000
)

// wire is a connection to the server under test. Whatever the other end does,
// it is bounded in time (the context closes it), in line length and in bytes.
type wire struct {
	raw     net.Conn  // below TLS
	conn    net.Conn  // raw, or TLS over it
	secured *tls.Conn // TLS over raw; nil in the clear
	r       *bufio.Reader
	disarm  func() bool
	said    *spoken             // nil: nobody listens in
	state   tls.ConnectionState // after a handshake
	hello   string              // what to call oneself in EHLO
}

// dial connects, in the step "connect".
func dial(ctx context.Context, tr *Trace, addr netip.AddrPort) (*wire, error) {
	w := &wire{said: tr.said.listen(addr.String())}
	err := tr.step(ctx, "connect", func() error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr.String())
		if err != nil {
			return err
		}
		w.said.remark("connected from %s", conn.LocalAddr())
		w.raw = &boundedConn{Conn: conn, left: maxRead}
		w.use(w.raw)
		// The mail libraries take no context and set deadlines of their own;
		// closing the connection ends every read and write they wait in.
		w.disarm = context.AfterFunc(ctx, func() { conn.Close() })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (w *wire) use(conn net.Conn) {
	w.conn = w.said.on(conn)
	w.r = bufio.NewReaderSize(w.conn, maxLine)
}

// close drops the connection at once. It never waits.
func (w *wire) close() {
	w.disarm()
	w.raw.Close()
}

// hangUp ends a connection whose dialogue is over: TLS says goodbye, so that
// the server has nothing to log. The context still bounds it.
func (w *wire) hangUp() {
	w.conn.Close()
}

// speechless has words of its own for a connection that was taken and ended
// before the server said anything. A published port is like that when nobody
// listens behind it: the engine's proxy takes every connection.
func (w *wire) speechless(err error) error {
	var f *Failure
	if w.raw.(*boundedConn).left < maxRead || !errors.As(err, &f) { // see dial
		return err
	}
	if f.Kind != KindClosed && (f.Kind != KindTLS || f.Err == nil || kindOf(f.Err) != KindClosed) {
		return err
	}
	g := *f
	g.Kind, g.Detail = KindClosed, "before the server said anything"
	g.Advice = "the port is published, but perhaps nobody listens behind it: `mailstack status` shows its service, `mailstack logs` what that says"
	return &g
}

// secure does the TLS handshake, in the step "tls".
func (w *wire) secure(ctx context.Context, tr *Trace, t *Target) error {
	return tr.step(ctx, "tls", func() error { return w.handshake(ctx, t) })
}

// handshake verifies the certificate as a mail program does. Whether it is the
// one on disk is a matter of the checks of certificates: people who log in do
// not notice.
func (w *wire) handshake(ctx context.Context, t *Target) error {
	// Bytes that came before the handshake would be read as if they had been
	// encrypted: the flaw behind CVE-2011-0411.
	if w.r.Buffered() > 0 {
		return failf(KindTLS, "the server sent more in the clear after it had agreed to TLS")
	}
	config := &tls.Config{
		RootCAs:            t.Roots,
		ServerName:         t.Hostname,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: t.Unverified != "", // no secret is ever sent then, see needAccount
	}
	if t.adjust != nil {
		t.adjust(config)
	}
	conn := tls.Client(w.raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		if kind := kindOf(err); kind == KindClosed || kind == KindGarbage {
			return &Failure{Kind: KindTLS, Detail: closedIn("the handshake", err), Err: err}
		}
		return err
	}
	w.use(conn)
	w.secured = conn
	w.state = conn.ConnectionState()
	w.said.remark("%s, %s", tls.VersionName(w.state.Version), tls.CipherSuiteName(w.state.CipherSuite))
	return nil
}

// closedIn describes how a connection ended inside something.
func closedIn(where string, err error) string {
	if detail := detailOf(err); detail != "" {
		return detail
	}
	return "the server closed the connection in " + where
}

// compareFingerprint wants the certificate on disk, or its twin.
func compareFingerprint(leaf *x509.Certificate, want, twin string) error {
	canonical := func(print string) string { return strings.ToLower(strings.ReplaceAll(print, ":", "")) }
	want, twin = canonical(want), canonical(twin)
	if want == "" {
		return nil
	}
	if got := fingerprintOf(leaf); got != want && got != twin {
		return failf(KindCertificate, "served %.16s…, on disk %.16s…", got, want)
	}
	return nil
}

// endWriting tells the server that nothing more will come. What it has to say
// can still be read.
func (w *wire) endWriting() error {
	if w.secured != nil {
		if err := w.secured.CloseWrite(); err != nil {
			return err
		}
	}
	// Some servers go on in the clear when TLS has ended, and wait.
	return w.raw.(*boundedConn).Conn.(*net.TCPConn).CloseWrite() // see dial
}

// readLine reads one line without its CRLF. A bare LF, a control character, a
// line that is too long or one that ends in the middle is an error.
func (w *wire) readLine() (string, error) {
	line, err := w.readRaw()
	if err != nil {
		return "", err
	}
	if i := bytes.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' }); i >= 0 {
		return "", failf(KindGarbage, "control character in %q", printable(string(line)))
	}
	return string(line), nil
}

// readRaw is readLine for lines of a message, which may hold anything. The
// slice is valid until the next read.
func (w *wire) readRaw() ([]byte, error) {
	line, err := w.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, failf(KindGarbage, "line of more than %d bytes", maxLine)
	case err != nil && len(line) > 0 && kindOf(err) == KindClosed:
		return nil, &Failure{Kind: KindClosed, Detail: "in the middle of a line: " + printable(string(line)), Err: err}
	case err != nil:
		return nil, err
	}
	if !bytes.HasSuffix(line, []byte("\r\n")) {
		return nil, failf(KindGarbage, "line not ended by CRLF: %q", printable(string(line)))
	}
	return line[:len(line)-2], nil
}

// writeLine sends one line. What the server has said unasked before it is an
// error: it would be taken for the answer.
func (w *wire) writeLine(line string) error {
	if n := w.r.Buffered(); n > 0 {
		unasked, _ := w.r.Peek(n)
		return failf(KindGarbage, "said unasked: %q", printable(string(unasked)))
	}
	_, err := io.WriteString(w.conn, line+"\r\n")
	return err
}

// boundedConn is a connection that can be read for so many bytes and no more.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, failf(KindGarbage, "more than %d bytes of answer", maxRead)
	}
	if len(p) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	c.left -= n
	return n, err
}
