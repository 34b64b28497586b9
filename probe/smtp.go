package probe

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// SMTP, RFC 5321, with AUTH (RFC 4954). The dialogue is written here: the
// library's client repeats a refused AUTH with a stray "*", which servers count
// as an error and log, and hides the codes of the greeting.
var smtpProtocol = protocol{
	banner: func(w *wire) error {
		_, err := (&smtpSession{w: w}).expect(220)
		return err
	},
	startTLS: func(w *wire) error {
		s := &smtpSession{w: w}
		if err := s.hello(); err != nil {
			return err
		}
		if _, ok := s.extensions["STARTTLS"]; !ok {
			return failf(KindTLS, "STARTTLS is not offered")
		}
		_, err := s.command(220, "STARTTLS")
		if isKind(err, KindAnswer) {
			return failf(KindTLS, "STARTTLS refused: %s", detailIn(err))
		}
		return err
	},
	open: func(w *wire, _ bool) (session, error) {
		s := &smtpSession{w: w}
		return s, s.hello()
	},
}

// helloName is what the probe calls itself in EHLO: at a stack of this program,
// whose log shows it, a name to be known by; elsewhere its own address, which is
// a valid name everywhere (RFC 5321, section 4.1.3).
func (t *Target) helloName(local net.Addr) string {
	if !t.Foreign {
		return "mailstack-probe." + t.Hostname
	}
	own, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return "[127.0.0.1]"
	}
	if a := own.Addr().Unmap().WithZone(""); a.Is6() {
		return "[IPv6:" + a.String() + "]"
	}
	return "[" + own.Addr().Unmap().String() + "]"
}

type smtpSession struct {
	w          *wire
	extensions map[string]string // of the last EHLO: keyword in capitals -> parameters
}

// smtpReply is a reply of one or more lines.
type smtpReply struct {
	code  int
	lines []string
}

func (r smtpReply) String() string {
	return printable(fmt.Sprintf("%d %s", r.code, strings.Join(r.lines, " / ")))
}

// taken says that the command did what it was to do, or wants to go on.
func (r smtpReply) taken() bool { return r.code >= 200 && r.code < 400 }

func (s *smtpSession) reply() (smtpReply, error) {
	var r smtpReply
	for range maxLines {
		line, err := s.w.readLine()
		if err != nil {
			return r, err
		}
		code, more, text, ok := parseReplyLine(line)
		if !ok || (len(r.lines) > 0 && code != r.code) {
			return r, failf(KindGarbage, "no SMTP reply: %q", printable(line))
		}
		r.code = code
		r.lines = append(r.lines, text)
		if !more {
			return r, nil
		}
	}
	return r, failf(KindGarbage, "no end to an SMTP reply")
}

// parseReplyLine takes "250-text" apart; more is its hyphen.
func parseReplyLine(line string) (code int, more bool, text string, ok bool) {
	if len(line) < 3 {
		return 0, false, "", false
	}
	code, err := strconv.Atoi(line[:3])
	if err != nil || code < 200 || code > 599 {
		return 0, false, "", false
	}
	if len(line) == 3 {
		return code, false, "", true
	}
	return code, line[3] == '-', line[4:], line[3] == '-' || line[3] == ' '
}

// send sends a command and returns whatever the reply is.
func (s *smtpSession) send(format string, args ...any) (smtpReply, error) {
	if err := s.w.writeLine(fmt.Sprintf(format, args...)); err != nil {
		return smtpReply{}, err
	}
	return s.reply()
}

// expect reads a reply that has to have this code.
func (s *smtpSession) expect(code int) (smtpReply, error) {
	r, err := s.reply()
	if err == nil && r.code != code {
		err = smtpFailure(r)
	}
	return r, err
}

func (s *smtpSession) command(code int, format string, args ...any) (smtpReply, error) {
	if err := s.w.writeLine(fmt.Sprintf(format, args...)); err != nil {
		return smtpReply{}, err
	}
	return s.expect(code)
}

// smtpFailure gives a reply that was not wanted its meaning.
func smtpFailure(r smtpReply) error {
	kind := KindAnswer
	switch r.code {
	case 535:
		kind = KindCredentials
	case 530, 538:
		kind = KindNeedsTLS
	case 421, 451, 454:
		kind = KindBackend
	case 452:
		kind = KindNoRoom
	}
	return failf(kind, "%s", r)
}

