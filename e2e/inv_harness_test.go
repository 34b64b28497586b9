package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailstack/config"
	"mailstack/e2e/lab"
	"mailstack/stack"
)

// services of a stack whose configuration leaves none out, in the order in which
// they start.
var services = lab.Services(config.Default())

// containers are the names of the stack's containers.
func (s *Stack) containers(t *testing.T) (names []string) {
	t.Helper()
	cfg, err := config.Load(s.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range lab.Services(*cfg) {
		names = append(names, s.container(service))
	}
	return names
}

// layout says where the stack keeps what.
func (s *Stack) layout() stack.Layout { return stack.Layout{Dir: s.data()} }

// secret is the value of one of the stack's secrets.
func (s *Stack) secret(t *testing.T, name string) string {
	t.Helper()
	secret, err := stack.ReadSecret(s.layout(), name)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

// refuse runs mailstack for what must fail: with the code, with all of the
// words on standard error, and without a change of any container.
func (s *Stack) refuse(t *testing.T, code int, words []string, args ...string) result {
	t.Helper()
	r := s.run(t, args...)
	r.expectRefusal(t, code, words...)
	return r
}

func (r result) expectRefusal(t *testing.T, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("not refused with status %d: %v", code, r)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("the refusal does not say %q: %v", word, r)
		}
	}
	if lines := strings.Count(r.stderr, "\n"); lines > 4 {
		t.Errorf("the refusal takes %d lines: %v", lines, r)
	}
}

// tryDocker runs the engine's own client for what may fail.
func tryDocker(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return program(ctx, nil, "docker", args...)
}

// probeReport is what `probe --format json` says, as far as tests read it.
type probeReport struct {
	Status string
	Checks []struct{ Name, Status, Reason string }
}

// red are the checks that are not ok, with their reasons.
func (r probeReport) red() map[string]string {
	red := map[string]string{}
	for _, c := range r.Checks {
		if c.Status != "ok" {
			red[c.Name] = c.Status + ": " + c.Reason
		}
	}
	return red
}

func (s *Stack) probe(t *testing.T, args ...string) probeReport {
	t.Helper()
	r := s.run(t, append([]string{"probe", "--format", "json", "--timeout", "30s"}, args...)...)
	var report probeReport
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Checks) == 0 {
		t.Fatalf("probe: %v: %v", err, r)
	}
	return report
}

// healed waits until the probe is green, without touching anything.
func (s *Stack) healed(t *testing.T, within time.Duration, after string) {
	t.Helper()
	waitUntil(t, within, "a green probe after "+after, func() (bool, string) {
		red := s.probe(t).red()
		return len(red) == 0, fmt.Sprint(red)
	})
}

// upGreen is an up whose proof has its time: right after a start, on processors
// that other tests use too, a login may take longer than the server waits.
func (s *Stack) upGreen(t *testing.T, args ...string) result {
	t.Helper()
	r := s.up(t, append(args, "--no-probe")...)
	s.healed(t, bounded, "up")
	return r
}

// ready waits until a service passes its own check, and says when it did.
func (s *Stack) ready(t *testing.T, service string) time.Time {
	t.Helper()
	waitUntil(t, time.Minute, service+" serves", func() (bool, string) {
		r := tryDocker(t, "exec", s.container(service), "/usr/local/bin/mailstack-health")
		return r.code == 0, r.stdout + r.stderr
	})
	return time.Now()
}

// inspected is what tests read of `docker inspect`; raw is all of it.
type inspected struct {
	ID     string `json:"Id"`
	Image  string
	Config struct {
		Image  string
		Env    []string
		Labels map[string]string
		User   string
	}
	State struct {
		Pid       int
		Status    string
		StartedAt time.Time
	}
	HostConfig struct {
		CapAdd, CapDrop, SecurityOpt  []string
		ReadonlyRootfs, Privileged    bool
		PidsLimit, Memory             int64
		NetworkMode, PidMode, IpcMode string
		Binds                         []string
		Tmpfs                         map[string]string
		RestartPolicy                 struct{ Name string }
		LogConfig                     struct {
			Type   string
			Config map[string]string
		}
	}
	Mounts []struct {
		Type, Source, Destination string
		RW                        bool
		Propagation               string
	}
	NetworkSettings struct{ Networks map[string]any }
	raw             map[string]json.RawMessage
}

func inspect(t *testing.T, container string) inspected {
	t.Helper()
	out := []byte(docker(t, "inspect", container))
	var all []inspected
	var raw []map[string]json.RawMessage
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 {
		t.Fatalf("docker inspect %s: %v: %s", container, err, out)
	}
	if err := json.Unmarshal(out, &raw); err != nil {
		t.Fatal(err)
	}
	all[0].raw = raw[0]
	return all[0]
}

// recreate replaces a container by hand with one that is the same but for what
// change does to its configuration, of which HostConfig is a part.
func (s *Stack) recreate(t *testing.T, service string, change func(config map[string]any)) {
	t.Helper()
	name := s.container(service)
	old := inspect(t, name)
	var config, host map[string]any
	for part, into := range map[string]*map[string]any{"Config": &config, "HostConfig": &host} {
		if err := json.Unmarshal(old.raw[part], into); err != nil {
			t.Fatal(err)
		}
	}
	config["HostConfig"] = host
	change(config)
	docker(t, "rm", "-f", name)
	engineCreate(t, name, config)
	docker(t, "start", name)
}

// engineCreate creates a container from the engine's own JSON, which the
// command line cannot take.
func engineCreate(t *testing.T, name string, config map[string]any) {
	t.Helper()
	body, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", "/var/run/docker.sock")
		},
	}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://engine/containers/create?name="+name, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(answer.Body)
		t.Fatalf("create %s: %s: %s", name, answer.Status, text)
	}
}

// processes are the host's numbers of the processes in a service's container.
func (s *Stack) processes(t *testing.T, service string) []int {
	t.Helper()
	var pids []int
	for i, line := range strings.Split(docker(t, "top", s.container(service), "-eo", "pid"), "\n") {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			pids = append(pids, pid)
		} else if i > 0 {
			t.Fatalf("docker top: %q", line)
		}
	}
	return pids
}

// tree lists a directory below the test's own, for failures.
func tree(dir string) string {
	var b strings.Builder
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.Count(strings.TrimPrefix(path, dir), "/") <= 2 {
			fmt.Fprintln(&b, path)
		}
		return nil
	})
	return b.String()
}

// programReading is program with a stream on standard input.
func programReading(t *testing.T, stdin io.Reader, name string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	r := result{stdout: string(out)}
	if err != nil {
		r.code, r.stderr = -1, err.Error()
	}
	return r
}

func sweepImage(tag string) error { return exec.Command("docker", "rmi", "-f", tag).Run() }
