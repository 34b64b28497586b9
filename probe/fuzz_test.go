package probe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
)

// scripted is a server that has made up its mind: it says one part of its text
// after each thing that it is told, and then hangs up.
type scripted struct {
	net.Conn // not there: what is not below is never called
	patience time.Duration

	mu     sync.Mutex
	now    []byte
	then   [][]byte
	told   chan struct{} // closed when the client speaks, or hangs up
	closed bool
}

// turnMark parts what a scripted server says: what comes behind it waits until the
// client has spoken.
const turnMark = "~"

// newScripted has no patience with clients that read and speak in turns: one that
// waits for more will never speak.
func newScripted(says []byte, patience time.Duration) *scripted {
	parts := bytes.Split(says, []byte(turnMark))
	return &scripted{patience: patience, now: parts[0], then: parts[1:], told: make(chan struct{})}
}

func (s *scripted) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.now) == 0 {
		if s.closed || s.patience == 0 || len(s.then) == 0 {
			return 0, io.EOF
		}
		told := s.told
		s.mu.Unlock()
		late := false
		select {
		case <-told:
		case <-time.After(s.patience):
			late = true
		}
		s.mu.Lock()
		if late && len(s.now) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, s.now)
	s.now = s.now[n:]
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	if len(s.then) > 0 {
		s.now, s.then = append(s.now, s.then[0]...), s.then[1:]
	}
	close(s.told)
	s.told = make(chan struct{})
	return len(p), nil
}

func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.told)
	}
	return nil
}

func (*scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*scripted) SetDeadline(time.Time) error      { return nil }
func (*scripted) SetReadDeadline(time.Time) error  { return nil }
func (*scripted) SetWriteDeadline(time.Time) error { return nil }

// hear uses a scripted server as the checks do, all steps of them, and returns
// what each step ended with.
func hear(ctx context.Context, p protocol, says []byte, patience time.Duration, upgraded bool) (said []error) {
	w := &wire{raw: &boundedConn{Conn: newScripted(says, patience), left: maxRead}, disarm: func() bool { return true }, hello: "client.example"}
	w.use(w.raw)
	defer w.close()
	step := func(err error) bool {
		if err != nil {
			said = append(said, err)
		}
		return err == nil
	}
	if !step(p.banner(w)) || upgraded && !step(p.startTLS(w)) {
		return said
	}
	s, err := p.open(w, upgraded)
	if !step(err) {
		return said
	}
	t := &Target{User: "u@example.org", Password: "secret", Hostname: "mail.example.org"}
	step(s.loginInClear(t.User))
	step(s.login(t.User, t.Password))
	step(s.read())
	switch s := s.(type) {
	case *imapSession:
		m := &imapMailbox{l: &link{session: s, wire: w, tr: newTrace()}, s: s, t: t}
		_, err := s.Select("INBOX", nil).Wait()
		step(s.failure(err))
		for range 2 {
			_, err = m.sweep(ctx, "token")
			step(err)
		}
	case *pop3Session:
		_, err := s.find(t, "token", true)
		step(err)
	case *smtpSession:
		_, err := s.offer("a@example.org", "b@example.org")
		step(err)
		_, err = s.deliver("a@example.org", "b@example.org", []byte("Subject: x\r\n\r\nx\r\n"))
		step(err)
	}
	step(s.quit())
	return said
}

// mostMemory is what hearing a server out may allocate in all, whatever it says:
// the library of IMAP takes the most.
const mostMemory = 64 << 20

func fuzzReplies(f *testing.F, p protocol, patience time.Duration) {
	f.Fuzz(func(t *testing.T, says []byte, upgraded bool) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, err := range hear(t.Context(), p, says, patience, upgraded) {
			for _, failure := range failuresOf(err) {
				if strings.ContainsFunc(failure.Detail, unicode.IsControl) || len(failure.Detail) > 8*maxDetail {
					t.Errorf("not fit to be shown: %q", failure.Detail)
				}
			}
			if errors.Is(err, errors.ErrUnsupported) {
				t.Error(err)
			}
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > mostMemory {
			t.Errorf("%d bytes said, %d bytes of memory used", len(says), used)
		}
	})
}

