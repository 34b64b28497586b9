package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Limits of invariant 4.
const (
	answerWithin  = 5 * time.Second  // of an attempt while the other end is away
	worksWithin   = 5 * time.Second  // of the other end's return
	deferredUntil = 90 * time.Second // after the return
)

// outage is one outage of a service under traffic.
type outage struct {
	service string
	how     []string // docker command that begins it
	back    string   // docker command that ends it
	length  time.Duration
}

// Invariant 4, the database.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.up(t, "--no-probe")
	s.testOutages(t, []outage{
		{"mysql", []string{"stop"}, "start", 2 * time.Second},
		{"mysql", []string{"pause"}, "unpause", 8 * time.Second},
		{"mysql", []string{"kill"}, "start", 40 * time.Second},
	})
}

// Invariant 4, Dovecot.
func TestDovecotAway(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.up(t, "--no-probe")
	s.testIdleMemory(t)
	s.testOutages(t, []outage{
		{"dovecot", []string{"stop"}, "start", 2 * time.Second},
		{"dovecot", []string{"kill"}, "start", 40 * time.Second},
	})
}

// Invariant 4, the filter and what it remembers: mail waits where it comes from, or,
// without the memory alone, goes on.
func TestFilterAway(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.up(t, "--no-probe")
	s.testOutages(t, []outage{
		{"filter", []string{"stop"}, "start", 2 * time.Second},
		{"valkey", []string{"kill"}, "start", 8 * time.Second},
		{"filter", []string{"pause"}, "unpause", 12 * time.Second},
		{"filter", []string{"kill"}, "start", 20 * time.Second},
	})
	s.testHangsAtAMessage(t)
	s.testBusyFilter(t)
}

// testBusyFilter: the time in which it has to answer is enough for a filter that has
// much to do.
func (s *Stack) testBusyFilter(t *testing.T) {
	t.Helper()
	user, _ := s.account(t)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range 40 { // a port has 50 sessions
		wg.Go(func() {
			if err := s.inbound(t, stranger, []string{user}, message(stranger, user, fmt.Sprint(i), strings.Repeat("Hello.\n", 5000))); err != nil {
				t.Errorf("one of many messages at once: %v", err)
			}
		})
	}
	wg.Wait()
	t.Logf("40 messages at once took %v", time.Since(began).Round(time.Millisecond))
}

// testHangsAtAMessage: a filter that hangs with a message that it already has, or is
// given, is waited for longer than for any other answer, as one that is busy may be;
// and then the message is put off, and not taken as well.
func (s *Stack) testHangsAtAMessage(t *testing.T) {
	t.Helper()
	const within = 45 * time.Second // milter_content_timeout is 40 s
	user, password := s.account(t)
	subject := "handed over " + randomHex(4)
	d := s.line(t, "smtp")
	if answer, err := d.all("", "EHLO client.example", "MAIL FROM:<"+stranger+">", "RCPT TO:<"+user+">", "DATA"); err != nil || !strings.HasPrefix(answer, "354") {
		t.Fatalf("DATA is answered %q (%v)", answer, err)
	}
	docker(t, "pause", s.container("filter"))
	began := time.Now()
	answer, err := d.try(message(stranger, user, subject, "Hello.") + ".")
	took := time.Since(began)
	docker(t, "unpause", s.container("filter"))
	if err != nil || !strings.HasPrefix(answer, "4") || took > within {
		t.Errorf("a message at which the filter hangs is answered %q (%v) after %v", answer, err, took)
	}
	s.ready(t, "filter")
	after := s.deliver(t, stranger, user)
	s.waitMail(t, user, password, "INBOX", after)
	if n := s.count(t, user, password, subject); n != 0 {
		t.Errorf("a message that was put off is there")
	}
}

// The long form of invariant 4.
func TestLongOutages(t *testing.T) {
	if !*long {
		t.Skip("takes 16 minutes: make test-long")
	}
	t.Parallel()
	s := newStack(t, "")
	s.up(t, "--no-probe")
	s.testOutages(t, []outage{
		{"mysql", []string{"stop"}, "start", 300 * time.Second},
		{"dovecot", []string{"stop"}, "start", 300 * time.Second},
		{"filter", []string{"stop"}, "start", 300 * time.Second},
	})
}

