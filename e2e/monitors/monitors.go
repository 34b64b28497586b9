// Package monitors runs programs that watch mail servers and know nothing of
// mailstack: the monitoring plugins, Nagios, Icinga 2, Prometheus with promtool
// and the blackbox exporter, and systemd, all from Debian's packages.
//
//	c, err := monitors.Start(ctx, monitors.Options{Name: "e2e-1a2b-prometheus", Command: []string{"prometheus", …}})
//	defer c.Stop()
//
// They run in containers of an image of their own, which is made where it is
// missing, on the base image that `mailstack up` has made or fetched. They use
// this machine's network, to reach a server that is published on loopback:
// what listens has to be told to do so on loopback. The image's name begins
// with mailstack-test/monitors and ends in a digest of what it is made of;
//
//	docker image rm $(docker image ls -q mailstack-test/monitors)
//
// removes it and its predecessors. Needs root and a Docker Engine.
package monitors

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"mailstack/config"
	"mailstack/stack"
)

//go:embed Dockerfile
var dockerfile []byte

const repository = "mailstack-test/monitors"

// Image returns the image's name, and makes it first where it is missing: a few
// minutes, and packages from the base's archive.
func Image(ctx context.Context) (string, error) { return BuildImage(ctx, repository, dockerfile) }

// BuildImage is Image for other programs: a Dockerfile without files, whose
// argument BASE is the base image.
func BuildImage(ctx context.Context, repository string, dockerfile []byte) (string, error) {
	base, id, err := findBase(ctx)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(id+"\n"), dockerfile...))
	ref := fmt.Sprintf("%s:%x", repository, sum[:10])
	if _, err := docker(ctx, nil, "image", "inspect", "--format", "{{.Id}}", ref); err == nil {
		return ref, nil
	}
	_, err = docker(ctx, dockerfile, "build", "-t", ref, "--label", "mailstack.test="+strings.TrimPrefix(repository, "mailstack-test/"), "--build-arg", "BASE="+base, "-")
	if err != nil {
		return "", fmt.Errorf("make image %s: %w", ref, err)
	}
	return ref, nil
}

// findBase finds what `mailstack up` builds on by default.
func findBase(ctx context.Context) (ref, id string, err error) {
	for _, ref := range []string{config.Default().Images.Base, stack.LocalBase} {
		if id, err = docker(ctx, nil, "image", "inspect", "--format", "{{.Id}}", ref); err == nil {
			return ref, id, nil
		}
	}
	return "", "", fmt.Errorf("find base image: there is none before the first `mailstack up`: %w", err)
}

// Options say what runs in a container.
type Options struct {
	// Name of the container and value of its label mailstack.stack, by which the
	// e2e harness finds what a run left behind.
	Name string
	// Image is another one than Image makes. "": that one.
	Image string
	// User of the image: "nagios", "prometheus". "": nobody.
	User string
	// Mounts are "SOURCE:PATH[:ro]". /tmp is there and writable.
	Mounts []string
	// Flags are further ones of docker run(1).
	Flags   []string
	Command []string
}

// Container is one that runs.
type Container struct {
	Name string
	root string // its file system, as this machine sees it
}

// Start starts a container without capabilities, with a file system of which
// only /tmp and its mounts can be written.
func Start(ctx context.Context, o Options) (*Container, error) {
	image := o.Image
	if image == "" {
		var err error
		if image, err = Image(ctx); err != nil {
			return nil, err
		}
	}
	if o.User == "" {
		o.User = "nobody"
	}
	args := []string{
		"run", "-d", "--name", o.Name, "--label", "mailstack.stack=" + o.Name, "--network", "host", "--user", o.User,
		"--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
	}
	for _, m := range o.Mounts {
		args = append(args, "-v", m)
	}
	args = append(append(args, o.Flags...), image)
	if _, err := docker(ctx, nil, append(args, o.Command...)...); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	c := &Container{Name: o.Name}
	pid, err := docker(ctx, nil, "inspect", "--format", "{{.State.Pid}}", o.Name)
	if err != nil || pid == "0" {
		return nil, errors.Join(fmt.Errorf("start %s: it has ended: %s", o.Name, c.Log(ctx)), err, c.Stop())
	}
	c.root = "/proc/" + pid + "/root"
	return c, nil
}

// Command is a program of the container's, as the user "nobody" of this
// machine's processes: what it takes is its own time, not the engine's. The
// path is absolute.
func (c *Container) Command(ctx context.Context, path string, args ...string) *exec.Cmd {
	const nobody = 65534
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: c.root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// ReadFile reads a file of the container's.
func (c *Container) ReadFile(path string) ([]byte, error) { return os.ReadFile(c.root + path) }

// Log is the end of what the container said.
func (c *Container) Log(ctx context.Context) string {
	out, _ := exec.CommandContext(ctx, "docker", "logs", "--tail", "60", c.Name).CombinedOutput()
	return string(out)
}

// Stop removes the container, whatever it is doing.
func (c *Container) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := docker(ctx, nil, "rm", "-f", "-v", c.Name)
	return err
}

// docker runs the engine's own client. The error has what it said.
func docker(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s%s", args[0], err, stderr.Bytes(), tail(stdout.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// tail is the end of a text: the reason of a build that fails.
func tail(s string) string {
	const most = 2000
	return s[max(0, len(s)-most):]
}
