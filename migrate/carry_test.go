package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailstack/migrate/remote"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"
)

// store is a mail store that speaks LMTP.
type store struct {
	mu      sync.Mutex
	letters []string // "sender -> recipient: content", as they arrive
	refuse  string   // this recipient, at RCPT
	fail    string   // this one, after DATA
}

func (s *store) NewSession(*smtp.Conn) (smtp.Session, error) { return &delivery{store: s}, nil }

type delivery struct {
	*store
	from string
	to   []string
}

func (d *delivery) Mail(from string, _ *smtp.MailOptions) error { d.from = from; return nil }

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == d.refuse {
		return &smtp.SMTPError{Code: 550, Message: "no such user"}
	}
	d.to = append(d.to, to)
	return nil
}

func (d *delivery) Data(io.Reader) error { return errors.New("this is LMTP") }

func (d *delivery) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, to := range d.to {
		if to == d.fail {
			status.SetStatus(to, &smtp.SMTPError{Code: 452, Message: "no room"})
			continue
		}
		d.letters = append(d.letters, fmt.Sprintf("%s -> %s: %s", d.from, to, strings.ReplaceAll(string(content), "\r\n", "\n")))
		status.SetStatus(to, nil)
	}
	return nil
}

func (d *delivery) Reset()        {}
func (d *delivery) Logout() error { return nil }

// serve listens, and returns how to get there.
func (s *store) serve(t *testing.T) func(context.Context) (net.Conn, error) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(s)
	server.LMTP = true
	server.Domain = "here"
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", socket) }
}

func (s *store) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	letters := s.letters
	s.letters = nil
	slices.Sort(letters)
	return letters
}

// spool is an old server's queue.
type spool map[string]string // content by ID

func (s spool) List(context.Context) (Queue, error) { return Queue{}, nil }

func (s spool) Content(_ context.Context, m Queued) (io.ReadCloser, error) {
	text, found := s[m.ID]
	if !found {
		return nil, &remote.ExitError{Name: "postcat", Status: 1, Said: "No such file"}
	}
	if cut, found := strings.CutSuffix(text, "CUT"); found {
		return io.NopCloser(io.MultiReader(strings.NewReader(cut), brokenReader{})), nil
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the connection broke") }

// TestCarry: what waits for an account that was opened arrives once, however often
// it is carried; what is for others is named, and stays.
func TestCarry(t *testing.T) {
	w := newWorld(t)
	w.box("alice@example.org", Store{})
	s := &store{refuse: "carol@example.org", fail: "dave@example.org"}
	c := Carrier{
		From: spool{"AAAAA1": "Subject: one\n\n.\nbody\n", "AAAAA2": "Subject: two\n\n"},
		To: Addressees{Delimiter: "-+", Accounts: map[string]bool{
			"alice@example.org": true, "bob@example.org": true, "carol@example.org": true, "dave@example.org": true, "late@example.org": false,
		}},
		Dial: s.serve(t),
	}
	q := Queue{Messages: []Queued{
		{ID: "AAAAA1", Arrived: 1, Sender: "x@y.example", Recipients: []string{
			"Alice@Example.org", "bob-Lists@example.org", "carol@example.org", "dave@example.org", "late@example.org", "else@where.example",
		}},
		{ID: "AAAAA2", Arrived: 2, Recipients: []string{"bob@example.org"}},
		{ID: "AAAAA3", Arrived: 3, Sender: "x@y.example", Recipients: []string{"bob@example.org"}},
	}}
	if n := q.For(c.To); n != 3 {
		t.Errorf("%d messages are for the accounts, want 3", n)
	}
	const one, two = "Subject: one\n\n.\nbody\n", "Subject: two\n\n"
	carry := func(want ...string) *CarryReport {
		t.Helper()
		m := w.open()
		defer m.Close()
		r, err := m.Carry(t.Context(), q, c)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.take()); diff != "" {
			t.Errorf("delivered (- want, + got):\n%s", diff)
		}
		return r
	}
	r := carry(" -> bob@example.org: "+two, "x@y.example -> alice@example.org: "+one, "x@y.example -> bob+lists@example.org: "+one)
	left := map[string]string{}
	for _, d := range r.Left {
		left[d.ID+" "+d.Recipient] = fmt.Sprint(d.Failed, " ", d.Why)
	}
	for key, want := range map[string]string{
		"AAAAA1 carol@example.org":  "true SMTP error 550: no such user",
		"AAAAA1 dave@example.org":   "true SMTP error 452: <dave@example.org> no room",
		"AAAAA1 late@example.org":   "false not for an account that was opened here",
		"AAAAA1 else@where.example": "false not for an account that was opened here",
		"AAAAA3 bob@example.org":    "true run postcat on : exit status 1: No such file",
	} {
		if got := left[key]; got != want {
			t.Errorf("%s is left: %q, want %q", key, got, want)
		}
	}
	if len(r.Carried) != 3 || len(left) != 5 || !r.Failed() {
		t.Errorf("the report: %+v", r)
	}
	// Only what has not arrived is tried again. An ID that is given again is another message.
	s.fail, q.Messages[1].Arrived = "", 22
	r = carry(" -> bob@example.org: "+two, "x@y.example -> dave@example.org: "+one)
	if r.Before != 2 {
		t.Errorf("%d were there before, want 2", r.Before)
	}
	// An MTA that runs would deliver it as well.
	q.Messages[1].Arrived, q.Running = 222, true
	if r = carry(); !r.Failed() {
		t.Errorf("the report: %+v", r)
	}
}

// TestCarryHalf: a message that is cut off on its way is not delivered, and ends
// what would be cut off as well.
func TestCarryHalf(t *testing.T) {
	w := newWorld(t)
	m := w.open()
	s := &store{}
	c := Carrier{From: spool{"AAAAA1": "Subject: one\n\nhalfCUT"}, To: Addressees{Accounts: map[string]bool{"bob@example.org": true}}, Dial: s.serve(t)}
	q := Queue{Messages: []Queued{{ID: "AAAAA1", Recipients: []string{"bob@example.org"}}}}
	if _, err := m.Carry(t.Context(), q, c); err == nil || !strings.Contains(err.Error(), "AAAAA1") || !strings.Contains(err.Error(), "the connection broke") {
		t.Errorf("the error: %v", err)
	}
	if letters := s.take(); len(letters) > 0 {
		t.Errorf("delivered: %q", letters)
	}
	c.From = spool{"AAAAA1": "Subject: one\n\nwhole\n"}
	if _, err := m.Carry(t.Context(), q, c); err != nil || len(s.take()) != 1 {
		t.Errorf("once more: %v", err)
	}
}

// TestOpened: who was about to be opened is known to a later run.
func TestOpened(t *testing.T) {
	w := newWorld(t)
	for _, address := range []string{"alice@example.org", "bob@example.org", "alice@example.org"} {
		m := w.open()
		if err := m.Opening([]string{address}); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	if got := w.open().Opened(); !slices.Equal(got, []string{"alice@example.org", "bob@example.org"}) {
		t.Errorf("opened: %v", got)
	}
}
