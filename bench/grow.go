package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"mailstack/bench/load"

	"mailstack/e2e/lab"
)

// visitors is how many of the accounts log in: more than a database that keeps
// 8 MB in memory can have there.
const visitors = 1000

// growSuite measures stacks with ever more accounts beside each other, each with
// 1,000 domains and an alias for every other account. Passwords cost nothing to
// verify, and nothing is remembered of an earlier answer, so that the lookup is
// what is seen.
func growSuite(ctx context.Context, s *stack, e effort) (_ []series, err error) {
	var all []contender
	for _, n := range []int{100, e.pick(10_000, 1000), e.pick(1_000_000, 20_000)} {
		g, err := growStack(ctx, s, n)
		if g != nil {
			defer func() { err = errors.Join(err, g.remove()) }()
		}
		if err != nil {
			return nil, err
		}
		all = append(all, contender{fmt.Sprintf("%d accounts", n), "", func(ctx context.Context) ([]reading, error) { return g.turn(ctx, e) }})
	}
	return interleave(ctx, e.rounds, all)
}

// grown is a stack with n accounts.
type grown struct {
	*stack
	load.Server
	n, next int
}

func growStack(ctx context.Context, s *stack, n int) (*grown, error) {
	own, err := s.again(ctx)
	if err != nil {
		return nil, err
	}
	g := &grown{stack: own, n: n}
	g.Server.Ports = own.Ports
	if g.TLS, err = own.tls(ctx); err != nil {
		return g, err
	}
	db, err := own.database()
	if err != nil {
		return g, err
	}
	defer db.Close()
	fmt.Fprintf(s.Progress, "bench: making %d accounts\n", n)
	if err := addMany(ctx, db, n, "me@"+own.Hostname, "{PLAIN}"+own.password); err != nil {
		return g, err
	}
	// Their mailboxes are made by the first login.
	return g, load.Each(ctx, workers, min(visitors, n), func(ctx context.Context, i int) error { return g.visit(ctx, i) })
}

// visit logs in as one of the accounts that do, spread over all.
func (g *grown) visit(ctx context.Context, i int) error {
	each := max(1, g.n/visitors)
	return g.LogIn(ctx, "imaps", oneOfMany(i*each%g.n, g.n), g.password)
}

func (g *grown) anybody() string { return oneOfMany(rand.IntN(g.n), g.n) }

// anywhere is a sub-address of anybody's that nobody has asked about: of few
// accounts the database would else know all answers by heart.
func (g *grown) anywhere() string {
	g.next++
	local, domain, _ := strings.Cut(g.anybody(), "@")
	return fmt.Sprintf("%s+%d@%s", local, g.next, domain)
}

func (g *grown) turn(ctx context.Context, e effort) ([]reading, error) {
	if _, err := lab.Docker(ctx, "exec", g.Container("dovecot"), "doveadm", "auth", "cache", "flush"); err != nil {
		return nil, err
	}
	times, err := load.Times(ctx, e.pick(100, 20), func(ctx context.Context, _ int) error {
		g.next++
		return g.visit(ctx, g.next%min(visitors, g.n))
	})
	if err != nil {
		return nil, err
	}
	readings := percentiles("IMAP login", times)
	if times, err = g.recipients(ctx, e.pick(200, 30)); err != nil {
		return nil, err
	}
	readings = append(readings, percentiles("MAIL, RCPT, RSET", times)...)
	for _, c := range []struct {
		name string
		args func() []string
	}{
		{"account list --limit 50", func() []string { return []string{"account", "list", "--limit", "50"} }},
		{"account list --limit 50, from the middle", func() []string {
			return []string{"account", "list", "--limit", "50", "--after", oneOfMany(g.n/2, g.n)}
		}},
		{"account show", func() []string { return []string{"account", "show", g.anybody()} }},
	} {
		times, err := load.Times(ctx, e.pick(10, 2), func(ctx context.Context, _ int) error {
			_, err := g.Run(ctx, nil, c.args()...)
			return err
		})
		if err != nil {
			return nil, err
		}
		readings = append(readings, reading{c.name + ", p50", "ms", load.Percentile(times, 50).Seconds() * 1000})
	}
	began := time.Now()
	if _, err := g.Run(ctx, nil, "probe"); err != nil {
		return nil, err
	}
	readings = append(readings, reading{"probe", "ms", time.Since(began).Seconds() * 1000})
	return readings, nil
}

// recipients times RCPT, each in a transaction of its own. A session has few of
// them: Postfix ends one after a hundred that bring no message
// (smtpd_junk_command_limit).
func (g *grown) recipients(ctx context.Context, n int) (times []time.Duration, err error) {
	const each = 40
	for len(times) < n {
		session, err := g.Inbound(ctx)
		if err != nil {
			return nil, err
		}
		some, err := load.Times(ctx, min(each, n-len(times)), func(context.Context, int) error {
			return errors.Join(session.Sender(stranger), session.Recipient(g.anywhere()), session.Reset())
		})
		if err := errors.Join(err, session.Leave()); err != nil {
			return nil, err
		}
		times = append(times, some...)
	}
	return times, nil
}
