package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/oldhost"
)

// TestReadmeCommands runs the commands of README.md in their order, as they are
// written, on a stack that their own init makes. Paths of the system have
// stand-ins in a directory; which commands are run otherwise is said in steps.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	shared(t) // makes the images
	g := newGuide(t)
	old := oldHost(t, oldhost.Options{Kind: oldhost.ISPmail, Spool: oldhost.Spool{Seed: 1, Messages: 8}})
	steps := g.steps(old)
	follow(t, "README.md", steps, func(line string) bool { return strings.HasPrefix(line, "mailstack ") }, g.run)
}

// guide is a stack that README.md makes and takes down.
type guide struct {
	*Stack
	paths   *strings.Replacer // paths of the system -> their stand-ins
	subject string            // of a message in the backup
}

func newGuide(t *testing.T) *guide {
	t.Helper()
	s := newStack(t, "")
	if err := os.Remove(s.config()); err != nil { // init is to write it
		t.Fatal(err)
	}
	for _, dir := range []string{"program", "system/usr/sbin", "system/etc/ssl/certs", "system/usr/local/share/ca-certificates"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tool := filepath.Join(s.dir, "system/usr/sbin/update-ca-certificates")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &guide{Stack: s, paths: strings.NewReplacer(
		" bin/mailstack", " "+os.Getenv(binaryVar),
		"/usr/local/bin/mailstack", filepath.Join(s.dir, "program/mailstack"),
		"/etc/mailstack", s.config(),
		"/var/lib/mailstack", s.data(),
		"/srv/mailstack", filepath.Join(s.dir, "web"),
	)}
}

// run runs a command as a shell does, in the stack's directory.
func (g *guide) run(t *testing.T, line string) result {
	t.Helper()
	if strings.HasPrefix(line, "mailstack up") {
		upSlots <- struct{}{}
		defer func() { <-upSlots }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	return program(ctx, nil, "sh", "-c", `cd "$1" && PATH="$1/program:$PATH" && `+g.paths.Replace(line), "sh", g.dir)
}

func (g *guide) steps(old *oldhost.Host) map[string]step {
	system := " --root system"
	ssh := " --ssh-config " + old.SSH.Config
	imap := " --imap-from imaps://" + old.IMAPS + " --tls-name " + old.Hostname + " --ca-file " + old.CAFile
	return map[string]step{
		// They would run this test and take the standard ports.
		"make up":            {skip: true, before: recipe("up", `(?m)^bin/mailstack up$`)},
		"make test":          {skip: true, before: recipe("test", `go test .* \./e2e\n$`)},
		"bin/mailstack down": {skip: true}, // somebody's demonstration
		"install -m 755 bin/mailstack /usr/local/bin/mailstack": {},

		"mailstack init --hostname mail.example.org --postmaster me@example.org": {
			add:   " --output mailstack.toml --address 127.0.0.1 --address ::1 --name " + g.name + " --dir " + g.data(),
			after: g.freePorts,
		},
		"mailstack cert trust":          {add: system},
		"mailstack cert trust --remove": {add: system},
		"mailstack systemd --install":   {add: system},
		"mailstack systemd --remove":    {add: system},

		"mailstack probe --changes": {add: " --state changes.json"},
		"mailstack probe --target mail.example.org --user alice@example.org --password-stdin < alice.password": {
			before: g.knowAlice,
			add:    " --target 127.0.0.1 --server-name mail.example.org --ca mailstack-ca.pem --ports " + g.targetPorts(),
		},

		// It makes the images anew under the feet of the other tests' stacks.
		"mailstack up --refresh": {skip: true},

		"tar --numeric-owner -czf mailstack-backup.tar.gz /etc/mailstack /var/lib/mailstack": {},
		"mailstack down": {before: g.deliverToAlice},
		"tar --numeric-owner -xzf mailstack-backup.tar.gz -C /": {before: g.lose, after: g.checkRestored},

		// Who reads this from above has an alice already, as the old server does:
		// her mail would stay there, which a migration says and fails for.
		"mailstack migrate --rsync-from root@old.example.org --dry-run": {
			before: func(t *testing.T) {
				g.mustRun(t, "alias", "remove", "info@example.org", "alice@example.org")
				g.mustRun(t, "account", "remove", "alice@example.org", "--yes")
			},
			add: ssh,
		},
		"mailstack migrate --rsync-from root@old.example.org": {add: ssh},
		`mailstack migrate --rsync-from root@old.example.org --final --freeze-command "service postfix stop; service dovecot stop"`: {
			add: ssh,
		},
		"mailstack migrate --imap-from imaps://old.example.org --users users.csv": {
			before: func(t *testing.T) { g.writeUsers(t, old) }, add: imap,
		},
		"mailstack migrate --imap-from imaps://old.example.org --users users.csv --final": {add: imap},

		"mailstack down --purge": {add: " --yes", after: g.checkGone},
		// Other stacks use them.
		"docker image rm $(docker image ls --format '{{.Repository}}:{{.Tag}}' 'mailstack/*')": {skip: true, before: func(t *testing.T) {
			if docker(t, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "mailstack/*") == "" {
				t.Error("docker image ls 'mailstack/*' lists no image")
			}
		}},
		"rm -r /etc/mailstack /usr/local/bin/mailstack": {},
	}
}

// recipe looks for what make would do.
func recipe(target, pattern string) func(*testing.T) {
	return func(t *testing.T) {
		out, err := exec.Command("make", "-C", "..", "--no-print-directory", "-n", target).CombinedOutput()
		if err != nil || !regexp.MustCompile(pattern).Match(out) {
			t.Errorf("make -n %s: %v: %s", target, err, out)
		}
	}
}

// freePorts gives the file that init wrote the ports of this stack.
func (g *guide) freePorts(t *testing.T) {
	data, err := os.ReadFile(g.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range listeners {
		data = regexp.MustCompile(`(?m)^#`+key+` = \d+`).ReplaceAll(data, fmt.Appendf(nil, "%s = %d", key, g.port(key)))
	}
	if err := os.WriteFile(g.config(), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// knowAlice puts a password of hers where the next command reads it.
func (g *guide) knowAlice(t *testing.T) {
	const password = "a password of hers"
	if r := g.runInput(t, password+"\n", "account", "passwd", "alice@example.org", "--password-stdin"); r.code != 0 {
		t.Fatal(r)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "alice.password"), []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeUsers writes who comes along by IMAP. The old server was stopped for the
// last copy by rsync.
func (g *guide) writeUsers(t *testing.T, old *oldhost.Host) {
	old.Exec(t, "sh", "-c", old.Thaw)
	bob := old.Account("bob@example.org")
	line := fmt.Sprintf("%s,%q,bob.by.imap@example.org\n", bob.Address, bob.Password)
	if err := os.WriteFile(filepath.Join(g.dir, "users.csv"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
}

// deliverToAlice puts into the stack what the backup has to bring back.
func (g *guide) deliverToAlice(t *testing.T) {
	g.subject = g.deliver(t, "somebody@elsewhere.example", "info@example.org")
	g.waitForAlice(t)
}

// lose is the disaster that the backup is for.
func (g *guide) lose(t *testing.T) {
	g.mustRun(t, "down")
	for _, path := range []string{g.data(), g.config()} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *guide) checkRestored(t *testing.T) {
	g.up(t, "--no-probe")
	g.waitForAlice(t)
}

// waitForAlice fetches alice's mail by POP3 until the message is there.
func (g *guide) waitForAlice(t *testing.T) {
	t.Helper()
	settings := g.tls(t)
	settings.ServerName = "mail.example.org"
	waitUntil(t, 30*time.Second, "mail of alice", func() (bool, string) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		conn, err := (&tls.Dialer{Config: settings}).DialContext(ctx, "tcp", g.addr("pop3s"))
		if err != nil {
			return false, err.Error()
		}
		defer conn.Close()
		_, err = fmt.Fprint(conn, "USER alice@example.org\r\nPASS a password of hers\r\nTOP 1 0\r\nQUIT\r\n")
		if err != nil {
			return false, err.Error()
		}
		answer := new(strings.Builder)
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return false, err.Error()
		}
		for buffer := make([]byte, 4096); err == nil; {
			var n int
			n, err = conn.Read(buffer)
			answer.Write(buffer[:n])
		}
		return strings.Contains(answer.String(), "Subject: "+g.subject), answer.String()
	})
}

func (g *guide) checkGone(t *testing.T) {
	if _, err := os.Stat(g.data()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("down --purge left %s (%v)", g.data(), err)
	}
	if left := docker(t, "ps", "-a", "-q", "--filter", "label=mailstack.stack="+g.name); left != "" {
		t.Errorf("down --purge left containers: %s", left)
	}
}
