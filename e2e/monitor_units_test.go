package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// unitSet are the units that `mailstack systemd` prints, by name.
func (s *Stack) unitSet(t *testing.T) map[string]string {
	t.Helper()
	units := map[string]string{}
	for _, unit := range strings.Split("\n"+s.mustRun(t, "systemd"), "\n# /etc/systemd/system/")[1:] {
		name, content, _ := strings.Cut(unit, "\n")
		units[name] = content
	}
	return units
}

// setting is the value of a setting that a unit has once.
func setting(t *testing.T, unit, key string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^`+key+`=(.*)$`).FindAllStringSubmatch(unit, -1)
	if len(found) != 1 {
		t.Fatalf("%d times %s in\n%s", len(found), key, unit)
	}
	return found[0][1]
}

// TestUnitsRun runs what every unit runs, as its user and in an environment as
// empty as systemd's: nothing to do at boot, maintenance, and the exporter with
// the rights that its unit leaves it.
func TestUnitsRun(t *testing.T) {
	t.Parallel()
	s := shared(t)
	units := s.unitSet(t)
	name := func(suffix string) string { return "mailstack-" + s.name + suffix }
	for unit, content := range units {
		if strings.Contains(content, "\nUser=") || strings.Contains(content, "\nGroup=") {
			t.Errorf("%s does not run as root", unit)
		}
	}
	start := func(unit string) *exec.Cmd {
		// No path here has a space, which systemd and this would read in two ways.
		cmd := exec.CommandContext(t.Context(), "env", append([]string{"-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"},
			strings.Fields(setting(t, unit, "ExecStart"))...)...)
		cmd.Dir = "/"
		return cmd
	}
	if r := runCommand(t.Context(), start(units[name(".service")]), nil); r.code != 0 || !strings.Contains(r.stdout, "nothing to do") {
		t.Errorf("the service: %v", r)
	}
	if r := runCommand(t.Context(), start(units[name("-maintain.service")]), nil); r.code != 0 {
		t.Errorf("maintenance: %v", r)
	}
	if got := setting(t, units[name("-maintain.timer")], "OnCalendar"); got != "daily" {
		t.Errorf("maintenance runs %s", got)
	}
	s.runExporterUnit(t, units[name("-exporter.service")])
}

// runExporterUnit runs the exporter as its unit has it, but for the port: on
// this machine an exporter of somebody else's may have it.
func (s *Stack) runExporterUnit(t *testing.T, unit string) {
	t.Helper()
	for key, want := range map[string]string{
		"CapabilityBoundingSet": "CAP_DAC_READ_SEARCH", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
		"ExecStart": fmt.Sprintf("%s --config %s probe --listen 127.0.0.1:9725", os.Getenv(binaryVar), s.config()),
	} {
		if got := setting(t, unit, key); got != want {
			t.Errorf("%s of the exporter is %q, want %q", key, got, want)
		}
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	sandbox := `mount --make-rprivate / && mount -o remount,bind,ro / && exec setpriv --bounding-set -all,+dac_read_search --inh-caps=-all --no-new-privs "$@"`
	args := strings.Fields(strings.ReplaceAll(setting(t, unit, "ExecStart"), "127.0.0.1:9725", address))
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"-m", "sh", "-ec", sandbox, "sh", "env", "-i"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	stderr := &lineBuffer{onLine: func(string) {}}
	cmd.Dir, cmd.Stderr = "/", stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	e := &exporter{url: "http://" + address, client: &http.Client{Timeout: time.Minute}}
	s.allGreen(t, "the exporter of the unit", func() (string, error) {
		_, body, _, err := e.try(t.Context(), "/metrics")
		if err != nil {
			return stderr.String(), err
		}
		return body, nil
	})
}

// allGreen waits until an exporter has the same checks as a probe with all
// rights, and says of each that it succeeded.
func (s *Stack) allGreen(t *testing.T, what string, scrape func() (string, error)) {
	t.Helper()
	var want []string
	for _, c := range s.probe(t).Checks {
		want = append(want, fmt.Sprintf(`mailstack_probe_check_success{check=%q,stack=%q} 1`, c.Name, s.name))
	}
	waitUntil(t, monitored, what+" finds everything in order", func() (bool, string) {
		body, err := scrape()
		lines := strings.Split(body, "\n")
		for _, line := range want {
			if !slices.Contains(lines, line) {
				return false, fmt.Sprintf("%v: no %s in\n%s", err, line, body)
			}
		}
		return err == nil && strings.Count(body, "\nmailstack_probe_check_success{") == len(want), body
	})
}

// TestExporterUnitIsSealed: by systemd's own judgement, whose scale goes from 0
// to 10, the exporter's exposure is at most 2.5. What is left is the network, the
// engine's socket and root's files, all of which it has to have.
func TestExporterUnitIsSealed(t *testing.T) {
	t.Parallel()
	s := shared(t)
	name := "mailstack-" + s.name + "-exporter.service"
	file := filepath.Join(t.TempDir(), name)
	write(t, file, s.unitSet(t)[name], 0o644)
	r := tool(t, "", "systemd-analyze", "security", "--offline=yes", "--threshold=25", "--no-pager", file)
	t.Log(r)
	if r.code != 0 || !strings.Contains(r.stdout, "Overall exposure level") {
		t.Error("the exporter's unit is more exposed than it should be")
	}
}
