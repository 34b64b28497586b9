package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/monitors"
)

// TestContribReadme runs the commands of contrib/README.md in their order, as
// they are written, in a container that has the shared stack's files and the
// engine's socket where a mail host has them. Those for systemd are run in the
// long run.
func TestContribReadme(t *testing.T) {
	t.Parallel()
	s := shared(t)
	g := s.newContribGuide(t, []string{"sleep", "infinity"})
	e := s.exporter(t)
	g.address = e.address
	g.follow(t, false)
}

// TestContribReadmeUnderSystemd does so where systemd is process 1, and thereby
// shows that the units work under it: the exporter in its whole sandbox.
func TestContribReadmeUnderSystemd(t *testing.T) {
	if !*long {
		t.Skip("needs systemd in a container, which not every engine can do: make test-long")
	}
	s := shared(t)
	command := []string{"/lib/systemd/systemd", "systemd.unit=basic.target"}
	flags := []string{"--cgroupns", "private", "-e", "container=docker", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--cap-add", "SYS_ADMIN"}
	if docker(t, "info", "--format", "{{.CgroupVersion}}") == "1" {
		command = append(command, "systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")
	} else {
		command = append([]string{"sh", "-c", `mount -o remount,rw /sys/fs/cgroup && exec "$@"`, "sh"}, command...)
	}
	g := s.newContribGuide(t, command, flags...)
	waitUntil(t, time.Minute, "systemd runs", func() (bool, string) {
		r := g.run(t, "systemctl is-system-running")
		return strings.HasPrefix(r.stdout, "running") || strings.HasPrefix(r.stdout, "degraded"), r.String()
	})
	g.follow(t, true)
	if r := g.run(t, "mailstack systemd --remove"); r.code != 0 {
		t.Errorf("remove: %v", r)
	}
	if r := g.run(t, "systemctl is-active mailstack-mailstack-exporter"); strings.TrimSpace(r.stdout) != "inactive" {
		t.Errorf("the exporter after --remove: %v", r)
	}
}

// contribGuide follows contrib/README.md in a container.
type contribGuide struct {
	*monitors.Container
	s        *Stack
	names    *strings.Replacer
	address  string // of the exporter
	password string // of the exporter
}

func (s *Stack) newContribGuide(t *testing.T, command []string, flags ...string) *contribGuide {
	t.Helper()
	// A unit with a private /tmp does not find a stack there.
	const data = "/srv/stack"
	file, err := os.ReadFile(s.config())
	if err != nil {
		t.Fatal(err)
	}
	etc := filepath.Join(t.TempDir(), "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(etc, "mailstack.toml"), strings.ReplaceAll(string(file), s.data(), data), 0o644)
	kept := "/run/mailstack/" + s.name
	if err := os.MkdirAll(kept, 0o755); err != nil { // no maintenance yet?
		t.Fatal(err)
	}
	flags = append(flags, "--read-only=false", "--security-opt", "no-new-privileges=false",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined")
	for _, capability := range []string{"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "MKNOD", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"} {
		flags = append(flags, "--cap-add", capability)
	}
	c := monitor(t, "guide", nil, monitors.Options{
		User: "root", Command: command, Flags: flags,
		Mounts: []string{
			os.Getenv(binaryVar) + ":/usr/local/bin/mailstack:ro", etc + ":/etc/mailstack", s.data() + ":" + data + ":ro",
			kept + ":" + kept + ":ro", "/var/run/docker.sock:/srv/docker.sock",
		},
	})
	g := &contribGuide{
		Container: c, s: s, address: "127.0.0.1:9725", password: "pw-" + randomHex(8),
		names: strings.NewReplacer(
			"mailstack-mailstack", "mailstack-"+s.name, "mail.example.org", s.hostname(), "monitor@example.org", "m"+randomHex(4)+"@"+s.hostname(),
		),
	}
	if r := g.run(t, "ln -s /srv/docker.sock /run/docker.sock"); r.code != 0 {
		t.Fatal(r)
	}
	return g
}

// run runs a line as a shell does, with this stack's names.
func (g *contribGuide) run(t *testing.T, line string) result {
	t.Helper()
	line = strings.ReplaceAll(g.names.Replace(line), "127.0.0.1:9725", g.address)
	return tryDocker(t, "exec", g.Name, "sh", "-ec", line)
}

// follow runs all commands. Blocks of Nagios's configuration are written where
// it reads them.
func (g *contribGuide) follow(t *testing.T, systemd bool) {
	t.Helper()
	objects, _ := blocks(document(t, "contrib/README.md"), "nagios")
	steps := g.steps(t, systemd, objects)
	follow(t, "contrib/README.md", steps, func(string) bool { return true }, g.run)
}

func (g *contribGuide) steps(t *testing.T, systemd bool, objects []block) map[string]step {
	must := func(line string) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if r := g.run(t, line); r.code != 0 {
				t.Fatalf("%s: %v", line, r)
			}
		}
	}
	var nagios strings.Builder
	for _, b := range objects {
		nagios.WriteString(strings.Join(b.lines, "\n") + "\n")
	}
	// Other tests load the machine: what is shown is that the line works, not how
	// fast the server is.
	const patiently = " --timeout 1m --retries 2"
	hash := ""
	return map[string]step{
		"mailstack probe --format nagios":                     {add: patiently},
		"mailstack probe --format json":                       {add: patiently},
		"systemctl enable --now mailstack-mailstack-exporter": {skip: !systemd, after: g.atFirst(systemd)},
		"systemctl daemon-reload":                             {skip: !systemd},
		"systemctl restart mailstack-mailstack-exporter":      {skip: !systemd, after: g.atLast(systemd)},

		"promtool check config /etc/prometheus/prometheus.yml": {before: must("cp contrib/prometheus/scrape.yml /etc/prometheus/prometheus.yml")},
		"htpasswd -nB prometheus": {skip: true, after: func(t *testing.T) { // it asks a terminal
			r := g.run(t, "printf %s "+g.password+" | htpasswd -niB prometheus")
			hash = strings.TrimSpace(strings.TrimPrefix(r.stdout, "prometheus:"))
			if r.code != 0 || hash == "" {
				t.Fatal(r)
			}
		}},
		"install -m 600 contrib/prometheus/web.yml /etc/mailstack/": {after: func(t *testing.T) {
			must(fmt.Sprintf(`sed -i 's|: HASH|: %s|' /etc/mailstack/web.yml && grep -q '\$2y' /etc/mailstack/web.yml`, hash))(t)
		}},
		// No test listens for others than this machine.
		"install -D -m 644 contrib/systemd/exporter.conf /etc/systemd/system/mailstack-mailstack-exporter.service.d/exporter.conf": {
			after: must("sed -i 's/ 0.0.0.0:/ 127.0.0.1:/' /etc/systemd/system/mailstack-mailstack-exporter.service.d/exporter.conf"),
		},
		"mailstack probe --format prometheus --output /var/lib/prometheus/node-exporter/mailstack.prom": {
			add:    patiently,
			before: must("mkdir -p /var/lib/prometheus/node-exporter"),
			after:  must("promtool check metrics </var/lib/prometheus/node-exporter/mailstack.prom"),
		},

		"install -m 600 -o nagios password /etc/nagios4/mailstack.password": {
			before: must("echo " + g.password + " >password"), after: must(`test "$(stat -c '%a %U' /etc/nagios4/mailstack.password)" = "600 nagios"`),
		},
		"nagios4 -v /etc/nagios4/nagios.cfg": {before: must("cat >/etc/nagios4/conf.d/host.cfg <<'END'\n" + nagios.String() + "END\n")},
		// Its result depends on what was done before; that it can be read is
		// shown by TestMonitors.
		"mailstack probe --last --format nagios": {before: must("mailstack probe --last --format nagios | grep -q '^MAILSTACK ' || test $? = 1"), skip: true},
	}
}

// atFirst: the exporter that is enabled runs, and finds everything in order.
func (g *contribGuide) atFirst(systemd bool) func(*testing.T) {
	if !systemd {
		return nil
	}
	return func(t *testing.T) {
		e := &exporter{url: "http://" + g.address, client: &http.Client{Timeout: time.Minute}}
		g.s.allGreen(t, "the exporter under systemd", func() (string, error) {
			_, body, _, err := e.try(t.Context(), "/metrics")
			return body + g.run(t, "journalctl -n 5 --no-pager").stdout, err
		})
		r := g.run(t, "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/$(systemctl show -P MainPID mailstack-mailstack-exporter)/status")
		// 4 is CAP_DAC_READ_SEARCH alone: it looks into the mail store.
		if want := regexp.MustCompile(`^CapBnd:\s0+4\nNoNewPrivs:\s1\nSeccomp:\s2\n$`); !want.MatchString(r.stdout) {
			t.Errorf("the exporter's process: %v", r)
		}
	}
}

// atLast: with the drop-in, it serves with TLS and to who knows the password.
func (g *contribGuide) atLast(systemd bool) func(*testing.T) {
	if !systemd {
		return nil
	}
	return func(t *testing.T) {
		certificate, err := g.ReadFile("/etc/mailstack/exporter.pem")
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(certificate)
		e := &exporter{url: "https://" + g.address, client: &http.Client{
			Timeout:   time.Minute,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "exporter.example"}},
		}}
		waitUntil(t, monitored, "the exporter asks for a password", func() (bool, string) {
			code, body, _, err := e.try(t.Context(), "/metrics")
			return code == http.StatusUnauthorized, fmt.Sprint(code, body, err)
		})
		e.user, e.pass = "prometheus", g.password
		if code, body, _ := e.get(t, "/metrics"); code != http.StatusOK {
			t.Errorf("with the password: %d\n%s", code, body)
		}
	}
}
