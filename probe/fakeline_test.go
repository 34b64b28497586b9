package probe

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// lineServer is one side of a line protocol, by hand.
type lineServer struct {
	w      *world
	conn   net.Conn
	r      *bufio.Reader
	secure bool
	user   string
}

func (w *world) newLineServer(conn net.Conn, secure bool) *lineServer {
	return &lineServer{w: w, conn: conn, r: bufio.NewReader(conn), secure: secure}
}

func (s *lineServer) say(format string, args ...any) { fmt.Fprintf(s.conn, format+"\r\n", args...) }

// hear returns a command and its argument; ok is false when the client is gone.
func (s *lineServer) hear() (command, argument string, ok bool) {
	line, err := s.r.ReadString('\n')
	if err != nil {
		return "", "", false
	}
	command, argument, _ = strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	return strings.ToUpper(command), argument, true
}

func (s *lineServer) upgrade() {
	s.conn = s.w.wrap(tls.Server(s.conn, s.w.tls))
	s.r = bufio.NewReader(s.conn)
	s.secure = true
}

func (w *world) servePOP3(conn net.Conn, secure bool) {
	s := w.newLineServer(conn, secure)
	w.mu.Lock()
	messages := w.messages[:len(w.messages):len(w.messages)]
	w.mu.Unlock()
	s.say("+OK ready")
	deleted := make(map[int]bool)
	for {
		command, argument, ok := s.hear()
		if !ok {
			return
		}
		var n int
		fmt.Sscanf(argument, "%d", &n)
		switch command {
		case "STLS":
			if w.noTLS {
				s.say("-ERR no TLS")
				continue
			}
			s.say("+OK begin")
			s.upgrade()
		case "USER":
			if !s.secure && !w.clearLogins {
				s.say("-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.")
				continue
			}
			s.user = argument
			s.say("+OK")
		case "PASS":
			s.say("%s", w.pop3Login(s.user, argument))
		case "STAT":
			s.say("+OK %d 1000", len(messages))
		case "TOP":
			header, _, _ := bytes.Cut(messages[n-1], []byte("\r\n\r\n"))
			s.say("+OK\r\n%s\r\n\r\n.", header)
		case "DELE":
			deleted[n-1] = true
			s.say("+OK")
		case "QUIT":
			w.removePOP3(messages, deleted)
			s.say("+OK bye")
			return
		default:
			s.say("-ERR unknown command")
		}
	}
}

func (w *world) removePOP3(messages [][]byte, deleted map[int]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.messages[len(messages):]
	w.messages = nil
	for i, m := range messages {
		if !deleted[i] {
			w.messages = append(w.messages, m)
		}
	}
	w.messages = append(w.messages, rest...)
}

func (w *world) pop3Login(user, password string) string {
	switch {
	case w.backendDown:
		return "-ERR [SYS/TEMP] Temporary authentication failure."
	case w.anyPassword || user == w.login && password == testPassword:
		return "+OK Logged in."
	case w.vagueRefusal:
		return "-ERR no"
	}
	return "-ERR [AUTH] Authentication failed."
}

func (w *world) serveSieve(conn net.Conn, secure bool) {
	s := w.newLineServer(conn, secure)
	capabilities := func() {
		// One of them as a literal: clients have to take both.
		s.say("\"IMPLEMENTATION\" {4}\r\nfake\r\n\"SIEVE\" \"fileinto\"\r\n\"SASL\" \"\"\r\nOK \"ready \\\"now\\\"\"")
	}
	capabilities()
	for {
		command, argument, ok := s.hear()
		if !ok {
			return
		}
		switch command {
		case "STARTTLS":
			if w.noTLS {
				s.say(`NO "no TLS"`)
				continue
			}
			s.say(`OK "begin"`)
			s.upgrade()
			capabilities()
		case "AUTHENTICATE":
			if !s.secure && !w.clearLogins {
				s.say(`NO (ENCRYPT-NEEDED) "TLS first"`)
				continue
			}
			s.say("%s", w.sieveLogin(argument))
		case "CAPABILITY":
			capabilities()
		case "LISTSCRIPTS":
			s.say("\"a\" ACTIVE\r\n\"b\"\r\nOK")
		case "LOGOUT":
			s.say(`OK "bye"`)
			return
		default:
			s.say(`NO "unknown command"`)
		}
	}
}

func (w *world) sieveLogin(argument string) string {
	good := base64.StdEncoding.EncodeToString([]byte("\x00" + w.login + "\x00" + testPassword))
	switch {
	case w.backendDown:
		return `NO (TRYLATER) "Temporary authentication failure."`
	case w.anyPassword || strings.Contains(argument, good):
		return `OK "Logged in."`
	case w.vagueRefusal:
		return `NO (SASL "x") "no"`
	}
	return `NO "Authentication failed."`
}