func (s *smtpSession) hello() error {
	r, err := s.command(250, "EHLO %s", s.w.hello)
	if err != nil {
		return err
	}
	s.extensions = make(map[string]string)
	for _, line := range r.lines[1:] {
		keyword, params, _ := strings.Cut(line, " ")
		s.extensions[strings.ToUpper(keyword)] = params
	}
	return nil
}

// auth tries AUTH PLAIN with an initial response, or AUTH LOGIN where that is
// offered and PLAIN is not: Exchange does so
// (https://datatracker.ietf.org/doc/html/draft-murchison-sasl-login-00).
func (s *smtpSession) auth(user string, password Secret) (smtpReply, error) {
	encode := base64.StdEncoding.EncodeToString
	offered := strings.Fields(strings.ToUpper(s.extensions["AUTH"]))
	if slices.Contains(offered, "PLAIN") || !slices.Contains(offered, "LOGIN") {
		return s.send("AUTH PLAIN %s", encode([]byte("\x00"+user+"\x00"+string(password))))
	}
	r, err := s.send("AUTH LOGIN")
	for _, answer := range []string{user, string(password)} {
		if err != nil || r.code != 334 {
			return r, err
		}
		r, err = s.send("%s", encode([]byte(answer)))
	}
	return r, err
}

func (s *smtpSession) login(user string, password Secret) error {
	r, err := s.auth(user, password)
	if err != nil {
		return err
	}
	if r.code != 235 {
		return smtpFailure(r)
	}
	return nil
}

func (s *smtpSession) loginInClear(user string) error {
	if mechanisms, ok := s.extensions["AUTH"]; ok {
		return failf(KindInsecure, "AUTH %s is offered without TLS", printable(mechanisms))
	}
	return s.authRefused(user)
}

// authRefused tries a login where there must be none at all. An answer that
// speaks about the password is no refusal.
func (s *smtpSession) authRefused(user string) error {
	r, err := s.auth(user, wrongPassword)
	switch {
	case err != nil:
		return err
	case r.taken():
		return failf(KindInsecure, "AUTH is taken: %s", r)
	case r.code == 535:
		return failf(KindInsecure, "the server looks at the password: %s", r)
	case r.code == 421 || r.code == 454:
		return smtpFailure(r)
	}
	return nil
}

func (s *smtpSession) read() error {
	_, err := s.command(250, "NOOP")
	return err
}

func (s *smtpSession) quit() error {
	_, err := s.command(221, "QUIT")
	return err
}

// offer asks whether mail from one address to another would be taken, and
// takes the question back. It never gets as far as DATA. An empty from is the
// null sender; to is the text between the angle brackets.
func (s *smtpSession) offer(from, to string) (smtpReply, error) {
	r, err := s.send("MAIL FROM:<%s>", from)
	if err != nil {
		return r, err
	}
	if r.taken() {
		if r, err = s.send("RCPT TO:<%s>", to); err != nil {
			return r, err
		}
	}
	if r.code == 421 { // the server is about to hang up
		return r, smtpFailure(r)
	}
	if _, err := s.command(250, "RSET"); err != nil {
		return r, err
	}
	return r, nil
}

// deliver sends a message and returns the server's acknowledgement.
func (s *smtpSession) deliver(from, to string, message []byte) (string, error) {
	if _, err := s.command(250, "MAIL FROM:<%s>", from); err != nil {
		return "", err
	}
	notify := ""
	if _, ok := s.extensions["DSN"]; ok {
		notify = " NOTIFY=NEVER" // a bounce would stay where the message was sent from (RFC 3461)
	}
	if _, err := s.command(250, "RCPT TO:<%s>%s", to, notify); err != nil {
		return "", err
	}
	if _, err := s.command(354, "DATA"); err != nil {
		return "", err
	}
	// The message is this package's own: CRLF everywhere, no line that begins
	// with a dot.
	if _, err := s.w.conn.Write(append(message, ".\r\n"...)); err != nil {
		return "", err
	}
	r, err := s.expect(250)
	if err != nil {
		return "", err
	}
	return strings.Join(r.lines, " "), nil
}
