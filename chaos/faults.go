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

// ground is what a stack has to be like for a fault.
type ground string

// Grounds. A fault that does not care is run on disks.
const (
	disks     ground = ""          // three volumes on disks of their own
	oneDisk   ground = "one disk"  // all volumes on one, which goes away and comes back
	ownEngine ground = "an engine" // like disks, on an engine of its own
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
	on    ground
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
	// works waits until all works, and judges how long that takes, for a fault that
	// goes on then. No two of a round have the same name.
	works func(ctx context.Context, name string) error
}

// none is the end of what has ended by itself.
func none(context.Context) error { return nil }

// all is what a fault takes hold of that leaves nothing for another.
var all = append([]string{"queue", "vmail", "certificate", "accounts"}, services...)

// faults are all there are, in the order in which they are run alone.
func faults() []fault {
	var found []fault
	for _, service := range services {
		found = append(found, faultsOf(service)...)
	}
	found = append(found,
		fault{name: "hang-mysql", about: "SIGSTOP of its process, SIGCONT", touches: []string{"mysql"}, start: hung("mysql")},
		fault{name: "kill-all", about: "docker kill of all at once, docker start in any order", touches: services, doubles: true, start: killed("kill", services...)},
		fault{name: "stop-all", about: "docker stop of all, docker start in any order", touches: services, doubles: true, start: killed("stop", services...)},
		fault{name: "crash-all", about: "SIGKILL of all first processes at once", touches: services, doubles: true, brief: true, start: crashed(services...)},
	)
	for _, order := range restartOrders(services) {
		found = append(found, fault{
			name: "restart-" + initials(order), about: "docker restart of " + strings.Join(order, ", "),
			touches: services, doubles: true, brief: true, start: restarted(order),
		})
	}
	found = append(found, fault{
		name: "order-any", about: "docker stop of all, docker start at once in one of all orders", touches: all, doubles: true, brief: true, start: startedInAnyOrder,
	})
	for _, volume := range []string{"mysql", "queue", "vmail"} {
		found = append(found, fault{name: "full-" + volume, about: "no free block on its disk", touches: []string{volume}, byHand: true, start: filled(volume, takeBlocks)})
	}
	for _, volume := range []string{"queue", "vmail"} {
		found = append(found, fault{name: "inodes-" + volume, about: "no free inode on its disk", touches: []string{volume}, byHand: true, start: filled(volume, takeInodes)})
	}
	for _, service := range callers {
		found = append(found, fault{name: "network-" + service, about: "docker network disconnect, connect", touches: []string{service}, start: disconnected(service)})
	}
	found = append(found, changes()...)
	found = append(found, fault{
		name: "power-cut", about: "the disk of all volumes stops in the middle; all start again on what it kept",
		touches: all, doubles: true, brief: true, on: oneDisk, start: powerCut,
	})
	return append(found, engineFaults()...)
}

// delivers are the services that take part in a delivery. The filter has had its say
// before a message is taken.
var delivers = []string{"dovecot", "postfix"}

// faultsOf are those of each service.
func faultsOf(service string) []fault {
	list := []fault{
		{name: "kill", about: "docker kill, docker start", start: killed("kill", service)},
		{name: "stop", about: "docker stop, docker start", start: killed("stop", service)},
		{name: "crash", about: "SIGKILL of its first process; the engine starts it again", brief: true, start: crashed(service)},
		{name: "freeze", about: "docker pause, docker unpause", start: frozen(service)},
		{name: "socket", about: "its socket directory emptied, docker restart", start: unsocketed(service)},
		{name: "memory", about: "a process that takes all the container's memory", brief: true, start: memoryEaten(service)},
	}
	for i := range list {
		one := &list[i]
		one.name += "-" + service
		one.touches, one.doubles = []string{service}, slices.Contains(delivers, service)
	}
	return list
}

// killed ends containers as how says, and starts them in a random order.
func killed(how string, services ...string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		names := s.containers(services...)
		_, err := s.Docker(ctx, append([]string{how}, names...)...)
		return func(ctx context.Context) error {
			s.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			_, err := s.Docker(ctx, append([]string{"start"}, names...)...)
			return err
		}, err
	}
}

// crashed kills the containers' first processes, which the engine mends.
func crashed(services ...string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		out, err := s.Docker(ctx, append([]string{"inspect", "--format", "{{.State.Pid}}"}, s.containers(services...)...)...)
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
		_, err := s.Docker(ctx, "pause", s.Container(service))
		return func(ctx context.Context) error {
			_, err := s.Docker(ctx, "unpause", s.Container(service))
			return err
		}, err
	}
}

// hung stops the first process where it is; the container goes on running.
func hung(service string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		_, err := s.Docker(ctx, "kill", "--signal", "STOP", s.Container(service))
		return func(ctx context.Context) error {
			_, err := s.Docker(ctx, "kill", "--signal", "CONT", s.Container(service))
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
			_, err := s.Docker(ctx, "restart", s.Container(service))
			return err
		}, err
	}
}

// memoryEaten makes a process take more memory than the container has: tail
// keeps a line to its end, and this one has none. The kernel ends the largest
// process, which is to be that one.
func memoryEaten(service string) func(context.Context, *scene) (endFunc, error) {
	return func(ctx context.Context, s *scene) (endFunc, error) {
		_, err := s.Docker(ctx, "exec", s.Container(service), "sh", "-c", "head -c 3G /dev/zero | tail >/dev/null")
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
		_, err := s.Docker(ctx, "network", "disconnect", name, name)
		return func(ctx context.Context) error {
			_, err := s.Docker(ctx, "network", "connect", name, name)
			return err
		}, err
	}
}

// pairs are all pairs of faults that have nothing in common and a ground that
// suits both.
func pairs(all []fault) [][]fault {
	var found [][]fault
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.on != disks && b.on != disks && a.on != b.on {
				continue
			}
			if !slices.ContainsFunc(a.touches, func(what string) bool { return slices.Contains(b.touches, what) }) {
				found = append(found, []fault{a, b})
			}
		}
	}
	return found
}

// groundOf is what a round needs.
func groundOf(turn []fault) ground {
	for _, f := range turn {
		if f.on != disks {
			return f.on
		}
	}
	return disks
}

// holdFor is how long a fault lasts.
func holdFor(rng *rand.Rand) time.Duration {
	return 2*time.Second + time.Duration(rng.IntN(8000))*time.Millisecond
}
