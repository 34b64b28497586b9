package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emersion/go-imap/v2"
)

// changes are what administrators do, in the middle of all.
func changes() []fault {
	found := []fault{
		{name: "up-changed", about: "mailstack up with another message size", touches: services, start: upChanged},
		{name: "up-killed", about: "such an up, killed at a random moment, and up again", touches: services, start: upKilled},
		{name: "up-killed-steps", about: "an up that replaces everything, killed at each of its steps in turn, and up again", touches: all, start: upKilledAtEachStep},
		{name: "up-rebuilt", about: "mailstack up --refresh with another base image: all images built again", touches: all, start: upRebuilt},
	}
	for i := range found {
		found[i].doubles, found[i].brief = true, true
	}
	return append(found,
		fault{name: "renewal", about: "mailstack cert renew", touches: []string{"certificate"}, brief: true, start: renewed},
		fault{name: "accounts", about: "accounts and aliases made, changed and removed", touches: []string{"accounts"}, start: accountsChanged},
	)
}

// reconfigure changes the configuration in a way that two services notice.
func (a *arena) reconfigure() error {
	a.limit = 99 - a.limit // 50 and 49
	return a.Set("limits.message_size", fmt.Sprintf("%q", fmt.Sprintf("%dMiB", a.limit)))
}

// reconfigureAll changes it in a way that all notice, the certificate included.
func (a *arena) reconfigureAll() error {
	return errors.Join(a.reconfigure(),
		a.Set("limits.mysql_memory", fmt.Sprintf("%q", fmt.Sprintf("%dMiB", 500+a.limit))),
		a.Set("limits.filter_memory", fmt.Sprintf("%q", fmt.Sprintf("%dMiB", 500+a.limit))),
		a.Set("limits.valkey_memory", fmt.Sprintf("%q", fmt.Sprintf("%dMiB", 250+a.limit))),
		a.Set("aliases", fmt.Sprintf("[%q]", fmt.Sprintf("also%d.%s", a.limit, a.Hostname))))
}

func upChanged(ctx context.Context, s *scene) (endFunc, error) {
	if err := s.reconfigure(); err != nil {
		return none, err
	}
	_, err := s.Run(ctx, nil, "up", "--no-probe")
	return none, s.consequence("up with a changed configuration failed", err)
}

// upRebuilt gives the base image another name, which makes other images, and
// builds them without cache.
func upRebuilt(ctx context.Context, s *scene) (endFunc, error) {
	before, err := s.Images(ctx)
	if err != nil {
		return none, err
	}
	base, err := s.Docker(ctx, "image", "ls", "--quiet", "--filter", "reference=mailstack/base:trixie", "--filter", "reference=debian:trixie-slim")
	if err != nil {
		return none, err
	}
	base, _, _ = strings.Cut(base, "\n")
	name := fmt.Sprintf("mailstack/base:%s-%d", s.Name, len(s.rebuilt))
	if _, err := s.Docker(ctx, "tag", base, name); err != nil {
		return none, err
	}
	s.rebuilt = append(s.rebuilt, name)
	if err := s.Set("images.base", fmt.Sprintf("%q", name)); err != nil {
		return none, err
	}
	_, err = s.Run(ctx, nil, "up", "--no-probe", "--refresh")
	after, listed := s.Images(ctx)
	if err == nil && listed == nil {
		s.rebuilt = append(s.rebuilt, after...)
		if slices.ContainsFunc(after, func(image string) bool { return slices.Contains(before, image) }) {
			err = fmt.Errorf("containers of %q before, of %q after", before, after)
		}
	}
	return none, errors.Join(listed, s.consequence("up with images built again failed", err))
}

// consequence makes the failure of one of our commands a finding, unless another
// fault may be to blame.
func (s *scene) consequence(what string, err error) error {
	if err != nil && s.alone {
		s.findings.add(what, "%v", err)
	}
	return nil
}

// endedOperation is a line of progress: "✓ 12/27  write  files of postfix".
var endedOperation = regexp.MustCompile(`^✓ +\d+/(\d+)  `)

// killedUp runs an up and kills it once stop says so of a line of its progress,
// or after a while, if that is not 0. ended says that it came to its end before.
func (s *scene) killedUp(ctx context.Context, stop func(line string) bool, while time.Duration) (ended bool, err error) {
	// Not by its context, which would ask politely.
	cmd := s.Command(context.WithoutCancel(ctx), "up", "--no-probe")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	progress, err := cmd.StderrPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // may have ended
	if while > 0 {
		defer time.AfterFunc(while, kill).Stop()
	}
	defer context.AfterFunc(ctx, kill)()
	var said strings.Builder
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if stop(lines.Text()) {
			kill()
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return false, err
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return false, ctx.Err()
	}
	if status.ExitStatus() != 0 {
		err = fmt.Errorf("status %d: %s", status.ExitStatus(), said.String())
	}
	return true, s.consequence("up with a changed configuration failed", err)
}

// upKilled kills an up after up to 6 s, which is as long as one takes.
func upKilled(ctx context.Context, s *scene) (endFunc, error) {
	if err := s.reconfigure(); err != nil {
		return none, err
	}
	_, err := s.killedUp(ctx, func(string) bool { return false }, time.Duration(100+s.rng.IntN(6000))*time.Millisecond)
	return s.upAgain, err
}

// upAgain is the up after one that was killed.
func (s *scene) upAgain(ctx context.Context) error {
	if _, err := s.Run(ctx, nil, "up", "--no-probe"); err != nil {
		return s.consequence("up after one that was killed failed", err)
	}
	out, err := s.Run(ctx, nil, "up", "--no-probe")
	if err == nil && !strings.Contains(out, "nothing to do") {
		err = fmt.Errorf("it says %q", out)
	}
	return s.consequence("a second up has something to do", err)
}

// upKilledAtEachStep lets no operation of an up's plan be the last, once each;
// in between the stack becomes what the next one changes.
func upKilledAtEachStep(ctx context.Context, s *scene) (endFunc, error) {
	for n := 0; ; n++ {
		if err := s.reconfigureAll(); err != nil {
			return none, err
		}
		count, last := 0, "nothing yet"
		ended, err := s.killedUp(ctx, func(line string) bool {
			if endedOperation.MatchString(line) {
				count, last = count+1, strings.Join(strings.Fields(line)[1:], " ")
			}
			return count >= n
		}, 0)
		if err != nil {
			return none, err
		}
		if ended {
			if n < 10 {
				s.findings.add("a plan of few steps", "%d", n)
			}
			return none, nil
		}
		s.findings.note("killed after: " + last)
		if err := s.upAgain(ctx); err != nil {
			return none, err
		}
	}
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
