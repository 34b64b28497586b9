package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is one of an engine's daemons.
type Process struct {
	name  string
	args  []string
	log   string // file
	alive func(ctx context.Context) error
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd is no more
}

// Start starts the daemon and waits until it answers.
func (p *Process) Start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	// What interrupts us does not interrupt it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		_ = cmd.Wait() // its status is of no interest
		close(ended)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := Eventually(ctx, time.Minute, p.name+" answers", p.alive); err != nil {
		said, _ := os.ReadFile(p.log)
		return fmt.Errorf("%w: %s", err, said[max(0, len(said)-2000):])
	}
	return nil
}

// Signal sends a signal.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// End sends a signal and waits until the daemon is no more.
func (p *Process) End(ctx context.Context, sig syscall.Signal) error {
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end %s: %w", p.name, ctx.Err())
	case <-time.After(time.Minute):
		return fmt.Errorf("end %s: it lives on after a minute", p.name)
	}
}
