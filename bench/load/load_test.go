package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"mailstack/certs/certstest"
)

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for _, c := range []struct {
		times []time.Duration
		p     int
		want  time.Duration
	}{
		{nil, 50, 0},
		{[]time.Duration{7}, 99, 7},
		{[]time.Duration{3, 1, 2}, 50, 2},
		{hundred, 50, 50},
		{hundred, 99, 99},
	} {
		if got := Percentile(c.times, c.p); got != c.want {
			t.Errorf("percentile %d of %d times is %d, want %d", c.p, len(c.times), got, c.want)
		}
	}
}

func TestEach(t *testing.T) {
	var mu sync.Mutex
	var seen []int
	err := Each(t.Context(), 3, 10, func(_ context.Context, i int) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, i)
		return nil
	})
	slices.Sort(seen)
	if err != nil || !slices.Equal(seen, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("%v, %v", seen, err)
	}
	broken := errors.New("broken")
	if err := Each(t.Context(), 3, 10, func(context.Context, int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	n, err := For(t.Context(), 2, time.Minute, func(_ context.Context, n int) error {
		if n == 7 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || n < 8 {
		t.Errorf("%d calls, error %v", n, err)
	}
}

const (
	user     = "u@mail.example.org"
	password = "a \"quoted\" password"
)

// serve makes a server on loopback of which each connection is handled by one
// function, and a client's view of it.
func serve(t *testing.T, listener string, handle func(net.Listener, *tls.Config)) *Server {
	t.Helper()
	pki := certstest.New(t, time.Now())
	key := certstest.Key(t, "ecdsa")
	leaf := pki.Leaf(t, key, nil, "mail.example.org")
	pool := x509.NewCertPool()
	pool.AddCert(pki.Root)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw, pki.Middle.Raw}, PrivateKey: key}}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if strings.HasSuffix(listener, "s") {
		l = tls.NewListener(l, config)
	}
	go handle(l, config)
	return &Server{
		TLS:   &tls.Config{RootCAs: pool, ServerName: "mail.example.org"},
		Ports: map[string]int{listener: l.Addr().(*net.TCPAddr).Port},
	}
}

func TestIMAP(t *testing.T) {
	account := imapmemserver.NewUser(user, password)
	if err := account.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := account.Append("INBOX", bytes.NewReader(Message("a@b.example", user, i, 2000)), &imap.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	memory := imapmemserver.New()
	memory.AddUser(account)
	s := serve(t, "imaps", func(l net.Listener, config *tls.Config) {
		_ = imapserver.New(&imapserver.Options{
			NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
				return memory.NewSession(), nil, nil
			},
			TLSConfig: config, Caps: imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapUnselect: {}},
		}).Serve(l)
	})
	if err := s.LogIn(t.Context(), "imaps", user, password); err != nil {
		t.Fatal(err)
	}
	var refusal *Refusal
	err := s.LogIn(t.Context(), "imaps", user, "wrong")
	if !errors.As(err, &refusal) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
	session, err := s.IMAP(t.Context(), user, password)
	if err != nil {
		t.Fatal(err)
	}
	messages, errSelect := session.Select("INBOX")
	headers, errFetch := session.FetchHeaders(2)
	if err := errors.Join(errSelect, errFetch, session.Unselect(), session.Leave()); err != nil || messages != 3 || headers != 2 {
		t.Errorf("%d messages, %d headers, %v", messages, headers, err)
	}
}

func TestPOP3(t *testing.T) {
	said := make(chan string, 10)
	s := serve(t, "pop3s", func(l net.Listener, _ *tls.Config) {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "+OK\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			said <- lines.Text()
			_, _ = io.WriteString(conn, "+OK\r\n")
		}
		close(said)
	})
	if err := s.LogIn(t.Context(), "pop3s", user, "secret"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"USER " + user, "PASS secret", "QUIT"} {
		if got := <-said; got != want {
			t.Errorf("said %q, want %q", got, want)
		}
	}
}

// mailbox takes mail with or without a login.
type mailbox struct {
	from, to []string
	data     [][]byte
}

func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return m, nil }
func (m *mailbox) AuthMechanisms() []string                    { return []string{sasl.Plain} }
func (m *mailbox) Reset()                                      {}
func (m *mailbox) Logout() error                               { return nil }

func (m *mailbox) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, given string) error {
		if name != user || given != password {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (m *mailbox) Mail(from string, _ *smtp.MailOptions) error {
	m.from = append(m.from, from)
	return nil
}

func (m *mailbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	if !strings.HasPrefix(to, "u") {
		return &smtp.SMTPError{Code: 550, Message: "unknown"}
	}
	m.to = append(m.to, to)
	return nil
}

func (m *mailbox) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	m.data = append(m.data, data)
	return err
}

func TestSMTP(t *testing.T) {
	for _, listener := range []string{"smtp", "submissions"} {
		box := &mailbox{}
		s := serve(t, listener, func(l net.Listener, config *tls.Config) {
			server := smtp.NewServer(box)
			if listener == "smtp" {
				server.TLSConfig = config
			}
			_ = server.Serve(l)
		})
		open := func() (*SMTP, error) { return s.Inbound(t.Context()) }
		if listener == "submissions" {
			if _, err := s.Submission(t.Context(), user, "wrong"); err == nil {
				t.Error("a wrong password was taken")
			}
			open = func() (*SMTP, error) { return s.Submission(t.Context(), user, password) }
		}
		session, err := open()
		if err != nil {
			t.Fatalf("%s: %v", listener, err)
		}
		message := Message("a@b.example", user, 1, 5000)
		if len(message) < 5000 || len(message) > 5100 {
			t.Errorf("a message of 5000 bytes has %d", len(message))
		}
		errSend := session.Send("a@b.example", user, message)
		errs := errors.Join(errSend, session.Sender("b@b.example"), session.Recipient(user), session.Reset())
		var refusal *Refusal
		if err := session.Send("c@b.example", "nobody@mail.example.org", message); !errors.As(err, &refusal) || refusal.Said != "RCPT" {
			t.Errorf("%s: to nobody: %v", listener, err)
		}
		if err := errors.Join(errs, session.Leave()); err != nil {
			t.Fatalf("%s: %v", listener, err)
		}
		if len(box.data) != 1 || !bytes.Equal(box.data[0], message) || !slices.Equal(box.to, []string{user, user}) {
			t.Errorf("%s: came: %q to %q", listener, box.data, box.to)
		}
	}
}

// TestEndsWithContext: a server that says nothing holds nobody up.
func TestEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, "smtp", func(l net.Listener, _ *tls.Config) {
		if conn, err := l.Accept(); err == nil {
			defer conn.Close()
			cancel()
			_, _ = io.ReadAll(conn)
		}
	})
	if _, err := s.Inbound(ctx); err == nil {
		t.Error("a session was opened")
	}
}
