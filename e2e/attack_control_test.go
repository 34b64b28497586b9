package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// uncontrolled are the attacks on the kernel that are not tried with more rights,
// and why.
var uncontrolled = map[string]string{
	"load module":   "it is the host's kernel",
	"unload module": "it is the host's kernel",
	"load kernel":   "a kernel that the host keeps for a crash would be gone",
	"reboot":        "it is the host",
	"clock":         "it is the host's",

	"any file of /sys":   "a driver may do something when its file is opened",
	"magic keys":         "it is the host's keyboard",
	"interrupts":         "they are the host's",
	"open memory":        "a host may have no such device",
	"open kernel memory": "a host may have no such file",
	"open disks":         "a host may have none of these names",
	"open kernel log":    "a host may have no such device",
	"release agent":      "only the first control group of a host has one",
	"devices list":       "only version 1 of control groups has one",
	"memory limit":       "a container's control groups are read-only, whatever it may",
	"more files":         "the engine may not allow more either",
}

// moreRights are what it takes for the others, and no more: nothing that could end
// the host or change its clock.
var moreRights = []string{
	"--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_CHROOT", "--cap-add", "DAC_READ_SEARCH",
	"--cap-add", "MKNOD", "--cap-add", "SYSLOG", "--cap-add", "SYS_NICE", "--cap-add", "SYS_PTRACE", "--cap-add", "SYS_PACCT",
	"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
}

// TestKernelAttacksWorkElsewhere: what is tried in the containers of the services is
// refused for what they may not, and not because it is put wrong: a container with
// more rights is answered otherwise, if only that an argument makes no sense.
func TestKernelAttacksWorkElsewhere(t *testing.T) {
	t.Parallel()
	s := shared(t)
	const service = "elsewhere"
	t.Cleanup(func() { program(context.Background(), nil, "docker", "rm", "-f", s.container(service)) })
	docker(t, slices.Concat([]string{"run", "-d", "--rm", "--name", s.container(service), "--network", "none"}, moreRights, []string{
		"-v", "/var/run/docker.sock:/run/docker.sock:ro", "--entrypoint", "sleep", inspect(t, s.container("postfix")).Image, "600",
	})...)
	// Each has a process and a file system of its own, which end with it.
	alone := systemCall(unix.SYS_UNSHARE, fmt.Sprint(unix.CLONE_NEWNS)) + ` or die "$!"; $! = 0; `
	tried := 0
	for _, a := range kernelAttacks() {
		if _, ok := uncontrolled[a.name]; ok {
			continue
		}
		tried++
		t.Run(a.name, func(t *testing.T) {
			a.perl = alone + a.perl
			if answer := s.try(t, service, "0", []attack{a})[0]; slices.Contains(a.refused, answer) {
				t.Errorf("answered %s, as in the containers that may not", answer)
			}
		})
	}
	if all := len(kernelAttacks()); tried != all-len(uncontrolled) {
		t.Errorf("%d of %d attacks are tried, and %d are to be left out", tried, all, len(uncontrolled))
	}
}
