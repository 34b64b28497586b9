package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/cobra"

	"mailstack/config"
	"mailstack/probe"
)

// listenFlags say how the exporter serves.
type listenFlags struct {
	address   string
	webConfig string
	targets   string
	cache     time.Duration
}

func (f *listenFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.address, "listen", "", "serve Prometheus at `ADDRESS` (127.0.0.1:9725): /metrics, /probe?target=NAME, /healthz")
	flags.StringVar(&f.webConfig, "web-config", "", "`FILE` with TLS and basic authentication for --listen, as all Prometheus exporters take it")
	flags.StringVar(&f.targets, "targets", "", "`FILE` with the other servers that --listen may probe")
	flags.DurationVar(&f.cache, "cache", time.Minute, "`TIME` for which --listen answers with the same result")
}

func (f *listenFlags) check() error {
	if f.address == "" {
		if f.webConfig != "" || f.targets != "" {
			return errors.New("--web-config and --targets: only with --listen")
		}
		return nil
	}
	var errs []error
	if _, _, err := net.SplitHostPort(f.address); err != nil {
		errs = append(errs, fmt.Errorf("--listen %q: not an address with a port", f.address))
	}
	if f.cache < time.Second {
		errs = append(errs, fmt.Errorf("--cache %s: less than a second protects no server", f.cache))
	}
	if f.webConfig != "" {
		if err := web.Validate(f.webConfig); err != nil {
			errs = append(errs, fmt.Errorf("--web-config: %w", err))
		}
	}
	return errors.Join(errs...)
}

// remoteServer is a table of the file of --targets; its name is what
// /probe?target= takes.
type remoteServer struct {
	Host         string   `toml:"host"` // default: the name
	ServerName   string   `toml:"server_name"`
	User         string   `toml:"user"`
	Address      string   `toml:"address"`       // default: user
	PasswordFile string   `toml:"password_file"` // one line, for its owner's eyes only
	Ports        []string `toml:"ports"`         // as --ports
	CA           string   `toml:"ca"`
	Skip         []string `toml:"skip"`
	Warning      []string `toml:"warning"`  // as --warning, which comes first
	Critical     []string `toml:"critical"` // as --critical
}

// readTargets reads the file of --targets and reports all its problems.
func readTargets(path string) (map[string]remoteServer, error) {
	var all map[string]remoteServer
	meta, err := toml.DecodeFile(path, &all)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	var errs []error
	for _, key := range meta.Undecoded() {
		errs = append(errs, fmt.Errorf("read targets %s: unknown key %s", path, key))
	}
	for name, s := range all {
		if s.Host == "" {
			s.Host = name
			all[name] = s
		}
		if (s.User == "") != (s.PasswordFile == "") {
			errs = append(errs, fmt.Errorf("read targets %s: %s: user and password_file only together", path, name))
		}
		if err := (&remoteFlags{user: s.User, address: s.Address}).checkAddress(); err != nil {
			errs = append(errs, fmt.Errorf("read targets %s: %s: %w", path, name, err))
		}
		if _, err := (&remoteFlags{ports: s.Ports}).listeners(); err != nil {
			errs = append(errs, fmt.Errorf("read targets %s: %s: %w", path, name, err))
		}
		if err := probe.CheckNames(s.Skip); err != nil {
			errs = append(errs, fmt.Errorf("read targets %s: %s: skip: %w", path, name, err))
		}
		if _, err := parseLimits(slices.Concat(s.Warning, s.Critical)); err != nil {
			errs = append(errs, fmt.Errorf("read targets %s: %s: %w", path, name, err))
		}
	}
	return all, errors.Join(errs...)
}

// target is the server as the probe knows it. Its password is read anew each
// time: it may have been changed.
func (s remoteServer) target(ctx context.Context, a *app) (probe.Target, error) {
	return a.remoteTarget(ctx, remoteFlags{
		host: s.Host, name: s.ServerName, user: s.User, address: s.Address, passwordFile: s.PasswordFile, ports: s.Ports, ca: s.CA,
	})
}

// sources are what the exporter can probe: the configured stack if there is
// one, and the servers in the file.
func (a *app) sources(ctx context.Context, f probeFlags) (map[string]probe.Source, string, error) {
	all := make(map[string]probe.Source)
	var servers map[string]remoteServer
	if f.listen.targets != "" {
		var err error
		if servers, err = readTargets(f.listen.targets); err != nil {
			return nil, "", err
		}
	}
	for name, s := range servers {
		t, err := s.target(ctx, a)
		if err != nil {
			return nil, "", fmt.Errorf("target %s: %w", name, err)
		}
		t.Stack = name
		o := withStanding(f.options(), s.Warning, s.Critical)
		o.Skip = slices.Concat(o.Skip, s.Skip)
		all[name] = probe.Source{Pending: probe.Pending(t, o), Run: func(ctx context.Context) probe.Report {
			t, err := s.target(ctx, a)
			if err != nil {
				return probe.Stopped(name, "preparation", probe.KindNotRun, err.Error(), "").InsteadOf(probe.Pending(t, o))
			}
			t.Stack = name
			return probeRemote(ctx, t, s.Host, o, f.retries)
		}}
	}
	// Without a configuration file the stack would be the demonstration: nobody
	// who names other servers means that.
	if path, err := config.Find(a.configPath); err == nil && path == "" && len(servers) > 0 {
		return all, "", nil
	}
	cfg, err := a.config()
	if err != nil {
		return nil, "", err
	}
	if _, taken := all[cfg.Name]; taken {
		return nil, "", fmt.Errorf("target %s: the configured stack has this name", cfg.Name)
	}
	pending := probe.Report{Stack: cfg.Name, Status: probe.Unknown}
	if t, err := a.probeTarget(ctx); err == nil {
		pending = probe.Pending(t, f.options())
	}
	all[cfg.Name] = probe.Source{Pending: pending, Run: func(ctx context.Context) probe.Report {
		// The file is read anew: ports that are no longer published are no failure.
		now := &app{Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr, configPath: a.configPath}
		defer now.close()
		r, err := now.localReport(ctx, f)
		if err != nil {
			return probe.Stopped(cfg.Name, "preparation", probe.KindNotRun, err.Error(), "").InsteadOf(pending)
		}
		if r.Stack == "" { // not even the configuration could be read
			r.Stack = cfg.Name
			r = r.InsteadOf(pending)
		}
		return r
	}}
	return all, cfg.Name, nil
}

// serveProbe is the exporter, until ctx ends.
func (a *app) serveProbe(ctx context.Context, f probeFlags) error {
	sources, local, err := a.sources(ctx, f)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", f.listen.address)
	if err != nil {
		return fmt.Errorf("listen for Prometheus: %w", err)
	}
	exporter := probe.NewExporter(ctx, sources, local, version, f.listen.cache)
	server := &http.Server{Handler: exporter.Handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	fmt.Fprintf(a.Stderr, "mailstack: serving metrics of %s at %s\n", strings.Join(exporter.Targets(), ", "), listener.Addr())
	logger := slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	systemd := false
	err = web.Serve(listener, server, &web.FlagConfig{
		WebListenAddresses: &[]string{f.listen.address}, WebSystemdSocket: &systemd, WebConfigFile: &f.listen.webConfig,
	}, logger)
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve metrics: %w", err)
}