func (s *Stack) testOutages(t *testing.T, outages []outage) {
	t.Helper()
	tr := newTraffic(t, s)
	tr.mustWork(t, "before any outage")
	for _, o := range outages {
		name := fmt.Sprintf("%s %s for %v", o.how[0], o.service, o.length)
		others := s.startsBut(t, o.service)
		tr.newcomer(t)
		// One that waits for minutes is ended by the clock of either side, smtpd's
		// after 300 s, which says nothing about the outage: none in a long one.
		n := int(o.length/(4*time.Second)) + 2
		if o.length > time.Minute {
			n = 0
		}
		held := tr.hold(t, n)
		docker(t, append(o.how, s.container(o.service))...)
		ctx, cancel := context.WithTimeout(t.Context(), o.length)
		tr.during(ctx, t, name, o.service, held)
		cancel()
		docker(t, o.back, s.container(o.service))
		returned := s.ready(t, o.service)
		tr.worksAgain(t, name, returned)
		tr.allDelivered(t, name, returned)
		// Until then some process may not have heard of the return.
		pause(t.Context(), time.Until(returned.Add(worksWithin)))
		tr.mustWork(t, "after "+name)
		if now := s.startsBut(t, o.service); now != others {
			t.Errorf("%s: another container was restarted:\nbefore %s\nafter  %s", name, others, now)
		}
		held.release(t, "after "+name)
		tr.allDelivered(t, name+", of what was begun before", time.Now())
	}
}

// startsBut identifies the starts of the containers but one.
func (s *Stack) startsBut(t *testing.T, service string) string {
	t.Helper()
	var kept []string
	for line := range strings.Lines(s.starts(t)) {
		if !strings.HasPrefix(line, "/"+s.container(service)+" ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// traffic is what goes on during an outage: logins on three protocols and
// mail on two ways in, with a ledger of what was acknowledged.
type traffic struct {
	s              *Stack
	user, password string
	fresh          string // an account that has never logged in, so that nothing of it is cached
	limited        string // an account with a quota, which Dovecot is asked about at RCPT
	unknown        string

	mu     sync.Mutex
	sent   int
	ledger map[string]bool // subjects that got a 250
}

func newTraffic(t *testing.T, s *Stack) *traffic {
	t.Helper()
	user, password := s.account(t)
	limited, _ := s.account(t, "1GiB")
	tr := &traffic{s: s, user: user, password: password, limited: limited, unknown: "nobody-" + user, ledger: map[string]bool{}}
	tr.newcomer(t)
	return tr
}

// newcomer makes an account with the user's password.
func (tr *traffic) newcomer(t *testing.T) {
	t.Helper()
	tr.fresh = "new" + randomHex(4) + "@" + tr.s.hostname()
	if r := tr.s.runInput(t, tr.password+"\n", "account", "add", tr.fresh, "--password-stdin"); r.code != 0 {
		t.Fatalf("account add: %v", r)
	}
}

func (tr *traffic) subject() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.sent++
	return fmt.Sprintf("m%05d-end", tr.sent)
}

func (tr *traffic) acknowledged(subject string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.ledger[subject] = true
}

// attempt is one attempt, and what its answer means.
type attempt struct {
	what string
	do   func(tr *traffic, t *testing.T) (answer string, err error)
	ok   func(answer string) bool // it works
	temp func(answer string) bool // "later", in the protocol's words
	// both says that it needs both the database and Dovecot; else only the
	// database.
	both bool
	// smtp says that it needs the filter: Postfix asks it about every step.
	smtp bool
}

func prefix(p ...string) func(string) bool {
	return func(answer string) bool {
		for _, word := range p {
			if strings.HasPrefix(answer, word) {
				return true
			}
		}
		return false
	}
}

// has is for words inside an answer.
func has(p string) func(string) bool {
	return func(answer string) bool { return strings.Contains(answer, p) }
}

var attempts = []attempt{
	{"IMAP login", (*traffic).imap, prefix("a OK"), has("[UNAVAILABLE]"), true, false},
	{"POP3 login", (*traffic).pop3, prefix("+OK"), has("[SYS/TEMP]"), true, false},
	{"submission login", (*traffic).auth, prefix("235"), prefix("454", "421"), true, true},
	{"first IMAP login", (*traffic).freshIMAP, prefix("a OK"), has("[UNAVAILABLE]"), true, false},
	{"first POP3 login", (*traffic).freshPOP3, prefix("+OK"), has("[SYS/TEMP]"), true, false},
	{"first submission login", (*traffic).freshAuth, prefix("235"), prefix("454", "421"), true, true},
	{"mail", (*traffic).mail, prefix("250"), prefix("4"), false, true},
	{"mail to a mailbox with a limit", (*traffic).toLimited, prefix("250"), prefix("4"), true, true},
	{"mail by submission", (*traffic).submission, prefix("250"), prefix("4"), true, true},
	{"mail for nobody", (*traffic).nobody, prefix("550"), prefix("4"), false, true},
}

func (tr *traffic) imap(t *testing.T) (string, error) { return tr.imapOf(t, tr.user) }

func (tr *traffic) freshIMAP(t *testing.T) (string, error) { return tr.imapOf(t, tr.fresh) }

func (tr *traffic) imapOf(t *testing.T, user string) (string, error) {
	d, err := tr.line(t, "imaps")
	if err != nil {
		return "", err
	}
	defer d.conn.Close()
	if greeting, err := d.try(""); err != nil || !strings.HasPrefix(greeting, "* OK") {
		return greeting, err
	}
	answer, err := d.try(fmt.Sprintf("a LOGIN %s %s", user, tr.password))
	for err == nil && strings.HasPrefix(answer, "* ") {
		answer, err = d.try("")
	}
	return answer, err
}

func (tr *traffic) pop3(t *testing.T) (string, error) { return tr.pop3Of(t, tr.user) }

func (tr *traffic) freshPOP3(t *testing.T) (string, error) { return tr.pop3Of(t, tr.fresh) }

func (tr *traffic) pop3Of(t *testing.T, user string) (string, error) {
	d, err := tr.line(t, "pop3s")
	if err != nil {
		return "", err
	}
	defer d.conn.Close()
	for _, line := range []string{"", "USER " + user} {
		if answer, err := d.try(line); err != nil || !strings.HasPrefix(answer, "+OK") {
			return answer, err
		}
	}
	return d.try("PASS " + tr.password)
}

func (tr *traffic) auth(t *testing.T) (string, error) { return tr.authOf(t, tr.user) }

func (tr *traffic) freshAuth(t *testing.T) (string, error) { return tr.authOf(t, tr.fresh) }

func (tr *traffic) authOf(t *testing.T, user string) (string, error) {
	d, err := tr.line(t, "submissions")
	if err != nil {
		return "", err
	}
	defer d.conn.Close()
	return d.all("", "EHLO client.example", tr.plain(user))
}

func (tr *traffic) plain(user string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+tr.password))
}

