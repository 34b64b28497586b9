package e2e

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// outsider is a mail server elsewhere which takes what it is sent, and which the
// neighbours find by the DNS: the MX of any name in the zone of others.
type outsider struct {
	lock     sync.Mutex
	received []envelope
	refusing []string // recipients that it does not know
}

// outsider starts one at this machine's address in the network.
func (p *neighbours) outsider(t *testing.T) *outsider {
	t.Helper()
	o := &outsider{}
	l, err := net.Listen("tcp", net.JoinHostPort(p.ip(1), "25"))
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(o)
	server.Domain = "mx." + p.others
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return o
}

// refuse makes an address unknown.
func (o *outsider) refuse(address string) {
	o.lock.Lock()
	defer o.lock.Unlock()
	o.refusing = append(o.refusing, address)
}

// find are the messages that have come in with a text.
func (o *outsider) find(text string) (all []envelope) {
	o.lock.Lock()
	defer o.lock.Unlock()
	for _, e := range o.received {
		if strings.Contains(e.message, text) {
			all = append(all, e)
		}
	}
	return all
}

// wait waits for a message with a text.
func (o *outsider) wait(t *testing.T, text string) envelope {
	t.Helper()
	var found []envelope
	waitUntil(t, time.Minute, "a message elsewhere with "+text, func() (bool, string) {
		found = o.find(text)
		return len(found) > 0, "none"
	})
	return found[0]
}

func (o *outsider) NewSession(*smtp.Conn) (smtp.Session, error) {
	return &outsiderSession{outsider: o}, nil
}

type outsiderSession struct {
	outsider *outsider
	envelope envelope
}

func (s *outsiderSession) Mail(from string, _ *smtp.MailOptions) error {
	s.envelope = envelope{from: from}
	return nil
}

func (s *outsiderSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.outsider.lock.Lock()
	defer s.outsider.lock.Unlock()
	if slices.Contains(s.outsider.refusing, to) {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.envelope.to = append(s.envelope.to, to)
	return nil
}

func (s *outsiderSession) Data(r io.Reader) error {
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		return err
	}
	s.envelope.message = b.String()
	s.outsider.lock.Lock()
	defer s.outsider.lock.Unlock()
	s.outsider.received = append(s.outsider.received, s.envelope)
	return nil
}

func (s *outsiderSession) Reset()        { s.envelope = envelope{} }
func (s *outsiderSession) Logout() error { return nil }
