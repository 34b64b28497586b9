package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/oldhost"
)

// TestMigrateStopped: an old host moves on which nothing runs any more but sshd;
// its accounts are read from what its database left, in order or not. Nothing of
// that stays here, and a directory that cannot be read is refused with a way out.
func TestMigrateStopped(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]oldhost.Options{
		"stopped": {Kind: oldhost.PostfixAdmin},
		"killed":  {Kind: oldhost.ISPmail, Sudo: true},
	} {
		t.Run(name, func(t *testing.T) {
			opts.Spool = oldhost.Spool{Seed: 1, Messages: 8}
			old, s := oldHost(t, opts), newSmallStack(t)
			s.up(t, "--no-probe")
			base := []string{"migrate", "--rsync-from", old.SSH.Alias, "--ssh-config", old.SSH.Config, "--allow-weak-hashes"}
			if opts.Sudo {
				base = append(base, "--sudo")
			}
			args := append(slices.Clip(base), "--mysql-datadir", old.DataDir)
			s.cannotMigrate(t, []string{"in use (by mariadbd)", "leave --mysql-datadir out"}, args...)

			want := old.AllMailboxes(t)
			old.Stop(t, name == "killed")
			s.cannotMigrate(t, []string{"name the data directory (--mysql-datadir)"}, base...)
			s.refuseDatadirs(t, old, base)
			s.endWhileReading(t, os.Interrupt, args)
			s.expectNoOldData(t)
			s.endWhileReading(t, os.Kill, args) // and the next run clears up
			dry := s.mustRun(t, append(args, "--dry-run")...)
			for _, a := range old.Accounts {
				if !strings.Contains(dry, a.Address) {
					t.Errorf("the dry run does not name %s:\n%s", a.Address, dry)
				}
			}
			s.expectNoOldData(t)
			s.lastCopy(t, old, want, append(args, "--freeze-command", "true")...)
			s.expectNoOldData(t)
		})
	}
}

// oldData are the directory and the container in which a stopped database is
// read.
func (s *Stack) oldData() (dir, container string) {
	return filepath.Join(s.data(), "migrate-mysql"), s.container("mysql-old")
}

func (s *Stack) expectNoOldData(t *testing.T) {
	t.Helper()
	dir, container := s.oldData()
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", dir, err)
	}
	if left := docker(t, "ps", "--all", "--quiet", "--filter", "name=^/"+container+"$"); left != "" {
		t.Errorf("container %s is there: %s", container, left)
	}
}

// endWhileReading ends a run as soon as its container is there.
func (s *Stack) endWhileReading(t *testing.T, how os.Signal, args []string) {
	t.Helper()
	dir, container := s.oldData()
	b := s.start(t, func(string) {}, append(args, "--dry-run")...)
	waitUntil(t, 2*time.Minute, "container "+container, func() (bool, string) {
		return docker(t, "ps", "--all", "--quiet", "--filter", "name=^/"+container+"$") != "", b.stderr.String()
	})
	if err := b.cmd.Process.Signal(how); err != nil {
		t.Fatal(err)
	}
	<-b.done
	switch _, err := os.Lstat(dir); {
	case how == os.Kill && err != nil:
		t.Fatalf("the killed run left nothing to clear: %v", err)
	case how == os.Interrupt && b.cmd.ProcessState.ExitCode() != 130:
		t.Errorf("the interrupted run ended with status %d: %s", b.cmd.ProcessState.ExitCode(), b.stderr)
	}
}

// refuseDatadirs: what our MariaDB cannot read is named, with what can, before
// and after it is copied.
func (s *Stack) refuseDatadirs(t *testing.T, old *oldhost.Host, base []string) {
	t.Helper()
	const dirs = "/var/tmp/datadirs"
	old.Exec(t, "sh", "-c", "mkdir -p "+dirs+`/mysql8 && cd `+dirs+` && touch mysql8/mysql.ibd
mkdir newer && touch newer/ibdata1 && printf 12.1.2-MariaDB >newer/mariadb_upgrade_info
cp -a /var/lib/mysql spoilt && rm spoilt/ib_logfile0 && head -c 65536 /dev/zero >spoilt/ibdata1`)
	for name, words := range map[string][]string{
		"mysql8": {"MySQL 8 or newer", "start that MySQL with it on the old server"},
		"newer":  {"MariaDB 12.1.2, newer than the 11.8 here", "start MariaDB 12.1 with it on the old server"},
		"spoilt": {"read the copy of " + dirs + "/spoilt: ", "start its own database server"},
		"absent": {"no such directory"},
	} {
		s.cannotMigrate(t, words, append(slices.Clip(base), "--mysql-datadir", dirs+"/"+name)...)
		s.expectNoOldData(t)
	}
}

// cannotMigrate looks at an old host, for what must be refused in these words.
func (s *Stack) cannotMigrate(t *testing.T, words []string, args ...string) {
	t.Helper()
	r := s.run(t, append(args, "--dry-run")...)
	for _, word := range words {
		if r.code != 1 || !strings.Contains(r.stderr, word) {
			t.Errorf("not refused with %q: %v", word, r)
		}
	}
}
