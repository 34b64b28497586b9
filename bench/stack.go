package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"time"

	"mailstack/config"
	"mailstack/e2e/lab"
	layout "mailstack/stack"
)

// stack is one that is measured.
type stack struct {
	*lab.Stack
	user, password string // an account
	services       []string

	ours, bare *target // once somebody asked for them
}

// newStack brings up a stack, waits until it is proven, and makes an account.
func newStack(ctx context.Context, binary string, progress io.Writer) (*stack, error) {
	s, err := makeStack(ctx, binary, progress)
	if err != nil {
		return nil, err
	}
	return s.start(ctx)
}

// start is newStack for one that has a configuration.
func (s *stack) start(ctx context.Context) (*stack, error) {
	err := s.Up(ctx)
	if err == nil {
		err = s.AddAccount(ctx, s.user, s.password)
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// services of a stack that is measured. Nobody looks at the content of mail in what it
// is held against, so nobody does here; what that costs is a suite of its own.
var services = []string{"mysql", "dovecot", "postfix"}

// makeStack makes a stack's configuration.
func makeStack(ctx context.Context, binary string, progress io.Writer) (*stack, error) {
	made, err := lab.New(ctx, binary, "bench", progress)
	if err != nil {
		return nil, err
	}
	if err := made.Set("filter.enabled", "false"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(made.Dir))
	}
	return &stack{Stack: made, user: "bench@" + made.Hostname, password: rand.Text(), services: services}, nil
}

// again makes another stack of the same program.
func (s *stack) again(ctx context.Context) (*stack, error) {
	return newStack(ctx, s.Binary, s.Progress)
}

// withFilter is again with the services of the filter.
func (s *stack) withFilter(ctx context.Context) (*stack, error) {
	made, err := makeStack(ctx, s.Binary, s.Progress)
	if err != nil {
		return nil, err
	}
	made.services = lab.Services(config.Default())
	if err := made.Set("filter.enabled", "true"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(made.Dir))
	}
	return made.start(ctx)
}

// containers are those of the services.
func (s *stack) containers() (names []string) {
	for _, service := range s.services {
		names = append(names, s.Container(service))
	}
	return names
}

// layout says where things of the stack are.
func (s *stack) layout() layout.Layout { return layout.Layout{Dir: s.Data()} }

// remove takes the stack down with its data, and what was started beside it,
// also after a context has ended.
func (s *stack) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return errors.Join(s.Down(ctx), s.removeBare(ctx), os.RemoveAll(s.Dir))
}
