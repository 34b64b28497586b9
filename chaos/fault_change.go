package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emersion/go-imap/v2"
)

// reconfigure changes the configuration in a way that two services notice.
func (a *arena) reconfigure() error {
	a.limit = 99 - a.limit // 50 and 49
	return a.Set("limits.message_size", fmt.Sprintf("%q", fmt.Sprintf("%dMiB", a.limit)))
}

func upChanged(ctx context.Context, s *scene) (endFunc, error) {
	if err := s.reconfigure(); err != nil {
		return none, err
	}
	_, err := s.Run(ctx, nil, "up", "--no-probe")
	return none, s.consequence("up with a changed configuration failed", err)
}

// consequence makes the failure of one of our commands a finding, unless another
// fault may be to blame.
func (s *scene) consequence(what string, err error) error {
	if err != nil && s.alone {
		s.findings.add(what, "%v", err)
	}
	return nil
}

// upKilled kills an up after up to 6 s, which is as long as one takes.
func upKilled(ctx context.Context, s *scene) (endFunc, error) {
	if err := s.reconfigure(); err != nil {
		return none, err
	}
	// Not by its context, which would ask politely.
	cmd := s.Command(context.WithoutCancel(ctx), "up", "--no-probe")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return none, err
	}
	pause(ctx, time.Duration(100+s.rng.IntN(6000))*time.Millisecond)
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return none, err
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return none, err
	}
	return func(ctx context.Context) error {
		if _, err := s.Run(ctx, nil, "up", "--no-probe"); err != nil {
			return s.consequence("up after one that was killed failed", err)
		}
		out, err := s.Run(ctx, nil, "up", "--no-probe")
		if err == nil && !strings.Contains(out, "nothing to do") {
			err = fmt.Errorf("it says %q", out)
		}
		return s.consequence("a second up has something to do", err)
	}, nil
}

func renewed(ctx context.Context, s *scene) (endFunc, error) {
	_, err := s.Run(ctx, nil, "cert", "renew")
	return none, s.consequence("cert renew failed", err)
}

// accountsChanged makes, changes and removes accounts and aliases until its end.
func accountsChanged(ctx context.Context, s *scene) (endFunc, error) {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			err := s.accountLives(ctx, fmt.Sprintf("guest%d-%d@%s", s.rng.IntN(1e6), n, s.Hostname))
			if ctx.Err() == nil {
				_ = s.consequence("a change of an account failed", err)
			}
		}
	})
	return func(context.Context) error {
		stop()
		wg.Wait()
		return nil
	}, nil
}

// accountLives makes an account and an alias of it, changes its password, and
// removes both. Every command that was obeyed is true at once.
func (s *scene) accountLives(ctx context.Context, address string) error {
	login := func(password string) error {
		guest := *s.arena
		guest.password = password
		return s.attempt(ctx, 10*time.Second, func(ctx context.Context) error { return guest.loginIMAP(ctx, address) })
	}
	if err := s.AddAccount(ctx, address, "first password"); err != nil {
		return err
	}
	if err := login("first password"); err != nil {
		s.findings.judge("IMAP login of a new account", err)
		return fmt.Errorf("log in to a new account: %w", err)
	}
	alias := "also-" + address
	if _, err := s.Run(ctx, nil, "alias", "add", alias, address); err != nil {
		return err
	}
	if _, err := s.Run(ctx, []byte("second password\n"), "account", "passwd", address, "--password-stdin"); err != nil {
		return err
	}
	if err := login("second password"); err != nil {
		s.findings.judge("IMAP login with a new password", err)
		return fmt.Errorf("log in with a new password: %w", err)
	}
	var answer *imap.Error
	if err := login("first password"); err == nil {
		s.findings.add("old password taken", "%s", address)
	} else if !errors.As(err, &answer) {
		return fmt.Errorf("log in with the old password: %w", err)
	}
	for _, args := range [][]string{{"alias", "remove", alias}, {"account", "remove", address, "--yes"}} {
		if _, err := s.Run(ctx, nil, args...); err != nil {
			return err
		}
	}
	return nil
}
