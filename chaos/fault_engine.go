package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"mailstack/e2e/lab"
)

// engineFaults are about the engine, and so about everything that runs on it.
// Its containers come back as their restart policy says, when it does.
func engineFaults() []fault {
	found := []fault{
		{name: "engine-stop", about: "SIGTERM of dockerd, which stops all containers; dockerd", start: engineEnded(syscall.SIGTERM)},
		{name: "engine-restart", about: "the same, and dockerd at once", brief: true, start: engineEnded(syscall.SIGTERM)},
		{name: "engine-kill", about: "SIGKILL of dockerd, under which containers go on; dockerd", start: engineEnded(syscall.SIGKILL)},
		{name: "engine-runtime", about: "SIGKILL of containerd; containerd", start: runtimeKilled},
		{name: "engine-crash", about: "SIGKILL of dockerd, containerd and all that runs in containers; both", start: engineCrashed},
		{name: "engine-upgrade", about: "SIGTERM of dockerd with live-restore on; dockerd", start: engineUpgraded},
	}
	for i := range found {
		found[i].touches, found[i].doubles, found[i].on = services, true, ownEngine
	}
	return found
}

func engineEnded(sig syscall.Signal) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		err := s.Engine.Daemon.End(ctx, sig)
		return s.Engine.Daemon.Start, err
	}
}

func runtimeKilled(ctx context.Context, s *scene) (endFunc, error) {
	err := s.Engine.Runtime.End(ctx, syscall.SIGKILL)
	return func(ctx context.Context) error {
		if err := s.Engine.Runtime.Start(ctx); err != nil {
			return err
		}
		// dockerd tries to connect ever more seldom, and until then refuses what
		// needs the runtime.
		return lab.Eventually(ctx, time.Minute, "the engine reaches its runtime", func(ctx context.Context) error {
			_, err := s.Docker(ctx, "exec", s.Container("mysql"), "true")
			return err
		})
	}, err
}

func engineCrashed(ctx context.Context, s *scene) (endFunc, error) {
	err := s.Engine.Crash(ctx)
	return func(ctx context.Context) error {
		if err := s.Engine.Runtime.Start(ctx); err != nil {
			return err
		}
		return s.Engine.Daemon.Start(ctx)
	}, err
}

// engineUpgraded is what a new version of the engine's package does where
// live-restore is on: containers run on without their engine.
func engineUpgraded(ctx context.Context, s *scene) (endFunc, error) {
	if err := s.Engine.LiveRestore(ctx, true); err != nil {
		return none, err
	}
	err := s.Engine.Daemon.End(ctx, syscall.SIGTERM)
	return func(ctx context.Context) error {
		return errors.Join(s.Engine.Daemon.Start(ctx), s.Engine.LiveRestore(ctx, false))
	}, err
}
