package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailstack/certs"
	"mailstack/stack"
)

// settleTimeout bounds the wait until every port serves a new certificate. A
// reload takes a quarter of a second; a busy host is given more.
const settleTimeout = 15 * time.Second

// settleCertificate is the end of what up does, which ended with applied. A
// certificate that may be put back is looked for at the ports; where services are
// away, they read it when they start, and the next run settles it. Where none
// waits, the probe looks.
func (a *app) settleCertificate(ctx context.Context, t *target, applied error) error {
	store := certStore(t.cfg)
	if store.Pending() {
		_, err := a.proveCertificate(ctx, t)
		return errors.Join(applied, err)
	}
	if applied != nil {
		return applied
	}
	set, err := store.Served()
	if err != nil {
		return err
	}
	return tidy(layout(t.cfg), set, tlsServices(t.graph)) // what a killed run left
}

// proveCertificate looks at what each port serves and keeps the certificate that
// was installed, or puts the old one back. served is false without an error where
// services are away.
func (a *app) proveCertificate(ctx context.Context, t *target) (served bool, err error) {
	store, l, services := certStore(t.cfg), layout(t.cfg), tlsServices(t.graph)
	running, err := allRunning(ctx, t, services)
	if err != nil || !running {
		return false, err
	}
	set, err := store.Newest()
	if err != nil {
		return false, err
	}
	wrong := a.awaitServed(ctx, t.cfg, set)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if len(wrong) == 0 {
		if err := store.Commit(); err != nil {
			return false, err
		}
		return true, tidy(l, set, services)
	}
	const hint = "mailstack logs; the next `mailstack maintain` tries again"
	seen := strings.Join(wrong, "; ")
	if !store.Pending() { // there was none before, or none worth going back to
		return false, hinted(fmt.Errorf("install certificate: the one on disk is not served everywhere: %s", seen), hint)
	}
	refused := fmt.Errorf("install certificate: the new one is not served everywhere: %s", seen)
	old, err := store.Served()
	if err != nil {
		return false, errors.Join(refused, fmt.Errorf("put the old one back: %w", err))
	}
	if err := a.putBack(ctx, t, old, services); err != nil {
		return false, errors.Join(refused, fmt.Errorf("put the old one back: %w", err))
	}
	return false, hinted(fmt.Errorf("%w; the old one was put back", refused), hint)
}

// putBack gives the services the certificate that they served before. Each is
// reloaded even where another one's reload fails, which may be what went wrong.
func (a *app) putBack(ctx context.Context, t *target, old *certs.Set, services []string) error {
	if err := install(layout(t.cfg), old, services); err != nil {
		return err
	}
	var failed []error
	for _, service := range services {
		if err := stack.Run(ctx, t.engine, stack.ContainerName(t.cfg.Name, service), stack.ReloadCmd); err != nil {
			failed = append(failed, err)
		}
	}
	if wrong := a.awaitServed(ctx, t.cfg, old); len(wrong) > 0 {
		return errors.Join(append(failed, errors.New(strings.Join(wrong, "; ")))...)
	}
	return tidy(layout(t.cfg), old, services)
}

// allRunning says whether every one of the services runs.
func allRunning(ctx context.Context, t *target, services []string) (bool, error) {
	for _, service := range services {
		c, err := t.engine.Container(ctx, stack.ContainerName(t.cfg.Name, service))
		if errors.Is(err, stack.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if c.State != "running" {
			return false, nil
		}
	}
	return true, nil
}
