package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
)

func newDialogue(conn net.Conn) *dialogue { return &dialogue{conn, bufio.NewReader(conn)} }

// mustWork tries everything once.
func (tr *traffic) mustWork(t *testing.T, when string) {
	t.Helper()
	for _, a := range attempts {
		if answer, err := a.do(tr, t); err != nil || !a.ok(answer) {
			t.Fatalf("%s, %s is answered %q (%v)", when, a.what, answer, err)
		}
	}
}

// during keeps trying until ctx ends, every kind of attempt by itself, and
// judges each answer. Mail that was begun before ends at intervals.
func (tr *traffic) during(ctx context.Context, t *testing.T, name, away string, held *heldMail) {
	t.Helper()
	began := time.Now()
	var wg sync.WaitGroup
	for _, a := range attempts {
		wg.Go(func() {
			seen := map[string]int{}
			var slowest time.Duration
			for ctx.Err() == nil {
				start := time.Now()
				answer, err := a.do(tr, t)
				took := time.Since(start)
				slowest = max(slowest, took)
				tr.judge(t, name, away, a, answer, err, took)
				seen[answer]++
				pause(ctx, 700*time.Millisecond)
			}
			t.Logf("%s: %s: slowest %v, %v", name, a.what, slowest.Round(time.Millisecond), seen)
		})
	}
	wg.Go(func() {
		for len(held.open) > 2 {
			pause(ctx, 4*time.Second)
			if ctx.Err() != nil {
				return
			}
			held.end(t, name)
		}
	})
	wg.Wait()
	if time.Since(began) < 2*time.Second {
		t.Errorf("%s: no traffic", name)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// judge: an attempt that needs what is away may be refused for now only, and
// soon. Where Dovecot is away there is nobody to answer a login over IMAP or
// POP3, and Postfix may hang up instead of greeting; that is no verdict on the
// user either.
func (tr *traffic) judge(t *testing.T, name, away string, a attempt, answer string, err error, took time.Duration) {
	t.Helper()
	login := strings.HasSuffix(a.what, "login")
	switch {
	case took > answerWithin:
		t.Errorf("%s: %s takes %v (%q, %v)", name, a.what, took.Round(time.Millisecond), answer, err)
	case err != nil && away == "dovecot" && (login || a.what == "mail by submission"):
	case err != nil:
		t.Errorf("%s: %s is not answered: %v", name, a.what, err)
	case away == "mysql" && login && !strings.HasPrefix(a.what, "first") && a.ok(answer): // cached
	case away == "dovecot" && !a.both && a.ok(answer): // needs the database only
	case away == "valkey", away == "filter" && !a.smtp: // needs neither
		if !a.ok(answer) {
			t.Errorf("%s: %s is answered %q", name, a.what, answer)
		}
	case !a.temp(answer):
		t.Errorf("%s: %s is answered %q", name, a.what, answer)
	}
}

// worksAgain waits for everything to work after the return, mail up to the
// mailbox included.
func (tr *traffic) worksAgain(t *testing.T, name string, returned time.Time) {
	t.Helper()
	var wg sync.WaitGroup
	for _, a := range attempts {
		wg.Go(func() {
			last := "no attempt"
			for time.Since(returned) < 3*worksWithin {
				answer, err := a.do(tr, t)
				if took := time.Since(returned); err == nil && a.ok(answer) {
					t.Logf("%s: %s works %v after the return", name, a.what, took.Round(time.Millisecond))
					if took > worksWithin {
						t.Errorf("%s: %s works only %v after the return; before: %s", name, a.what, took.Round(time.Millisecond), last)
					}
					return
				}
				last = fmt.Sprintf("%q (%v)", answer, err)
				pause(t.Context(), 200*time.Millisecond)
			}
			t.Errorf("%s: %s does not work %v after the return: %s", name, a.what, 3*worksWithin, last)
		})
	}
	wg.Wait()
	var sent []string
	waitUntil(t, worksWithin, name+": new mail is in the mailbox", func() (bool, string) {
		subject := tr.subject()
		err := tr.s.inbound(t, "stranger@elsewhere.example", []string{tr.user}, message("stranger@elsewhere.example", tr.user, subject, "Hello."))
		if err != nil {
			return false, err.Error()
		}
		tr.acknowledged(subject)
		sent = append(sent, subject)
		have := tr.mailbox(t)
		there := func(subject string) bool { return slices.Contains(have, subject) }
		return slices.ContainsFunc(sent, there), fmt.Sprintf("%d messages, none of %v", len(have), sent)
	})
}

// mailbox lists the subjects in the receiver's INBOX.
func (tr *traffic) mailbox(t *testing.T) []string {
	t.Helper()
	c, err := tr.s.imapLogin(t, tr.user, tr.password)
	if err != nil {
		return nil
	}
	defer c.Close()
	if _, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		return nil
	}
	all := imap.SeqSet{imap.SeqRange{Start: 1, Stop: 0}}
	messages, err := c.Fetch(all, &imap.FetchOptions{Envelope: true}).Collect()
	if err != nil {
		return nil
	}
	subjects := make([]string, len(messages))
	for i, m := range messages {
		subjects[i] = m.Envelope.Subject
	}
	return subjects
}

// allDelivered waits until everything acknowledged is in the mailbox.
func (tr *traffic) allDelivered(t *testing.T, name string, returned time.Time) {
	t.Helper()
	var missing []string
	waitUntil(t, time.Until(returned.Add(deferredUntil)), name+": all acknowledged mail is delivered", func() (bool, string) {
		missing = tr.missing(tr.mailbox(t))
		return len(missing) == 0, fmt.Sprintf("%d of %d are missing: %v", len(missing), len(tr.ledger), missing)
	})
	t.Logf("%s: all %d messages delivered %v after the return", name, len(tr.ledger), time.Since(returned).Round(100*time.Millisecond))
}

func (tr *traffic) missing(have []string) []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var missing []string
	for subject := range tr.ledger {
		if !slices.Contains(have, subject) {
			missing = append(missing, subject)
		}
	}
	return missing
}

// heldMail are transactions whose recipient was accepted and whose message is
// still to come: only so does mail get into the queue while it cannot be
// delivered.
type heldMail struct {
	tr   *traffic
	open []*dialogue
}

func (tr *traffic) hold(t *testing.T, n int) *heldMail {
	t.Helper()
	h := &heldMail{tr: tr}
	for range n {
		d := tr.s.line(t, "smtp")
		answer, err := d.all("", "EHLO client.example", "MAIL FROM:<stranger@elsewhere.example>", "RCPT TO:<"+tr.user+">")
		if err != nil || !strings.HasPrefix(answer, "250") {
			t.Fatalf("hold mail: %q %v", answer, err)
		}
		h.open = append(h.open, d)
	}
	return h
}

// end ends the oldest of them.
func (h *heldMail) end(t *testing.T, name string) {
	t.Helper()
	d := h.open[0]
	h.open = h.open[1:]
	defer d.conn.Close()
	start := time.Now()
	answer, err := h.tr.data(d, "stranger@elsewhere.example", h.tr.user)
	if err != nil || !strings.HasPrefix(answer, "250") && !strings.HasPrefix(answer, "4") {
		t.Errorf("%s: mail that had begun before is answered %q (%v)", name, answer, err)
	}
	t.Logf("%s: mail that had begun before is answered %q after %v", name, answer, time.Since(start).Round(time.Millisecond))
}

// release ends all that are left.
func (h *heldMail) release(t *testing.T, name string) {
	t.Helper()
	for len(h.open) > 0 {
		h.end(t, name)
	}
}
