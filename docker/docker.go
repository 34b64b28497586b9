// Package docker is the only code that talks to Docker. It implements
// stack.Engine with the Engine API, negotiated, from Docker Engine 20.10
// (API 1.41) to 29; https://docs.docker.com/reference/api/engine/.
//
// It knows containers, images and networks, and nothing of mail. What every
// container has in common (its hardening, its log rotation) is applied here,
// in one place: see createOptions.
//
// Out of scope: credentials for registries (pulls are anonymous), BuildKit
// (builds use the classic builder, which needs no session) and the contexts of
// the docker command line (DOCKER_HOST is what counts).
package docker

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"mailstack/stack"
)

var _ stack.Engine = (*Engine)(nil)

// Engine drives one container engine. Its methods may be called concurrently.
type Engine struct {
	client *client.Client

	// Fields rather than constants so that tests need not wait for them.
	firstWord time.Duration // how long a pull may say nothing at first
	nextWord  time.Duration // and between two messages
}

// Options says which engine to drive.
type Options struct {
	// Host is the engine's address, "unix:///var/run/docker.sock". Empty: the
	// one in DOCKER_HOST, or else the engine of this host.
	Host string
}

// connectTimeout bounds the first exchange with the engine. A local one answers
// within milliseconds; one that is just starting holds the request until it is
// ready, which takes seconds.
const connectTimeout = 10 * time.Second

// Connect reaches the engine and agrees on a version of its API. It reads
// DOCKER_HOST, DOCKER_CERT_PATH, DOCKER_TLS_VERIFY and DOCKER_API_VERSION as
// Docker's own programs do. The error is a *ConnectError unless ctx ended.
func Connect(ctx context.Context, opts Options) (*Engine, error) {
	host := hostOf(opts)
	if scheme, _, _ := strings.Cut(host, "://"); !slices.Contains([]string{"unix", "tcp", "http", "https"}, scheme) {
		return nil, &ConnectError{Host: host, Err: errScheme, hint: hintUnsetHost}
	}
	// Not client.FromEnv: its DOCKER_HOST would be parsed, and could fail,
	// although opts.Host overrides it.
	c, err := client.New(client.WithTLSClientConfigFromEnv(), client.WithHost(host), client.WithAPIVersionFromEnv())
	if err != nil {
		return nil, &ConnectError{Host: host, Err: err, hint: hintEnvironment}
	}
	pingCtx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := c.Ping(pingCtx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = c.Close()
		if ctx.Err() != nil {
			return nil, wrap("connect to the container engine", ctx.Err())
		}
		return nil, diagnose(ctx, host, err)
	}
	return &Engine{client: c, firstWord: 20 * time.Second, nextWord: time.Minute}, nil
}

// Close lets go of idle connections.
func (e *Engine) Close() error { return e.client.Close() }

// Info describes the engine.
func (e *Engine) Info(ctx context.Context) (stack.EngineInfo, error) {
	result, err := e.client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return stack.EngineInfo{}, e.fail("ask the engine about itself", err)
	}
	info := result.Info
	return stack.EngineInfo{
		Version:    info.ServerVersion,
		APIVersion: e.client.ClientVersion(),
		Host:       e.client.DaemonHost(),
		// Docker Desktop listens on a socket of this host, but its engine, and
		// with it every bind mount, is in a virtual machine.
		Local:    strings.HasPrefix(e.client.DaemonHost(), "unix://") && info.OperatingSystem != "Docker Desktop",
		Rootless: hasSecurityOption(info.SecurityOptions, "rootless"),
		UserNS:   hasSecurityOption(info.SecurityOptions, "userns"),
		Snap:     strings.HasPrefix(path.Clean(info.DockerRootDir)+"/", "/var/snap/"),
		OSType:   info.OSType,
		RootDir:  info.DockerRootDir,

		MemoryLimit: info.MemoryLimit,
		PidsLimit:   info.PidsLimit,
		Seccomp:     hasSecurityOption(info.SecurityOptions, "seccomp"),
	}, nil
}

// hasSecurityOption looks for a name in the engine's list, whose entries are
// "name=seccomp,profile=default" (since API 1.25).
func hasSecurityOption(options []string, name string) bool {
	for _, option := range options {
		if slices.Contains(strings.Split(option, ","), "name="+name) {
			return true
		}
	}
	return false
}
