package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mailstack/bench/load"
)

// target is a mail server under load, with users.
type target struct {
	name, about string
	load.Server
	names      string // what users' names begin with; "": u
	domain     string
	password   string // every user's
	mail       string // directory of the mail store on the host: DOMAIN/LOCALPART/Maildir
	containers []string
}

// people is how many users a target has.
const people = 1200

// user is the address of one of the users, from 0.
func (t *target) user(i int) string {
	return fmt.Sprintf("%s%07d@%s", cmp.Or(t.names, "u"), i, t.domain)
}

// logIn logs one of the users in and out.
func (t *target) logIn(ctx context.Context, listener string, i int) error {
	return t.LogIn(ctx, listener, t.user(i), t.password)
}

// everybody logs the first n users in once.
func (t *target) everybody(ctx context.Context, listener string, n int) error {
	return load.Each(ctx, workers, n, func(ctx context.Context, i int) error { return t.logIn(ctx, listener, i) })
}

// workers is how many connections there are at a time.
const workers = 8

func (t *target) maildir(i int) string {
	local, domain, _ := strings.Cut(t.user(i), "@")
	return filepath.Join(t.mail, domain, local, "Maildir")
}

// owner of a file.
type owner struct{ uid, gid int }

func ownerOf(path string) (owner, error) {
	info, err := os.Stat(path)
	if err != nil {
		return owner{}, err
	}
	stat := info.Sys().(*syscall.Stat_t) // what os.Stat gives on Linux
	return owner{int(stat.Uid), int(stat.Gid)}, nil
}

// arrived counts the messages of an INBOX by its files, which disturbs nobody.
func (t *target) arrived(i int) (int, error) {
	count := 0
	for _, sub := range []string{"new", "cur"} {
		dir, err := os.Open(filepath.Join(t.maildir(i), sub))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		names, err := dir.Readdirnames(-1)
		if err := errors.Join(err, dir.Close()); err != nil {
			return 0, err
		}
		count += len(names)
	}
	return count, nil
}

// arrivals is arrived for the users from first up to before end.
func (t *target) arrivals(first, end int) (int, error) {
	sum := 0
	for i := first; i < end; i++ {
		n, err := t.arrived(i)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// awaitArrivals waits until these users have as many messages. Of the bare daemons
// a queue that has put something off for its next run, after five minutes, is an
// error; mailstack tries again sooner what waited for a daemon of its own.
func (t *target) awaitArrivals(ctx context.Context, first, end, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		have, err := t.arrivals(first, end)
		if err != nil || have >= want {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for %d messages, %d have come: %w", want, have, ctx.Err())
		}
	}
}

// target is the stack as what is put under load, with its users.
func (s *stack) target(ctx context.Context) (*target, error) {
	if s.ours != nil {
		return s.ours, nil
	}
	config, err := s.tls(ctx)
	if err != nil {
		return nil, err
	}
	t := &target{
		name: "mailstack", about: "", Server: load.Server{TLS: config, Ports: s.Ports},
		domain: s.Hostname, password: s.password, mail: s.layout().Content("vmail"),
		containers: s.containers(),
	}
	hash, err := strongHash(s.password)
	if err != nil {
		return nil, err
	}
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := addAccounts(ctx, db, people, "'"+t.domain+"'", hash); err != nil {
		return nil, err
	}
	s.ours = t
	return t, nil
}

// tls trusts the stack's authority, for the stack's name.
func (s *stack) tls(ctx context.Context) (*tls.Config, error) {
	ca, err := s.Run(ctx, nil, "cert", "trust", "--print")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, fmt.Errorf("read the stack's authority: no certificate in %q", ca)
	}
	return &tls.Config{RootCAs: pool, ServerName: s.Hostname}, nil
}

// both are what most figures compare: bare first, as it is the limit.
func (s *stack) both(ctx context.Context) (bare, ours *target, err error) {
	if bare, err = s.bareTarget(ctx); err != nil {
		return nil, nil, err
	}
	ours, err = s.target(ctx)
	return bare, ours, err
}

// against makes contenders of targets.
func against(run func(context.Context, *target) ([]reading, error), targets ...*target) []contender {
	var all []contender
	for _, t := range targets {
		all = append(all, contender{t.name, t.about, func(ctx context.Context) ([]reading, error) { return run(ctx, t) }})
	}
	return all
}
