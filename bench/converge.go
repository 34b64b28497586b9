package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"mailstack/e2e/lab"
)

// upSuite is a command that finds everything as it should be, beside Compose
// with an equal file: as many containers of the same images, with the same
// mounts, limits and networks. What runs in them there is sleep(1), as no two
// databases can have the same files.
func upSuite(ctx context.Context, s *stack, e effort) (_ []series, err error) {
	file := filepath.Join(s.Dir, "compose.json")
	project := s.Name + "-compose"
	compose := func(args ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := lab.Output(exec.CommandContext(ctx, "docker-compose", append([]string{"-p", project, "-f", file}, args...)...))
			if errors.Is(err, exec.ErrNotFound) {
				err = fmt.Errorf("%w: scripts/prepare test installs it", err)
			}
			return err
		}
	}
	if err := s.writeCompose(ctx, file); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, compose("down", "-v", "-t", "0")(context.WithoutCancel(ctx))) }()
	return interleave(ctx, max(e.rounds, e.pick(10, 1)), []contender{
		{"docker-compose up -d", "an equal file, nothing to do", timed(compose("up", "-d"))},
		{"mailstack up --no-probe", "nothing to do", timed(func(ctx context.Context) error {
			out, err := s.Run(ctx, nil, "up", "--no-probe")
			if err == nil && !strings.HasPrefix(out, "nothing to do") {
				err = fmt.Errorf("up had something to do: %s", out)
			}
			return err
		})},
	})
}

// inspected is what the file for Compose takes from a container.
type inspected struct {
	Image  string
	Config struct{ User string }
	Mounts []struct {
		Source, Destination string
	}
	HostConfig struct {
		CapAdd, CapDrop, SecurityOpt []string
		Tmpfs                        map[string]string
		PortBindings                 map[string][]struct{ HostPort string }
		NetworkMode                  string
		Memory, PidsLimit            int64
	}
}

