package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fault is something that happens to the stack, and its end.
type fault struct {
	name  string
	about string
	// touches are what it takes hold of. Two that share something are no pair.
	touches []string
	// Mail whose delivery is in flight may be there twice afterwards: something
	// that takes part in the delivery is killed, or cut from its peer.
	doubles bool
	// The stack cannot be green before a hand has freed a disk.
	byHand bool
	// brief ones do not last: nothing is held.
	brief bool
	// power ones need all volumes on one disk, which goes away and comes back.
	power bool
	start func(ctx context.Context, s *scene) (end endFunc, err error)
}

// endFunc ends a fault.
type endFunc func(ctx context.Context) error

// scene is what a fault has to work with.
type scene struct {
	*arena
	rng *rand.Rand
	// alone says that no other fault is about: what fails then is a finding,
	// not a consequence.
	alone bool
}

// none is the end of what has ended by itself.
func none(context.Context) error { return nil }

// faults are all there are, in the order in which they are run alone.
func faults() []fault {
	var all []fault
	for _, service := range services {
		also := service != "mysql"
		all = append(all,
			fault{"kill-" + service, "docker kill, docker start", []string{service}, also, false, false, false, killed("kill", service)},
			fault{"stop-" + service, "docker stop, docker start", []string{service}, also, false, false, false, killed("stop", service)},
			fault{"crash-" + service, "SIGKILL of its first process; the engine starts it again", []string{service}, also, false, true, false, crashed(service)},
			fault{"freeze-" + service, "docker pause, docker unpause", []string{service}, also, false, false, false, frozen(service)},
			fault{"socket-" + service, "its socket directory emptied, docker restart", []string{service}, also, false, false, false, unsocketed(service)},
			fault{"memory-" + service, "a process that takes all the container's memory", []string{service}, also, false, true, false, memoryEaten(service)},
		)
	}
	all = append(all,
		fault{"kill-all", "docker kill of all at once, docker start in any order", services, true, false, false, false, killed("kill", services...)},
		fault{"stop-all", "docker stop of all, docker start in any order", services, true, false, false, false, killed("stop", services...)},
		fault{"crash-all", "SIGKILL of all first processes at once", services, true, false, true, false, crashed(services...)},
	)
	for _, order := range [][]string{
		{"mysql", "dovecot", "postfix"},
		{"mysql", "postfix", "dovecot"},
		{"dovecot", "mysql", "postfix"},
		{"dovecot", "postfix", "mysql"},
		{"postfix", "mysql", "dovecot"},
		{"postfix", "dovecot", "mysql"},
	} {
		initials := order[0][:1] + order[1][:1] + order[2][:1]
		all = append(all, fault{"restart-" + initials, "docker restart of " + strings.Join(order, ", "), services, true, false, true, false, restarted(order)})
	}
	for _, volume := range []string{"mysql", "queue", "vmail"} {
		all = append(all, fault{"full-" + volume, "no free block on its disk", []string{volume}, false, true, false, false, filled(volume, takeBlocks)})
	}
	for _, volume := range []string{"queue", "vmail"} {
		all = append(all, fault{"inodes-" + volume, "no free inode on its disk", []string{volume}, false, true, false, false, filled(volume, takeInodes)})
	}
	whole := append([]string{"queue", "vmail", "certificate", "accounts"}, services...)
	return append(all,
		fault{"power-cut", "the disk of all volumes stops in the middle; all start again on what it kept", whole, true, false, true, true, powerCut},
		fault{"network-postfix", "docker network disconnect, connect", []string{"postfix"}, false, false, false, false, disconnected("postfix")},
		fault{"up-changed", "mailstack up with another message size", services, true, false, true, false, upChanged},
		fault{"up-killed", "such an up, killed at a random moment, and up again", services, true, false, true, false, upKilled},
		fault{"renewal", "mailstack cert renew", []string{"certificate"}, false, false, true, false, renewed},
		fault{"accounts", "accounts and aliases made, changed and removed", []string{"accounts"}, false, false, false, false, accountsChanged},
	)
}

// killed ends containers as how says, and starts them in a random order.
func killed(how string, services ...string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		names := s.containers(services...)
		_, err := docker(ctx, append([]string{how}, names...)...)
		return func(ctx context.Context) error {
			s.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			_, err := docker(ctx, append([]string{"start"}, names...)...)
			return err
		}, err
	}
}

// crashed kills the containers' first processes, which the engine mends.
func crashed(services ...string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		out, err := docker(ctx, append([]string{"inspect", "--format", "{{.State.Pid}}"}, s.containers(services...)...)...)
		if err != nil {
			return none, err
		}
		var errs []error
		for _, field := range strings.Fields(out) {
			pid, err := strconv.Atoi(field)
			if err == nil && pid > 1 {
				err = syscall.Kill(pid, syscall.SIGKILL)
			}
			errs = append(errs, err)
		}
		return none, errors.Join(errs...)
	}
}

func frozen(service string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		_, err := docker(ctx, "pause", s.Container(service))
		return func(ctx context.Context) error {
			_, err := docker(ctx, "unpause", s.Container(service))
			return err
		}, err
	}
}

// unsocketed empties a service's socket directory. No server makes its socket
// again while it runs.
func unsocketed(service string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		sockets, err := filepath.Glob(filepath.Join(s.dataDir, "socket", service, "run", "*"))
		if len(sockets) == 0 {
			err = errors.Join(err, fmt.Errorf("no sockets of %s", service))
		}
		for _, socket := range sockets {
			err = errors.Join(err, os.Remove(socket))
		}
		return func(ctx context.Context) error {
			_, err := docker(ctx, "restart", s.Container(service))
			return err
		}, err
	}
}

// memoryEaten makes a process take more memory than the container has: tail
// keeps a line to its end, and this one has none. The kernel ends the largest
// process, which is to be that one.
func memoryEaten(service string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		_, err := docker(ctx, "exec", s.Container(service), "sh", "-c", "head -c 3G /dev/zero | tail >/dev/null")
		if err == nil {
			return none, errors.New("the container may take 3 GiB: it has no limit")
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 128+int(syscall.SIGKILL) {
			return none, nil
		}
		return none, err
	}
}

func restarted(order []string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		for _, service := range order {
			if _, err := docker(ctx, "restart", s.Container(service)); err != nil {
				return none, err
			}
		}
		return none, nil
	}
}

func filled(volume string, take func(string) error) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		free, err := s.disks[volume].fill(ctx, take)
		if err != nil {
			return none, err
		}
		return func(context.Context) error { return free() }, nil
	}
}

func disconnected(service string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		name := s.Container(service) // of the network too
		_, err := docker(ctx, "network", "disconnect", name, name)
		return func(ctx context.Context) error {
			_, err := docker(ctx, "network", "connect", name, name)
			return err
		}, err
	}
}

// pairs are all pairs of faults that have nothing in common.
func pairs(all []fault) [][]fault {
	var found [][]fault
	for i, a := range all {
		for _, b := range all[i+1:] {
			if !slices.ContainsFunc(a.touches, func(what string) bool { return slices.Contains(b.touches, what) }) {
				found = append(found, []fault{a, b})
			}
		}
	}
	return found
}

// holdFor is how long a fault lasts.
func holdFor(rng *rand.Rand) time.Duration {
	return 2*time.Second + time.Duration(rng.IntN(8000))*time.Millisecond
}
