package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailstack/accounts"
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
	if err := a.clearDatadir(ctx, cfg); err != nil {
		done()
		return nil, nil, err
	}
	return &mover{app: a, db: db, move: accounts.NewMove(), left: map[string]error{}}, done, nil
}

// begin holds accounts, and makes those that are not there, with their domains.
// It returns those that are being moved now; others are in use here already and
// are left alone, with a line that says so.
func (m *mover) begin(ctx context.Context, list []accounts.NewAccount) (moving []accounts.Address, err error) {
	known, added := map[string]bool{}, 0
	for _, n := range list {
		if domain := n.Address.Domain; !known[domain] {
			known[domain] = true
			err := m.db.AddDomain(ctx, domain)
			switch {
			case err == nil:
				m.tell("domain %s added", bothDomain(domain))
			case !errors.Is(err, accounts.ErrExists):
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
