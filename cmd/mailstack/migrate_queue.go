package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"mailstack/accounts"
	"mailstack/migrate"
	"mailstack/migrate/remote"
)

// addressees are accounts to which mail of the old server's queue belongs.
func (m *rsyncMigration) addressees(list ...accounts.Address) migrate.Addressees {
	a := migrate.Addressees{Accounts: map[string]bool{}, Delimiter: m.old.facts.MTA.Delimiter}
	for _, address := range list {
		a.Accounts[address.String()] = true
	}
	return a
}

// carryQueue delivers what waits in the old server's queue for accounts that were
// opened, by this run or an earlier one.
func (m *rsyncMigration) carryQueue(ctx context.Context, migration *migrate.Migration, opened []accounts.Address) (*migrate.CarryReport, error) {
	if m.queue == nil {
		return nil, nil
	}
	to := m.addressees()
	for _, address := range migration.Opened() {
		to.Accounts[address] = true
	}
	for _, address := range m.moving {
		to.Accounts[address.String()] = slices.Contains(opened, address)
	}
	cfg, err := m.config()
	if err != nil {
		return nil, err
	}
	list, err := m.queue.List(ctx)
	if err != nil {
		return nil, queueUnread(err)
	}
	socket := layout(cfg).Socket("dovecot", "lmtp")
	report, err := migration.Carry(ctx, list, migrate.Carrier{From: m.queue, To: to, Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}})
	if err == nil && report.Failed() {
		err = errors.New("not all of the old server's queue could be carried over, see above")
	}
	if err != nil {
		err = hinted(err, "run the same command again: what was delivered is not delivered twice")
	}
	return report, err
}

// carryLate carries over what an earlier run that opened the accounts has left in
// the old server's queue.
func (m *rsyncMigration) carryLate(ctx context.Context, migration *migrate.Migration) error {
	inUse := errors.New("move mailboxes: all of them are in use here already; nothing was done")
	if !m.flags.final || len(migration.Opened()) == 0 {
		return inUse
	}
	report, err := m.carryQueue(ctx, migration, nil)
	if report == nil || err == nil && len(report.Carried) == 0 {
		return errors.Join(err, inUse)
	}
	if m.flags.format == "json" {
		err = errors.Join(m.printJSON(report), err)
	} else {
		printCarried(m.Stdout, report)
	}
	return err
}

// printCarried shows what became of the old server's queue.
func printCarried(w io.Writer, r *migrate.CarryReport) {
	if r == nil {
		return
	}
	show := func(what string, d migrate.Delivery) {
		line := fmt.Sprintf("%s %s, %s from <%s> for %s", what, d.ID, bytesText(d.Bytes), d.Sender, d.Recipient)
		if d.Why != "" {
			line += ": " + d.Why
		}
		fmt.Fprintln(w, remote.Printable(line))
	}
	for _, d := range r.Carried {
		show("carried over from the queue there:", d)
	}
	for _, d := range r.Left {
		mark := "left in the queue there:"
		if d.Failed {
			mark = "✗ " + mark
		}
		show(mark, d)
	}
	if len(r.Carried)+r.Before == 0 {
		return
	}
	var ids []string
	for _, d := range r.Carried {
		if !slices.Contains(ids, d.ID) {
			ids = append(ids, d.ID)
		}
	}
	fmt.Fprintln(w, "! The old server has them in its queue still, as nothing is removed there. If its Postfix is started again it delivers\n"+
		"  them once more: to its own mailboxes, and on to where Sieve scripts and forwards lead. Before that, there: postsuper -d ID")
	if len(ids) > 0 {
		fmt.Fprintf(w, "  (%s)\n", strings.Join(ids, " "))
	}
}

// queueLine shows how many messages wait in the old server's queue: one line that
// changes in a terminal, a line for each change elsewhere.
type queueLine struct {
	w             io.Writer
	live          bool
	frozen        time.Time
	last          string
	waited, ended bool
}

func newQueueLine(w io.Writer, frozen time.Time) *queueLine {
	return &queueLine{w: w, live: colour(w), frozen: frozen}
}

func (l *queueLine) show(waiting, all int, running bool) {
	text := fmt.Sprintf("the queue of the old server holds %s for the accounts, %d for others", messagesText(waiting), all-waiting)
	if waiting > 0 && !running {
		text += "; Postfix is stopped there, so they are carried over when the accounts are open"
	}
	switch {
	case l.live:
		fmt.Fprintf(l.w, "\r\x1b[K%s (out of use for %s)", text, duration(time.Since(l.frozen)))
	case text != l.last:
		fmt.Fprintln(l.w, text)
	}
	l.last, l.waited = text, true
}

func (l *queueLine) end() {
	if l.live && l.waited && !l.ended {
		fmt.Fprintln(l.w)
	}
	l.ended = true
}

func messagesText(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}
