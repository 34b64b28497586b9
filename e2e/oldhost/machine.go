package oldhost

import (
	"fmt"
	"os"
	"path/filepath"
)

// ThisMachine is an sshd that lets root into this very machine, its files,
// programs and engine, for migrations from one mailstack to another. It runs in
// a container, so that none has to be installed here; what is asked of it runs
// where the test's process does. Of Options only Name and Dir count.
func ThisMachine(t T, opts Options) SSH {
	t.Helper()
	opts = opts.withDefaults()
	makeDir(t, opts.Dir)
	files := filepath.Join(opts.Dir, "setup")
	root := filepath.Join(files, "root")
	s := sshKeys(t, opts.Dir, root, "root")
	writeFile(t, filepath.Join(root, "etc/ssh/sshd_config.d/machine.conf"), fmt.Appendf(nil,
		"ForceCommand exec nsenter --target %d --mount --uts --ipc --net --root --wdns=/root -- /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
		os.Getpid()), 0o644)
	c := container{opts.Name, []string{
		"--pid", "host", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE", "--cap-add", "SYS_CHROOT",
		"--security-opt", "apparmor=unconfined", "--security-opt", "seccomp=unconfined", "--env", "OLDHOST_SERVICES=",
		"--volume", files + ":/oldhost:ro", "--publish", "127.0.0.1::22", image(t),
	}}
	c.run(t)
	s.listening(t, c.published(t)[22])
	return s
}
