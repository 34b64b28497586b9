package source

import (
	"os"
	"path/filepath"
	"testing"

	"mailstack/migrate/remote"
)

// newHost is an old server that is this machine, with programs of its own. The
// scripts really run.
func newHost(t *testing.T, programs map[string]string) *remote.Host {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	write := func(name, script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	// What this machine may have itself.
	for _, name := range []string{"docker", "podman", "doveconf", "dovecot", "doveadm", "postconf", "exim", "exim4", "mariadb-dump", "mysqldump"} {
		write(name, "exit 127")
	}
	for name, script := range programs {
		write(name, script)
	}
	ssh := filepath.Join(dir, "ssh")
	script := "#!/bin/sh\nfor last; do :; done\ncase \" $* \" in *' -N '*|*' -O exit '*) exit 0;; esac\nPATH=" + bin + ":$PATH exec sh -c \"$last\"\n"
	if err := os.WriteFile(ssh, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	host, err := remote.Connect(t.Context(), remote.Options{Target: "old.example.org", Program: ssh})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return host
}

// show is a program that prints a file.
func show(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	return "cat " + remote.Quote(path)
}
