package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/migrate"
	"mailstack/probe"
	"mailstack/stack"
)

// mover brings accounts of another mail host into the stack: they are held
// (see accounts.Move) from begin to end.
type mover struct {
	*app
	db   *accounts.DB
	move accounts.Move
	// left are the accounts that are not moved, by address, and why.
	left map[string]error
	// added says that there are domains whose mail nobody signs yet.
	added bool
}

// newMover takes the lock of migrations, so that two runs do not change the
// password of the move under each other. The stack's own lock stays free: a
// migration takes hours, and certificates are renewed meanwhile.
func (a *app) newMover(ctx context.Context) (m *mover, done func(), err error) {
	cfg, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	db, closeDB, err := a.database(ctx)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := stack.LockMigration(layout(cfg), time.Now())
	if err != nil {
		closeDB()
		return nil, nil, err
	}
	done = func() { unlock(); closeDB() }
	if err := checkTarget(cfg); err != nil {
		done()
		return nil, nil, err
	}
	if err := a.clearDatadir(ctx, cfg); err != nil {
		done()
		return nil, nil, err
	}
	if _, err := a.tidyMigration(ctx, cfg, db); err != nil {
		done()
		return nil, nil, err
	}
	return &mover{app: a, db: db, move: accounts.NewMove(), left: map[string]error{}}, done, nil
}

// checkTarget refuses a mail volume that is not this stack's before anything is made
// for it, or stopped on the old server.
func checkTarget(cfg *config.Config) error {
	id, err := stack.ReadIdentity(layout(cfg), nil, time.Now())
	if err == nil {
		err = destination(cfg, id.ID).Marked()
	}
	if err != nil {
		return hinted(fmt.Errorf("move mail into the mail volume: %w", err), "nothing was changed; mount its disk here, or correct [data] vmail in mailstack.toml")
	}
	return nil
}

// tidyMigration ends what a run has left that was killed. The lock of migrations is
// taken.
func (a *app) tidyMigration(ctx context.Context, cfg *config.Config, db *accounts.DB) (freed bool, err error) {
	id, err := stack.ReadIdentity(layout(cfg), nil, time.Now())
	if err != nil {
		return false, err
	}
	list, err := db.ListAccounts(ctx, accounts.AccountFilter{})
	if err != nil {
		return false, err
	}
	var waiting []string
	for _, account := range list {
		if account.Moving {
			waiting = append(waiting, account.Address)
		}
	}
	return migrate.Tidy(destination(cfg, id.ID), waiting)
}

// begin holds accounts, and makes those that are not there, with their domains.
// It returns those that are being moved now; others are in use here already and
// are left alone, with a line that says so.
func (m *mover) begin(ctx context.Context, list []accounts.NewAccount) (moving []accounts.Address, err error) {
	defer m.signDomains(ctx)
	known, added := map[string]bool{}, 0
	for _, n := range list {
		if domain := n.Address.Domain; !known[domain] {
			known[domain] = true
			if err := m.domain(ctx, domain); err != nil {
				return moving, err
			}
		}
		made, err := m.db.BeginMove(ctx, m.move, n)
		switch {
		case errors.Is(err, accounts.ErrExists):
			m.left[n.Address.String()] = err
			m.tell("account %s is left alone: %v", n.Address, err)
			continue
		case err != nil:
			return moving, err
		case made:
			added++
		}
		moving = append(moving, n.Address)
	}
	if added > 0 {
		m.tell("%d accounts added; they take no mail and let nobody in until they are moved", added)
	}
	return moving, nil
}

// domain makes a domain where it is not there.
func (m *mover) domain(ctx context.Context, domain string) error {
	err := m.db.AddDomain(ctx, domain)
	if errors.Is(err, accounts.ErrExists) {
		return nil
	}
	if err == nil {
		m.added = true
		m.tell("domain %s added", bothDomain(domain))
	}
	return err
}

// signDomains lets the mail of domains be signed that were added.
func (m *mover) signDomains(ctx context.Context) {
	if !m.added {
		return
	}
	if err := m.sign(ctx); err != nil {
		m.tell("warning: "+unsigned, err)
		return
	}
	m.added = false
}

// end opens accounts to their owners and to mail.
func (m *mover) end(ctx context.Context, list []accounts.Address) error {
	if len(list) == 0 {
		return nil
	}
	return m.db.EndMove(ctx, list)
}

// tell prints what is done as it is done.
func (m *mover) tell(format string, args ...any) { fmt.Fprintf(m.Stderr, format+"\n", args...) }

// bothDomain is both of a domain.
func bothDomain(domain string) string { return both(domain, accounts.UnicodeDomain(domain)) }

// logins ask this stack, as the owner of each account would, with the password
// of the move.
func (m *mover) logins(ctx context.Context) (migrate.Logins, error) {
	base, err := m.probeTarget(ctx)
	if err != nil {
		return migrate.Logins{}, err
	}
	as := func(address string) *probe.Target {
		t := base
		t.User, t.Password = address, probe.Secret(m.move.Password().Reveal())
		return &t
	}
	ports := base.Ports
	var l migrate.Logins
	if ports["imap"] != 0 || ports["imaps"] != 0 {
		l.Folders = func(ctx context.Context, address string, names []string) (map[string]migrate.FolderState, error) {
			states, err := as(address).Folders(ctx, names)
			here := map[string]migrate.FolderState{}
			for name, s := range states {
				here[name] = migrate.FolderState(s)
			}
			return here, err
		}
	}
	if ports["pop3"] != 0 || ports["pop3s"] != 0 {
		l.Maildrop = func(ctx context.Context, address string) (int, int64, error) { return as(address).Maildrop(ctx) }
	}
	return l, nil
}
