package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/images"
	"mailstack/stack"
)

// The base image is made of Debian's packages where no registry has it: this
// makes it, imports it under a name of its own, and runs it.
func TestBaseIsMadeOfPackages(t *testing.T) {
	t.Parallel()
	rootfs, err := images.Bootstrap(t.Context(), images.BootstrapOptions{}, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	defer rootfs.Close()
	tag := "e2e-base:" + randomHex(4)
	t.Cleanup(func() { _ = sweepImage(tag) })
	r := programReading(t, rootfs, "docker", "import", "-", tag)
	if r.code != 0 {
		t.Fatalf("docker import: %v", r)
	}
	if err := rootfs.Close(); err != nil {
		t.Fatalf("bootstrap: %v", err)
	}
	out := docker(t, "run", "--rm", tag, "sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; perl -e 'print 6 * 7'; ls /usr/share/man | wc -l")
	if want := images.Suite + "\n42"; !strings.HasPrefix(out, want) {
		t.Errorf("the base says %q, want %q", out, want)
	}
	docker(t, "run", "--rm", tag, "apt-get", "update", "-qq")
}

// maintain does all its steps, and status shows that it did.
func TestMaintain(t *testing.T) {
	t.Parallel()
	s := shared(t)
	var status struct {
		Maintained  *time.Time
		ProbeStatus string `json:"probe_status"`
		Problems    []string
	}
	// It asks a package archive, which takes its time.
	r := program(t.Context(), nil, os.Getenv(binaryVar), "maintain", "--config", s.config())
	if r.code != 0 {
		t.Fatalf("maintain: %v", r)
	}
	out := r.stdout
	for _, step := range []string{"certificate", "accounts", "updates", "probe"} {
		if !strings.Contains(out, step) || strings.Contains(out, "✗") {
			t.Errorf("maintain says of %s:\n%s", step, out)
		}
	}
	if err := json.Unmarshal([]byte(s.mustRun(t, "status", "--format", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if status.Maintained == nil || time.Since(*status.Maintained) > time.Minute {
		t.Errorf("status shows that maintenance ran at %v", status.Maintained)
	}
	if text := s.mustRun(t, "status"); !strings.Contains(text, "maintenance  ") || strings.Contains(text, "never") {
		t.Errorf("status:\n%s", text)
	}
	if _, err := os.Stat("/run/mailstack/" + s.name + "/maintenance.json"); err != nil {
		t.Error(err)
	}
}

// The units are what systemd takes.
func TestUnitsVerify(t *testing.T) {
	t.Parallel()
	s := shared(t)
	dir := t.TempDir()
	var name string
	units := map[string]*strings.Builder{}
	for line := range strings.Lines(s.mustRun(t, "systemd")) {
		if path, ok := strings.CutPrefix(line, "# /etc/systemd/system/"); ok {
			name = strings.TrimSpace(path)
			units[name] = &strings.Builder{}
			continue
		}
		if name != "" {
			units[name].WriteString(line)
		}
	}
	if len(units) != 4 {
		t.Fatalf("units: %v", units)
	}
	args := []string{"verify", "--man=no"}
	for name, unit := range units {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(unit.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	// docker.service and its like need not be on this machine as units.
	r := program(t.Context(), nil, "systemd-analyze", args...)
	for line := range strings.Lines(r.stdout + r.stderr) {
		if strings.Contains(line, s.name) && !strings.Contains(line, "docker.service") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	if want := s.data(); !strings.Contains(units["mailstack-"+s.name+".service"].String(), want) {
		t.Errorf("the unit does not wait for %s", want)
	}
}

// up --refresh builds everything anew; what has the packages of today stays,
// and its containers with it.
func TestRefresh(t *testing.T) {
	if !*long {
		t.Skip("makes a base and builds all images without cache, about 3 minutes: make test-long")
	}
	s := newStack(t, "")
	s.up(t, "--no-probe", "--refresh") // whatever was old is new now
	before, base := s.starts(t), docker(t, "image", "ls", "-q", stack.LocalBase)
	r := s.up(t, "--no-probe", "--refresh")
	if now := docker(t, "image", "ls", "-q", stack.LocalBase); now != base {
		t.Errorf("base image %q became %q, and the images that stay are on the old one", base, now)
	}
	if strings.Count(r.stdout, "its packages are current") != len(services) || !strings.Contains(r.stdout, "nothing to do") {
		t.Errorf("a second refresh: %v", r)
	}
	if s.starts(t) != before {
		t.Error("a refresh without news has restarted containers")
	}
}
