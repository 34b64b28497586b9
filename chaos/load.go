package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"mailstack/e2e/lab"
)

// senders is how many letters are on their way at a time.
const senders = 4

// load is all that clients do during a round.
type load struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu  sync.Mutex
	err error // of the ledger: the round is worth nothing
}

// source is a generator for one part of a round: the same seed, the same faults
// and letters, whatever the server answers in between.
func source(seed uint64, round, part int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(round)<<16|uint64(part)))
}

// startLoad starts the clients. fresh has never logged in before, so nothing
// about it is cached anywhere.
func (a *arena) startLoad(ctx context.Context, seed uint64, round int, fresh string) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{stop: stop}
	var sent atomic.Int64
	for i := range senders {
		l.wg.Go(func() {
			rng := source(seed, round, i)
			for ctx.Err() == nil {
				m := a.compose(rng, round, fmt.Sprintf("%d-%d", round, sent.Add(1)))
				// To its end, also when the load stops: an answer is worth more.
				l.failed(a.attempt(context.WithoutCancel(ctx), 60*time.Second, func(ctx context.Context) error { return a.send(ctx, m) }))
				lab.Pause(ctx, time.Duration(50+rng.IntN(300))*time.Millisecond)
			}
		})
	}
	for i, account := range a.readers {
		l.wg.Go(func() { l.failed(a.read(ctx, source(seed, round, 100+i), round, account)) })
	}
	for what, login := range a.logins() {
		for _, account := range []string{a.plain[0], fresh} {
			l.wg.Go(func() {
				for ctx.Err() == nil {
					err := a.attempt(ctx, 10*time.Second, func(ctx context.Context) error { return login(ctx, account) })
					if ctx.Err() == nil {
						a.findings.judge(what, err)
					}
					lab.Pause(ctx, 500*time.Millisecond)
				}
			})
		}
	}
	return l
}

// logins are the ways to log in.
func (a *arena) logins() map[string]func(context.Context, string) error {
	return map[string]func(context.Context, string) error{
		"IMAP login": a.loginIMAP, "POP3 login": a.loginPOP3, "submission login": a.loginSMTP, "ManageSieve login": a.loginManageSieve,
	}
}

// attempt bounds what talks to the server.
func (a *arena) attempt(ctx context.Context, within time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return do(ctx)
}

// failed keeps what went wrong with the ledger; what the server answers is
// judged elsewhere.
func (l *load) failed(err error) {
	if !errors.Is(err, errLedger) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, err)
}

// end stops the clients and waits for the answers that are still to come.
func (l *load) end() error {
	l.stop()
	l.wg.Wait()
	return l.err
}