// writeCompose writes the file in JSON, which YAML contains.
func (s *stack) writeCompose(ctx context.Context, file string) error {
	services := map[string]any{}
	networks := map[string]any{}
	for _, name := range s.services {
		out, err := lab.Docker(ctx, "inspect", s.Container(name))
		if err != nil {
			return err
		}
		var list []inspected
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		service, err := composeService(list[0])
		if err != nil {
			return err
		}
		if list[0].HostConfig.NetworkMode == "none" {
			service["network_mode"] = "none"
		} else {
			networks[name], service["networks"] = map[string]any{}, []string{name}
		}
		services[name] = service
	}
	data, err := json.Marshal(map[string]any{"version": "2.4", "services": services, "networks": networks})
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

func composeService(c inspected) (map[string]any, error) {
	var volumes, tmpfs, ports []string
	for _, m := range c.Mounts {
		volumes = append(volumes, m.Source+":"+m.Destination+":ro")
	}
	for path, options := range c.HostConfig.Tmpfs {
		tmpfs = append(tmpfs, path+":"+options)
	}
	for inside, bindings := range c.HostConfig.PortBindings {
		for range bindings {
			port, err := lab.FreePort()
			if err != nil {
				return nil, err
			}
			ports = append(ports, fmt.Sprintf("127.0.0.1:%d:%s", port, inside))
		}
	}
	return map[string]any{
		"image": c.Image, "user": c.Config.User, "command": []string{"sleep", "infinity"}, "read_only": true, "restart": "unless-stopped",
		"cap_add": list(c.HostConfig.CapAdd), "cap_drop": list(c.HostConfig.CapDrop), "security_opt": list(c.HostConfig.SecurityOpt),
		"volumes": list(volumes), "tmpfs": list(tmpfs), "ports": list(ports), "mem_limit": c.HostConfig.Memory, "pids_limit": c.HostConfig.PidsLimit,
		"ulimits": map[string]any{"nofile": 16384},
		"logging": map[string]any{"driver": "json-file", "options": map[string]string{"max-size": "10m", "max-file": "3"}},
	}, nil
}

// list makes [] of what is empty: Compose takes no null.
func list(entries []string) []string { return append([]string{}, entries...) }

// firstSuite is the way from nothing to a server: bare daemons to the first
// login, ours to the answer that all services are ready and to a green probe, step by step; once more
// with images to be built.
func firstSuite(ctx context.Context, s *stack, e effort) ([]series, error) {
	all := []contender{
		{"bare", "two containers, to the first login", func(ctx context.Context) ([]reading, error) { return s.bareFirst(ctx) }},
		{"mailstack", "up --no-probe, to every service ready", func(ctx context.Context) ([]reading, error) {
			return s.ourFirst(ctx, "", "--no-probe")
		}},
		{"mailstack up", "to a green probe", func(ctx context.Context) ([]reading, error) { return s.ourFirst(ctx, "") }},
	}
	list, err := interleave(ctx, e.rounds, all)
	if err != nil || e.quick {
		return list, err
	}
	build := contender{name: "mailstack up", about: "to a green probe, images built"}
	fmt.Fprintln(s.Progress, "bench: building images")
	readings, err := s.firstWithImages(ctx)
	return append(list, collect([]contender{build}, [][][]reading{{readings}})...), err
}

// bareFirst starts the bare daemons anew.
func (s *stack) bareFirst(ctx context.Context) ([]reading, error) {
	t, err := s.bareTarget(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.removeBare(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	err = s.startBare(ctx, t)
	return []reading{{"until it works", "s", time.Since(began).Seconds()}}, err
}

// ourFirst makes a stack from nothing, on a base image of its own if one is
// named, and removes it again.
func (s *stack) ourFirst(ctx context.Context, base string, flags ...string) (_ []reading, err error) {
	fresh, err := makeStack(ctx, s.Binary, s.Progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fresh.remove()) }()
	if base != "" {
		if err := fresh.Set("images.base", fmt.Sprintf("%q", base)); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	_, steps, err := lab.Outputs(fresh.Command(ctx, append([]string{"up"}, flags...)...))
	if err != nil {
		return nil, err
	}
	readings := []reading{{"until it works", "s", time.Since(began).Seconds()}}
	if len(flags) == 0 {
		readings = append(readings, fresh.steps(steps)...)
	}
	return readings, nil
}

// stepLine is a line of up's progress: "✓  3/25  make     secret admin  0.0 s".
var stepLine = regexp.MustCompile(`(?m)^✓ +\d+/\d+ +(\S+) +(.+?) +(\d+\.\d+) s$`)

// steps are up's own times, to a tenth of a second; shorter steps are left out.
func (s *stack) steps(stderr string) []reading {
	var list []reading
	for _, m := range stepLine.FindAllStringSubmatch(stderr, -1) {
		took, _ := strconv.ParseFloat(m[3], 64) // the pattern is a number's
		what := strings.NewReplacer(s.Data()+"/", "", s.Name+"-", "").Replace(m[2])
		what, _, _ = strings.Cut(what, ":") // the digest of an image
		if took > 0 {
			list = append(list, reading{"step " + m[1] + " " + what, "s", took})
		}
	}
	return list
}

// firstWithImages is ourFirst on a base image that no image was ever built on.
func (s *stack) firstWithImages(ctx context.Context) (_ []reading, err error) {
	base, err := lab.Docker(ctx, "image", "ls", "-q", "--filter", "reference=debian:trixie-slim", "--filter", "reference=mailstack/base:trixie")
	if err != nil {
		return nil, err
	}
	if base, _, _ = strings.Cut(base, "\n"); base == "" {
		return nil, errors.New("find the base image: there is neither debian:trixie-slim nor mailstack/base:trixie")
	}
	before, err := lab.Docker(ctx, "image", "ls", "-q", "--no-trunc")
	if err != nil {
		return nil, err
	}
	own := "mailstack-bench/" + s.Name + ":base"
	cmd := exec.CommandContext(ctx, "docker", "build", "-q", "-t", own, "-")
	cmd.Stdin = strings.NewReader("FROM " + base + "\nLABEL mailstack.bench=" + s.Name + "\n")
	if _, err := lab.Output(cmd); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, removeNewImages(context.WithoutCancel(ctx), s.Name, before)) }()
	readings, err := s.ourFirst(ctx, own)
	for i := range readings {
		readings[i].figure = "images built, " + readings[i].figure
	}
	return readings, err
}

// removeNewImages removes the images that were built on the base of this run.
func removeNewImages(ctx context.Context, run, before string) error {
	after, err := lab.Docker(ctx, "image", "ls", "-q", "--no-trunc", "--filter", "label=mailstack.bench="+run)
	if err != nil {
		return err
	}
	for id := range strings.FieldsSeq(after) {
		if strings.Contains(before, id) {
			continue
		}
		if _, err := lab.Docker(ctx, "image", "rm", "-f", id); err != nil {
			return err
		}
	}
	return nil
}
