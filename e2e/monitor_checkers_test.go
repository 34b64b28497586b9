package e2e

import (
	"context"
	"crypto/tls"
	"errors"
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

// checker is a Nagios or an Icinga 2 that runs, as its own unprivileged user on
// the mail host, the commands that we ship.
type checker struct {
	*monitors.Container
	network []string // services that probe by the network; "last" is there too
	see     func(service string) (verdict, error)
}

// verdict is what a checker made of a service's last check.
type verdict struct {
	state  int // as exit codes
	output string
	perf   string
}

// expect waits until the checker has seen these states.
func (c *checker) expect(t *testing.T, state int, services ...string) {
	t.Helper()
	for _, service := range services {
		waitUntil(t, monitored, fmt.Sprintf("%s is in state %d in %s", service, state, c.Name), func() (bool, string) {
			v, err := c.see(service)
			return err == nil && v.state == state && strings.HasPrefix(v.output, "MAILSTACK "), fmt.Sprint(v, err)
		})
	}
}

// perfdata checks that performance data was taken apart from the text.
func (c *checker) perfdata(t *testing.T) {
	t.Helper()
	for service, names := range map[string][]string{
		"last":    {"time", "delivery.inbound", "queue_messages", "disk_free_mysql+vmail+queue", "cert.imaps_left", "sockets.dovecot.mysql/mysqld.sock"},
		"account": {"time", "delivery.submission", "cert.imaps_left"},
	} {
		v, err := c.see(service)
		for _, name := range names {
			if err != nil || !regexp.MustCompile(`(^|\s)'?`+regexp.QuoteMeta(name)+`'?=[0-9.]+[a-z%]*(;|\s|$)`).MatchString(v.perf) {
				t.Errorf("%s has for %s no performance data %s: %q (%v)", c.Name, service, name, v.perf, err)
			}
		}
		if strings.Contains(v.output, "|") {
			t.Errorf("%s takes performance data for text: %s", c.Name, v.output)
		}
	}
}

// keepsSecrets: the checker's user finds nothing of the stack that it could
// read, and without --last the probe says what it had to leave out.
func (c *checker) keepsSecrets(t *testing.T, s *Stack) {
	t.Helper()
	find := []string{"exec", c.Name, "find", s.data(), "-mindepth", "1"}
	if r := tryDocker(t, find...); r.code == 0 || r.stdout != "" || !strings.Contains(r.stderr, "Permission denied") {
		t.Errorf("the checker's user looks into %s: %v", s.data(), r)
	}
	if r := tryDocker(t, append([]string{"exec", "-u", "0"}, find[1:]...)...); !strings.Contains(r.stdout, "/secrets/probe\n") {
		t.Fatalf("root finds no secret in %s, so the above says nothing: %v", s.data(), r)
	}
	r := tryDocker(t, "exec", c.Name, "/usr/local/bin/mailstack", "--config", "/etc/mailstack/mailstack.toml", "probe", "--format", "nagios", "--timeout", "20s")
	if r.code != 3 || !strings.Contains(r.stdout, "MAILSTACK UNKNOWN - ") || !strings.Contains(r.stdout, "permission denied") ||
		!strings.Contains(r.stdout, "[OK] smtp ") || strings.Contains(r.stdout, "[CRITICAL]") {
		t.Errorf("a whole probe without rights: %v", r)
	}
}

// checkerMounts are what the checker's user has of the mail host: the program,
// the configuration as `mailstack init` leaves it, the stack's data, and what
// maintenance keeps.
func (s *Stack) checkerMounts(t *testing.T) []string {
	t.Helper()
	etc := t.TempDir()
	config, err := os.ReadFile(s.config())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(etc, "mailstack.toml"), string(config), 0o644)
	kept := "/run/mailstack/" + s.name
	return []string{
		os.Getenv(binaryVar) + ":/usr/local/bin/mailstack:ro",
		etc + ":/etc/mailstack:ro", s.data() + ":" + s.data() + ":ro", kept + ":" + kept + ":ro",
	}
}

// targetPorts is --ports for this stack.
func (s *Stack) targetPorts() string {
	var ports []string
	for _, key := range listeners {
		ports = append(ports, fmt.Sprintf("%s=%d", key, s.port(key)))
	}
	return strings.Join(ports, ",")
}

// own copies the account's password to where readPasswordFile takes it: a file
// of the user's alone.
const own = "umask 077 && cp /conf/password /tmp/password && exec "

