package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailstack/bench/load"

	"mailstack/e2e/lab"
)

// bareFiles are the daemons' configurations, by hand.
//
//go:embed bare
var bareFiles embed.FS

// bareStart is how each daemon is started in its image.
var bareStart = map[string][]string{
	"dovecot": {"/usr/sbin/dovecot", "-F", "-c", "/bare/conf/dovecot.conf"},
	"postfix": {"/bin/sh", "-ec", "mkdir -p /run/postfix; chown postfix: /run/postfix; exec /usr/sbin/postfix -c /bare/conf start-fg"},
}

// barePorts are what the daemons listen on.
var barePorts = map[string]map[string]int{
	"dovecot": {"imaps": 993, "pop3s": 995},
	"postfix": {"smtp": 25, "submissions": 465},
}

// bareTarget starts Dovecot and Postfix from the stack's images with its
// certificate, the same users in files, and no mailstack: once.
func (s *stack) bareTarget(ctx context.Context) (*target, error) {
	if s.bare != nil {
		return s.bare, nil
	}
	t, err := s.makeBare(ctx)
	if err != nil {
		return nil, err
	}
	s.bare = t
	return t, s.startBare(ctx, t)
}

func (s *stack) bareDir(parts ...string) string {
	return filepath.Join(append([]string{s.Dir, "bare"}, parts...)...)
}

func (s *stack) bareName(service string) string { return s.Name + "-bare-" + service }

// makeBare writes what the daemons read.
func (s *stack) makeBare(ctx context.Context) (*target, error) {
	config, err := s.tls(ctx)
	if err != nil {
		return nil, err
	}
	t := &target{
		name: "bare", about: "Dovecot and Postfix by hand, users in a file, the same hash",
		Server: load.Server{TLS: config, Ports: map[string]int{}},
		domain: s.Hostname, password: s.password, mail: s.bareDir("vmail"),
		containers: []string{s.bareName("dovecot"), s.bareName("postfix")},
	}
	for _, dir := range []string{"conf", "tls", "socket", "queue", "vmail"} {
		err = errors.Join(err, os.MkdirAll(s.bareDir(dir), 0o755))
	}
	// Its owner is the same in every image.
	store, errStat := ownerOf(s.layout().Content("vmail"))
	if err := errors.Join(err, errStat); err != nil {
		return nil, err
	}
	if err := os.Chown(s.bareDir("vmail"), store.uid, store.gid); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(filepath.Join(s.layout().RunDir("dovecot", "tls"), "server.pem"))
	if err != nil {
		return nil, err
	}
	return t, errors.Join(os.WriteFile(s.bareDir("tls", "server.pem"), pem, 0o600), s.writeBareUsers(t), s.writeBareConfig())
}

func (s *stack) writeBareConfig() error {
	files, err := fs.Sub(bareFiles, "bare")
	if err != nil {
		return err
	}
	names, err := fs.Glob(files, "*")
	if err != nil {
		return err
	}
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(data), "HOSTNAME", s.Hostname)
		if err := os.WriteFile(s.bareDir("conf", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// cheap is the bare daemons with a password that costs nothing to verify: what
// is left of a login without its hash.
func cheap(bare *target) *target {
	t := *bare
	t.name, t.about = "bare, no hash", "the same, with passwords in clear"
	t.names = "c"
	return &t
}

func (s *stack) writeBareUsers(t *target) error {
	hash, err := strongHash(t.password)
	if err != nil {
		return err
	}
	clear := cheap(t)
	var users, mailboxes strings.Builder
	for i := range people {
		fmt.Fprintf(&users, "%s:%s::::::\n%s:{PLAIN}%s::::::\n", t.user(i), hash, clear.user(i), t.password)
		fmt.Fprintf(&mailboxes, "%s x\n", t.user(i))
	}
	return errors.Join(
		os.WriteFile(s.bareDir("conf", "users"), []byte(users.String()), 0o644),
		os.WriteFile(s.bareDir("conf", "mailboxes"), []byte(mailboxes.String()), 0o644),
	)
}

// startBare starts the daemons and waits until a user can log in and mail is
// taken.
func (s *stack) startBare(ctx context.Context, t *target) error {
	for service, start := range bareStart {
		if err := s.runBare(ctx, t, service, start); err != nil {
			return err
		}
	}
	return t.await(ctx)
}

// await waits until a user can log in and mail is taken.
func (t *target) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := t.logIn(ctx, "imaps", 0)
		if err == nil {
			err = greets(ctx, t)
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			err = fmt.Errorf("wait for %s: %w", t.name, err)
			for _, name := range t.containers {
				logs, _ := lab.Docker(context.WithoutCancel(ctx), "logs", "--tail", "20", name)
				err = fmt.Errorf("%w\n%s", err, logs)
			}
			return err
		}
	}
}

// greets says whether port 25 takes a session.
func greets(ctx context.Context, t *target) error {
	session, err := t.Inbound(ctx)
	if err != nil {
		return err
	}
	return session.Leave()
}

func (s *stack) runBare(ctx context.Context, t *target, service string, start []string) error {
	image, err := lab.Docker(ctx, "inspect", "--format", "{{.Image}}", s.Container(service))
	if err != nil {
		return err
	}
	args := []string{
		"run", "-d", "--name", s.bareName(service), "--label", "mailstack.stack=" + s.Name + "-bare",
		"--ulimit", "nofile=16384:16384", "--log-opt", "max-size=10m", "--log-opt", "max-file=3",
		"--tmpfs", "/run:mode=755", "--tmpfs", "/tmp", // what a host has in memory
		"-v", s.bareDir("conf") + ":/bare/conf:ro", "-v", s.bareDir("tls") + ":/bare/tls:ro", "-v", s.bareDir("socket") + ":/bare/socket",
	}
	if service == "dovecot" {
		args = append(args, "-v", s.bareDir("vmail")+":/var/vmail")
	} else {
		args = append(args, "-v", s.bareDir("queue")+":/var/spool/postfix")
	}
	for listener, inside := range barePorts[service] {
		if t.Ports[listener] == 0 {
			if t.Ports[listener], err = lab.FreePort(); err != nil {
				return err
			}
		}
		args = append(args, "-p", fmt.Sprintf("127.0.0.1:%d:%d", t.Ports[listener], inside))
	}
	_, err = lab.Docker(ctx, append(append(args, image), start...)...)
	return err
}

// removeBare ends the daemons; what they wrote goes with the stack's directory.
func (s *stack) removeBare(ctx context.Context) error {
	ids, err := lab.Docker(ctx, "ps", "-a", "-q", "--filter", "label=mailstack.stack="+s.Name+"-bare")
	if err != nil || ids == "" {
		return err
	}
	_, err = lab.Docker(ctx, append([]string{"rm", "-f", "-v"}, strings.Fields(ids)...)...)
	return err
}
