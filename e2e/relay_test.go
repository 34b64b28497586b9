package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// smarthost is an SMTP server of another provider, which wants TLS and a login.
type smarthost struct {
	user, password string
	open           bool // for everybody, as an exchanger is
	noTLS          bool
	certificate    func(name string) tls.Certificate // for who asks for this name
	lock           sync.Mutex
	received       []envelope
	refused        []string
}

type envelope struct {
	user    string // who had logged in
	tls     bool
	from    string
	to      []string
	message string
}

func (h *smarthost) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &smarthostSession{host: h, conn: c}, nil
}

func (h *smarthost) find(subject string) (envelope, bool) {
	h.lock.Lock()
	defer h.lock.Unlock()
	for _, e := range h.received {
		if strings.Contains(e.message, "Subject: "+subject) {
			return e, true
		}
	}
	return envelope{}, false
}

func (h *smarthost) String() string {
	h.lock.Lock()
	defer h.lock.Unlock()
	return fmt.Sprintf("%d messages, refused %q", len(h.received), h.refused)
}

type smarthostSession struct {
	host     *smarthost
	conn     *smtp.Conn
	user     string
	envelope envelope
}

func (s *smarthostSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *smarthostSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s.host.lock.Lock()
		known := user == s.host.user && password == s.host.password
		s.host.lock.Unlock()
		if !known {
			return s.refuse("login of " + user)
		}
		s.user = user
		return nil
	}), nil
}

func (s *smarthostSession) refuse(what string) error {
	s.host.lock.Lock()
	defer s.host.lock.Unlock()
	s.host.refused = append(s.host.refused, what)
	return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "refused: " + what}
}

func (s *smarthostSession) Mail(from string, _ *smtp.MailOptions) error {
	if s.user == "" && !s.host.open {
		return s.refuse("mail without a login from " + from)
	}
	_, secure := s.conn.TLSConnectionState()
	s.envelope = envelope{user: s.user, tls: secure, from: from}
	return nil
}

func (s *smarthostSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.envelope.to = append(s.envelope.to, to)
	return nil
}

func (s *smarthostSession) Data(r io.Reader) error {
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		return err
	}
	s.envelope.message = b.String()
	s.host.lock.Lock()
	defer s.host.lock.Unlock()
	s.host.received = append(s.host.received, s.envelope)
	return nil
}

func (s *smarthostSession) Reset()        { s.envelope = envelope{} }
func (s *smarthostSession) Logout() error { return nil }

// start serves on an address of this machine.
func (h *smarthost) start(t *testing.T, address string) (port int) {
	t.Helper()
	return h.startOn(t, net.JoinHostPort(address, "0"))
}

func (h *smarthost) startOn(t *testing.T, address string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(h)
	server.Domain = "smarthost.example"
	if h.certificate == nil {
		own := throwaway(t, "smarthost.example")
		h.certificate = func(string) tls.Certificate { return own }
	}
	if !h.noTLS {
		server.TLSConfig = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			own := h.certificate(hello.ServerName)
			return &own, nil
		}}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