func (w *world) startSMTP(key string) {
	submission := key != "smtp"
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		s := &smtpFake{w: w, submission: submission}
		if submission || w.authOn25 {
			return &smtpAuthFake{s}, nil
		}
		return s, nil
	}))
	server.Domain = testHost
	server.ErrorLog = discard{}
	server.EnableDSN = submission
	server.AllowInsecureAuth = w.clearLogins || key == "submissions" // the wrapper hides TLS from the server
	if !w.noTLS {
		server.TLSConfig = w.tls
	}
	ln := w.listener(key)
	if key == "submissions" {
		ln = wrapListener{ln, w}
	} else {
		ln = clearListener{ln, w}
	}
	go server.Serve(ln)
	w.t.Cleanup(func() { server.Close() })
}

type discard struct{}

func (discard) Printf(string, ...any) {}
func (discard) Println(...any)        {}

// smtpFake is an SMTP session with the rules that the stack's Postfix has.
type smtpFake struct {
	w          *world
	submission bool
	user, from string
}

type smtpAuthFake struct{ *smtpFake }

func (s *smtpAuthFake) AuthMechanisms() []string {
	if s.w.onlyLogin {
		return []string{"LOGIN"}
	}
	return []string{sasl.Plain}
}

func (s *smtpAuthFake) Auth(mechanism string) (sasl.Server, error) {
	if mechanism == "LOGIN" {
		return &loginServer{verify: s.verify}, nil
	}
	return sasl.NewPlainServer(s.verify), nil
}

// loginServer is AUTH LOGIN, which asks for two things one after the other.
type loginServer struct {
	verify func(identity, user, password string) error
	asked  int
	user   string
}

func (l *loginServer) Next(answer []byte) (challenge []byte, done bool, err error) {
	switch l.asked++; l.asked {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(answer)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.verify("", l.user, string(answer))
}

func (s *smtpAuthFake) verify(_, user, password string) error {
	switch {
	case s.w.backendDown:
		return &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Temporary authentication failure"}
	case s.w.anyPassword || user == s.w.login && password == testPassword:
		s.user = user
		return nil
	case s.w.vagueRefusal:
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "no"}
	}
	return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Authentication failed"}
}

func (s *smtpFake) Reset()        {}
func (s *smtpFake) Logout() error { return nil }

func (s *smtpFake) Mail(from string, _ *smtp.MailOptions) error {
	if s.w.full {
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Insufficient system storage"}
	}
	s.from = from
	return nil
}

var errDenied = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Denied"}

func (s *smtpFake) Rcpt(to string, o *smtp.RcptOptions) error {
	s.w.mu.Lock()
	s.w.notify = fmt.Sprint(o.Notify)
	s.w.mu.Unlock()
	local := to == testInbox
	switch {
	case s.w.openRelay, s.w.trusts == "<"+s.from+">":
		return nil
	case s.submission && s.user == "":
		return errDenied
	case s.submission && s.from == "" && !s.w.nullSender:
		return errDenied
	case s.submission && s.from != "" && s.from != testUser && !s.w.anySender:
		return errDenied
	case s.submission && !local && !s.w.worldRecipient:
		return errDenied
	case !s.submission && !local:
		return errDenied
	case !s.submission && s.from == testUser && !s.w.hostedSender:
		return errDenied
	}
	return nil
}

func (s *smtpFake) Data(r io.Reader) error {
	message, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if bytes.Count(message, []byte("Received: ")) > 100 {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 4, 0}, Message: "Error: too many hops"}
	}
	if s.submission && !s.w.anyAuthor && !bytes.Contains(message, []byte("From: <"+testUser+">\r\n")) {
		return errDenied
	}
	s.w.mu.Lock()
	s.w.taken = string(message)
	s.w.mu.Unlock()
	go func() {
		time.Sleep(s.w.delay)
		w := s.w
		if w.forward != nil {
			w = w.forward
		}
		for range s.w.copies {
			w.arrive(message)
		}
	}()
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: queued as 4bK1xZ"}
}

// serveOldSMTP is an SMTP server of the careless kind: lines end anywhere, and
// addresses are told to everybody. It relays nothing and has no logins.
func (w *world) serveOldSMTP(conn net.Conn, secure bool) {
	s := w.newLineServer(conn, secure)
	s.say("220 ready")
	inData := false
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		command, argument, _ := strings.Cut(line, " ")
		switch {
		case inData:
			if inData = line != "."; !inData {
				s.say("554 5.4.0 too many hops")
			}
		case command == "EHLO":
			s.say("250-%s\r\n250 STARTTLS", testHost)
		case command == "STARTTLS":
			s.say("220 begin")
			s.upgrade()
		case command == "VRFY" && w.verifies && argument == testInbox:
			s.say("252 %s", argument)
		case command == "VRFY":
			s.say("550 no")
		case command == "RCPT" && argument != "TO:<"+testInbox+">", command == "AUTH":
			s.say("554 no")
		case command == "DATA":
			inData = true
			s.say("354 go on")
		case command == "QUIT":
			s.say("221 bye")
			return
		case strings.Contains(argument, testUser) && strings.HasPrefix(argument, "FROM"):
			s.say("554 no")
		default:
			s.say("250 ok")
		}
	}
}