func (s *Stack) nagios(t *testing.T, user, password string) *checker {
	t.Helper()
	c := monitor(t, "nagios", map[string]string{
		"nagios.cfg": nagiosConfig,
		"objects.cfg": strings.NewReplacer(
			"HOSTNAME", s.hostname(), "PORTS", s.targetPorts(), "USER", user,
		).Replace(nagiosObjects),
		"password": password + "\n", "ca.pem": string(s.caPEM(t)),
	}, monitors.Options{
		User: "nagios", Mounts: s.checkerMounts(t),
		Command: []string{"sh", "-c", own + "nagios4 /conf/nagios.cfg"},
	})
	blocks := regexp.MustCompile(`(?s)\nservicestatus \{\n(.*?)\n\t\}`)
	fields := regexp.MustCompile(`(?m)^\t(\w+)=(.*)$`)
	return &checker{c, []string{"ports", "account"}, func(service string) (v verdict, err error) {
		status, err := c.ReadFile("/tmp/status.dat")
		for _, block := range blocks.FindAllStringSubmatch(string(status), -1) {
			values := map[string]string{}
			for _, f := range fields.FindAllStringSubmatch(block[1], -1) {
				values[f[1]] = f[2]
			}
			if values["service_description"] == service && values["last_check"] != "0" {
				_, err = fmt.Sscan(values["current_state"], &v.state)
				v.output, v.perf = values["plugin_output"]+"\n"+values["long_plugin_output"], values["performance_data"]
				return v, err
			}
		}
		return v, fmt.Errorf("%s is not checked yet: %w, %s", service, err, status)
	}}
}

func (s *Stack) icinga(t *testing.T, user, password string) *checker {
	t.Helper()
	port := freePort(t)
	mounts := s.checkerMounts(t)
	for _, dir := range []string{"lib", "run", "log", "cache", "spool"} {
		path := filepath.Join(t.TempDir(), dir)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o777)); err != nil {
			t.Fatal(err)
		}
		system := "/var/" + dir
		if dir == "run" {
			system = "/run"
		}
		mounts = append(mounts, path+":"+system+"/icinga2")
	}
	c := monitor(t, "icinga", map[string]string{
		"icinga2.conf": strings.NewReplacer(
			"HOSTNAME", s.hostname(), "API_PORT", fmt.Sprint(port),
		).Replace(icingaConfig),
		"examples.conf": examples(adapted(t, "icinga2/mailstack.conf",
			`"mail kept" {`, `"last" {`, `"mail" {`, `"account" {`, "= 1h", "= 15s", "= 5m", "= 15s",
			"probe@example.org", user, "/etc/icinga2/mailstack.password", "/tmp/password",
			`= "20s"`, fmt.Sprintf("= \"20s\"\n//   vars.mailstack_ports = %q\n//   vars.mailstack_ca = \"/conf/ca.pem\"", s.targetPorts()),
		)),
		"password": password + "\n", "ca.pem": string(s.caPEM(t)),
	}, monitors.Options{
		User: "nagios", Mounts: mounts,
		// Its API wants a certificate of its own authority.
		Command: []string{"sh", "-c", `D=/var/lib/icinga2 && mkdir $D/certs && icinga2 pki new-ca &&
			icinga2 pki new-cert --cn icinga --key $D/certs/icinga.key --csr /tmp/csr &&
			icinga2 pki sign-csr --csr /tmp/csr --cert $D/certs/icinga.crt && cp $D/ca/ca.crt $D/certs/ &&
			` + own + "icinga2 daemon -c /conf/icinga2.conf"},
	})
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	return &checker{c, []string{"account"}, func(service string) (v verdict, err error) {
		var answer struct {
			Results []struct {
				Attrs struct {
					Name   string
					Result *struct {
						State    float64
						Output   string
						Perfdata []string `json:"performance_data"`
					} `json:"last_check_result"`
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err = ask(ctx, client, fmt.Sprintf("https://127.0.0.1:%d/v1/objects/services", port), nil,
			func(r *http.Request) { r.SetBasicAuth("test", "test") }, &answer)
		for _, r := range answer.Results {
			if a := r.Attrs; a.Name == service && a.Result != nil {
				return verdict{int(a.Result.State), a.Result.Output, strings.Join(a.Result.Perfdata, " ")}, err
			}
		}
		return v, fmt.Errorf("%s is not checked yet: %w, %v", service, err, answer)
	}}
}

// examples are the lines that stand behind "//   ".
func examples(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if example, ok := strings.CutPrefix(line, "//   "); ok {
			b.WriteString(example)
		}
	}
	return b.String()
}