// throwaway is a certificate that signed itself.
func throwaway(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestSmarthost: with [relay] all mail for elsewhere goes to the smarthost, over
// TLS and with the login, and nothing else does. Switching it on is a changed
// key: it recreates Postfix and says why, and touches nothing else.
func TestSmarthost(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.set(t, "listen.pop3", "0") // the proof does without what is switched off
	s.up(t, "--no-probe")
	if _, err := s.dial(t, "pop3"); err == nil {
		t.Error("a listener that is switched off answers")
	}
	gateway := docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", s.container("postfix"))
	host := &smarthost{user: "customer@provider.example", password: "relay-" + randomHex(8)}
	passwordFile := filepath.Join(s.dir, "relay-password")
	if err := os.WriteFile(passwordFile, []byte(host.password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.set(t, "relay.host", quote(gateway))
	s.set(t, "relay.port", fmt.Sprint(host.start(t, gateway)))
	s.set(t, "relay.user", quote(host.user))
	s.set(t, "relay.password_file", quote(passwordFile))
	s.set(t, "relay.tls", quote("encrypt"))
	before := s.starts(t)
	if r := s.run(t, "plan", "--exit-code"); r.code != 4 || !strings.Contains(r.stdout, "smarthost") {
		t.Errorf("plan with a changed relay: %v", r)
	}
	s.up(t)
	same, changed := 0, ""
	for _, line := range strings.Split(s.starts(t), "\n") {
		if strings.Contains(before, line) {
			same++
		} else {
			changed += line
		}
	}
	if same != 2 || !strings.Contains(changed, s.container("postfix")) {
		t.Errorf("a changed relay touched %q", changed)
	}

	ann, annPassword := s.account(t)
	domain := s.domain(t)
	s.mustRun(t, "alias", "add", "away@"+domain, "ann@provider.example")
	s.mustRun(t, "alias", "add", "both@"+domain, "ann@provider.example", ann)
	expect := func(subject, from string, to ...string) {
		t.Helper()
		waitUntil(t, 30*time.Second, "mail "+subject+" at the smarthost", func() (bool, string) {
			_, ok := host.find(subject)
			return ok, host.String()
		})
		got, _ := host.find(subject)
		// A stranger's mail that goes on has a sender of the stack's.
		same := got.from == from
		if from == stranger {
			same = strings.HasPrefix(got.from, "SRS0=") && strings.HasSuffix(got.from, "=elsewhere.example=somebody@"+s.hostname())
		}
		if !same || strings.Join(got.to, " ") != strings.Join(to, " ") {
			t.Errorf("the smarthost got %s from %s to %v, not from %s to %v", subject, got.from, got.to, from, to)
		}
	}
	if err := s.submit(t, ann, annPassword, ann, []string{"friend@faraway.example"}, message(ann, "friend@faraway.example", "outward", "x")); err != nil {
		t.Fatal(err)
	}
	expect("outward", ann, "friend@faraway.example")
	expect(s.deliver(t, stranger, "away@"+domain), stranger, "ann@provider.example")
	subject := s.deliver(t, stranger, "both@"+domain)
	expect(subject, stranger, "ann@provider.example")
	s.waitMail(t, ann, annPassword, "INBOX", subject)
	// A Sieve redirect to elsewhere, and a vacation notice for a stranger.
	s.sieve(t, ann, annPassword, `require ["vacation", "copy"]; redirect :copy "ann@provider.example"; vacation :subject "at the sea" "Back soon.";`)
	subject = "for ann " + randomHex(4)
	if err := s.inbound(t, stranger, []string{ann}, message(stranger, ann, subject, "x")); err != nil {
		t.Fatal(err)
	}
	expect(subject, stranger, "ann@provider.example")
	waitUntil(t, 30*time.Second, "the vacation notice at the smarthost", func() (bool, string) {
		_, ok := host.find("at the sea")
		return ok, host.String()
	})
	// Mail between the stack's own accounts stays here.
	subject = "inward " + randomHex(4)
	bob, bobPassword := s.account(t)
	if err := s.submit(t, ann, annPassword, ann, []string{bob}, message(ann, bob, subject, "x")); err != nil {
		t.Fatal(err)
	}
	s.waitMail(t, bob, bobPassword, "INBOX", subject)
	if _, ok := host.find(subject); ok {
		t.Error("mail between two accounts went to the smarthost")
	}
	// A postmaster elsewhere is one by relay. The change is the database's alone.
	s.set(t, "postmaster", quote("boss@provider.example"))
	running := s.starts(t)
	s.up(t, "--no-probe")
	if s.starts(t) != running {
		t.Error("another postmaster restarted something")
	}
	for _, address := range []string{"postmaster@" + domain, "root@" + s.hostname(), "abuse@" + s.hostname()} {
		expect(s.deliver(t, stranger, address), stranger, "boss@provider.example")
	}
	if host.refused != nil {
		t.Errorf("the smarthost had to refuse %v", host.refused)
	}
}