func FuzzSMTPReplies(f *testing.F) {
	f.Add([]byte("220 mail ESMTP\r\n~250-mail\r\n250-AUTH PLAIN LOGIN\r\n250 DSN\r\n~535 5.7.8 no\r\n~235 yes\r\n~250 ok\r\n~250 ok\r\n~550 5.1.1 nobody\r\n~250 ok\r\n~250 ok\r\n~250 ok\r\n~354 go\r\n~250 queued\r\n~221 bye\r\n"), false)
	f.Add([]byte("220 mail\r\n~250-mail\r\n250 STARTTLS\r\n~220 go\r\n~250 mail\r\n~334 VXNlcg==\r\n~334 UGFzcw==\r\n~421 4.3.0 later\r\n"), true)
	f.Add([]byte("220-a\r\n220-b\r\n421 c\r\n"), false)
	fuzzReplies(f, smtpProtocol, 0)
}

func FuzzPOP3Replies(f *testing.F) {
	f.Add([]byte("+OK ready\r\n~-ERR [AUTH] no\r\n~+OK\r\n~+OK\r\n~+OK 2 900\r\n~+OK 2 900\r\n~+OK\r\nX-Mailstack-Probe: a\r\n..b\r\n.\r\n~+OK\r\n.\r\n~+OK bye\r\n"), false)
	f.Add([]byte("+OK ready\r\n~+OK go\r\n~-ERR [SYS/TEMP] later\r\n~+OK\r\n~+OK\r\n~+OK 99999999999999999999 -1\r\n"), true)
	f.Add([]byte("+OK ready\r\n~+OK\r\n~+OK\r\n~+OK\r\n~+OK 1 1\r\n~+OK 2147483647 1\r\n"), false)
	fuzzReplies(f, pop3Protocol, 0)
}

func FuzzManageSieveReplies(f *testing.F) {
	f.Add([]byte("\"IMPLEMENTATION\" \"x\"\r\n\"SIEVE\" {3}\r\nabc\r\nOK\r\n~NO (ENCRYPT-NEEDED) \"no\"\r\n~OK\r\n~\"SIEVE\" \"x\"\r\nOK\r\n~\"a\" ACTIVE\r\nOK\r\n~OK\r\n"), false)
	f.Add([]byte("OK\r\n~OK\r\n\"SIEVE\" {8192+}\r\n"), true)
	f.Add([]byte("BYE (TRYLATER) {2147483647}\r\n"), false)
	fuzzReplies(f, sieveProtocol, 0)
}

// FuzzIMAPReplies: what cannot be said by a few bytes is that a search finds four
// billion messages, or all from 1 to infinity.
func FuzzIMAPReplies(f *testing.F) {
	const caps = "* CAPABILITY IMAP4rev1 UIDPLUS ESEARCH\r\n"
	const opened = "* OK ready\r\n~" + caps + "T1 OK\r\n~T2 NO [PRIVACYREQUIRED] no\r\n~T3 OK\r\n~" + caps + "T4 OK\r\n" +
		"~* STATUS INBOX (MESSAGES 1)\r\nT5 OK\r\n~* 1 EXISTS\r\nT6 OK\r\n~T7 OK\r\n~"
	const fetched = "~* 1 FETCH (UID 1 BODY[HEADER.FIELDS (X)] {4}\r\nX: a)\r\nT9 OK\r\n~T10 OK\r\n"
	for _, found := range []string{
		"* SEARCH 1\r\nT8 OK\r\n", "* ESEARCH (TAG \"T8\") UID ALL 1:4294967295\r\nT8 OK\r\n", "* ESEARCH (TAG \"T8\") UID ALL 1:*\r\nT8 OK\r\n",
	} {
		f.Add([]byte(opened+found+fetched), false)
	}
	f.Add([]byte("* OK ready\r\n~p0 OK begin\r\n~* BYE later\r\n"), true)
	f.Add([]byte("* PREAUTH {4294967296}\r\n"), false)
	fuzzReplies(f, imapProtocol, 20*time.Millisecond)
}