// all says SMTP lines one after the other, and gives the last reply or the
// first that is not positive. A server that hangs up says 421 in other words.
func (d *dialogue) all(lines ...string) (string, error) {
	answer := ""
	for _, line := range lines {
		var err error
		if answer, err = d.try(line); err != nil {
			return answer, err
		}
		for len(answer) > 3 && answer[3] == '-' {
			if answer, err = d.try(""); err != nil {
				return answer, err
			}
		}
		if !strings.HasPrefix(answer, "2") && !strings.HasPrefix(answer, "3") {
			return answer, nil
		}
	}
	return answer, nil
}

func (tr *traffic) mail(t *testing.T) (string, error) {
	return tr.send(t, "smtp", "stranger@elsewhere.example", tr.user)
}

// toLimited stops before the message, which is not looked for.
func (tr *traffic) toLimited(t *testing.T) (string, error) {
	d, err := tr.line(t, "smtp")
	if err != nil {
		return "", err
	}
	defer d.conn.Close()
	return d.all("", "EHLO client.example", "MAIL FROM:<stranger@elsewhere.example>", "RCPT TO:<"+tr.limited+">")
}

func (tr *traffic) submission(t *testing.T) (string, error) {
	return tr.send(t, "submissions", tr.user, tr.user, tr.plain(tr.user))
}

func (tr *traffic) nobody(t *testing.T) (string, error) {
	return tr.send(t, "smtp", "stranger@elsewhere.example", tr.unknown)
}

func (tr *traffic) send(t *testing.T, key, from, to string, login ...string) (string, error) {
	d, err := tr.line(t, key)
	if err != nil {
		return "", err
	}
	defer d.conn.Close()
	lines := append([]string{"", "EHLO client.example"}, login...)
	answer, err := d.all(append(lines, "MAIL FROM:<"+from+">", "RCPT TO:<"+to+">")...)
	if err != nil || !strings.HasPrefix(answer, "2") {
		return answer, err
	}
	return tr.data(d, from, to)
}

// data ends a transaction whose recipient was accepted, and keeps account of
// its acknowledgement.
func (tr *traffic) data(d *dialogue, from, to string) (string, error) {
	subject := tr.subject()
	answer, err := d.all("DATA", message(from, to, subject, "Hello.")+".")
	if err == nil && strings.HasPrefix(answer, "250") {
		tr.acknowledged(subject)
	}
	return answer, err
}

// line dials; a connection that is refused is an error, not a failure.
func (tr *traffic) line(t *testing.T, key string) (*dialogue, error) {
	conn, err := tr.s.dial(t, key)
	if err != nil {
		return nil, err
	}
	return newDialogue(conn), nil
}
