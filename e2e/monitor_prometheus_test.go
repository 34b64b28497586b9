package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/monitors"
)

// elsewhere is the name under which the exporter probes the stack by the
// network alone.
const elsewhere = "elsewhere.example"

// targetsFile is the file for --targets that we ship, with this stack in it.
func (s *Stack) targetsFile(t *testing.T, user, password string) string {
	t.Helper()
	var ports []string
	for _, p := range strings.Split(s.targetPorts(), ",") {
		ports = append(ports, quote(p))
	}
	secret, ca, file := filepath.Join(s.dir, "target.password"), filepath.Join(s.dir, "target.pem"), filepath.Join(s.dir, "targets.toml")
	write(t, secret, password+"\n", 0o600)
	write(t, ca, string(s.caPEM(t)), 0o644)
	write(t, file, adapted(t, "prometheus/targets.toml",
		`["mail.example.org"]`, fmt.Sprintf("[%q]", elsewhere),
		`#host = "mail.example.org"`, `host = "127.0.0.1"`,
		`#server_name = ""`, "server_name = "+quote(s.hostname()),
		`#user = "probe@example.org"`, "user = "+quote(user),
		`#password_file = "/etc/mailstack/mail.example.org.password"`, "password_file = "+quote(secret),
		`["smtp", "submission", "submissions", "imaps"]`, "["+strings.Join(ports, ", ")+"]",
		`#ca = ""`, "ca = "+quote(ca),
	), 0o600)
	return file
}

// prometheus is Debian's, with the jobs and the rules that we ship.
type prometheus struct {
	*monitors.Container
	url string
}

// prometheus starts one that scrapes an exporter, which has TLS and asks for a
// password.
func startPrometheus(t *testing.T, e *exporter) *prometheus {
	t.Helper()
	files := map[string]string{"prometheus.yml": "global: { evaluation_interval: 1s }\n" + adapted(t, "prometheus/scrape.yml",
		"#scheme", "scheme", "#tls_config", "tls_config", "#basic_auth", "basic_auth", "/etc/prometheus/", "/conf/",
		"127.0.0.1:9725", e.address, "mail.example.org", elsewhere,
		"scrape_interval: 1m", "scrape_interval: 4s", "scrape_interval: 5m", "scrape_interval: 4s", "scrape_timeout: 15s", "scrape_timeout: 4s",
		"[mailstack.rules.yml]", "[/contrib/prometheus/mailstack.rules.yml]",
	)}
	for name, content := range e.files {
		files[name] = content
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	return &prometheus{monitor(t, "prometheus", files, monitors.Options{User: "prometheus", Command: []string{
		"prometheus", "--config.file=/conf/prometheus.yml", "--storage.tsdb.path=/tmp/data", "--web.listen-address=" + address,
	}}), "http://" + address}
}

// api asks Prometheus.
func (p *prometheus) api(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var answer struct {
		Status string
		Data   json.RawMessage
	}
	if err := ask(ctx, http.DefaultClient, p.url+"/api/v1/"+path, query, nil, &answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return errors.New(answer.Status)
	}
	return json.Unmarshal(answer.Data, into)
}

// sample is a series' value of now.
type sample struct {
	Metric map[string]string
	Value  [2]any // time, number as a string
}

func (p *prometheus) query(ctx context.Context, expression string) (samples []sample, err error) {
	var answer struct{ Result []sample }
	err = p.api(ctx, "query", url.Values{"query": {expression}}, &answer)
	return answer.Result, err
}

// expect waits until an expression has this value and no other.
func (p *prometheus) expect(t *testing.T, expression, value string) {
	t.Helper()
	waitUntil(t, monitored, expression+" is "+value, func() (bool, string) {
		samples, err := p.query(t.Context(), expression)
		return err == nil && len(samples) == 1 && samples[0].Value[1] == value, fmt.Sprint(samples, err)
	})
}

// alert is one that is pending or fires.
type alert struct {
	State               string
	Labels, Annotations map[string]string
}

// alerts are those of a stack that are pending or fire, by name and check.
func (p *prometheus) alerts(ctx context.Context, stack string) (map[string]alert, error) {
	var answer struct{ Alerts []alert }
	err := p.api(ctx, "alerts", nil, &answer)
	all := map[string]alert{}
	for _, a := range answer.Alerts {
		if s := a.Labels["stack"]; s == "" || s == stack {
			all[strings.TrimSpace(a.Labels["alertname"]+" "+a.Labels["check"])] = a
		}
	}
	return all, err
}

// calm waits until no alert is pending.
func (p *prometheus) calm(t *testing.T, stack string) {
	t.Helper()
	waitUntil(t, monitored, "no alert", func() (bool, string) {
		alerts, err := p.alerts(t.Context(), stack)
		return err == nil && len(alerts) == 0, fmt.Sprint(alerts, err)
	})
}

// alarmed waits until these alerts are in a state.
func (p *prometheus) alarmed(t *testing.T, stack, state string, within time.Duration, names ...string) {
	t.Helper()
	waitUntil(t, within, strings.Join(names, ", ")+" "+state, func() (bool, string) {
		alerts, err := p.alerts(t.Context(), stack)
		for _, name := range names {
			if a, ok := alerts[name]; !ok || a.State != state || !strings.Contains(a.Annotations["summary"], stack) {
				return false, fmt.Sprint(alerts, err)
			}
		}
		return err == nil, fmt.Sprint(err)
	})
}

// rules: all that we ship are loaded and can be evaluated.
func (p *prometheus) rules(t *testing.T) {
	t.Helper()
	shipped, err := os.ReadFile("../contrib/prometheus/mailstack.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(string(shipped), -1)
	waitUntil(t, monitored, "healthy rules", func() (bool, string) {
		var answer struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		err := p.api(t.Context(), "rules", nil, &answer)
		healthy := map[string]bool{}
		for _, g := range answer.Groups {
			for _, r := range g.Rules {
				healthy[r.Name] = r.Health == "ok"
			}
		}
		for _, n := range names {
			if !healthy[n[1]] {
				return false, fmt.Sprint(answer, err)
			}
		}
		return len(names) > 0 && len(healthy) == len(names), fmt.Sprint(answer, err)
	})
}

// dashboard: every expression of the dashboard finds data of a stack, and so
// does the question behind its list of stacks.
func (p *prometheus) dashboard(t *testing.T, stack string) {
	t.Helper()
	data, err := os.ReadFile("../contrib/grafana/mailstack.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Templating struct {
			List []struct {
				Name  string
				Query json.RawMessage
			}
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			asked++
			expression := strings.ReplaceAll(target.Expr, "$stack", stack)
			if strings.Contains(expression, "clock_error") {
				// Of a clock that nothing keeps nobody knows how wrong it is.
				expression += fmt.Sprintf(" or mailstack_probe_clock_synchronised{stack=%q} == 0", stack)
			}
			waitUntil(t, 30*time.Second, "data for the panel "+panel.Title, func() (bool, string) {
				samples, err := p.query(t.Context(), expression)
				return err == nil && len(samples) > 0, fmt.Sprintf("%s: %v", expression, err)
			})
		}
	}
	labelled := regexp.MustCompile(`label_values\((\w+), (\w+)\)`)
	for _, variable := range board.Templating.List {
		if m := labelled.FindStringSubmatch(string(variable.Query)); m != nil {
			asked++
			var values []string
			err := p.api(t.Context(), "label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &values)
			if err != nil || !strings.Contains(" "+strings.Join(values, " ")+" ", " "+stack+" ") {
				t.Errorf("the dashboard's list %s is %q (%v)", variable.Name, values, err)
			}
		}
	}
	if asked < 10 {
		t.Errorf("the dashboard asks %d times: is its form still the one that this test reads?", asked)
	}
}

// TestPromtoolTakesMetrics: promtool finds nothing to say against what the
// program prints and serves.
func TestPromtoolTakesMetrics(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	c := tools(t)
	e := s.exporter(t, "--targets", s.targetsFile(t, user, password))
	takes := func(what, metrics, want string) {
		t.Helper()
		if !strings.Contains(metrics, want) {
			t.Errorf("%s has no %s:\n%s", what, want, metrics)
		}
		if r := runTool(t, c, metrics, "/usr/bin/promtool", "check", "metrics"); r.code != 0 || r.stdout+r.stderr != "" {
			t.Errorf("promtool check metrics of %s: %v", what, r)
		}
	}
	takes("--format prometheus", s.run(t, "probe", "--format", "prometheus").stdout, `mailstack_probe_check_success{check="imap",stack="`+s.name+`"} `)
	for path, stack := range map[string]string{"/metrics": s.name, "/probe?target=" + s.name: s.name, "/probe?target=" + elsewhere: elsewhere} {
		code, body, kind := e.get(t, path)
		if code != http.StatusOK || !strings.HasPrefix(kind, "text/plain") {
			t.Errorf("%s: %d, %s", path, code, kind)
		}
		takes(path, body, `mailstack_probe_check_success{check="imap",stack="`+stack+`"} `)
		// What Prometheus asks for (it is shown to take it by TestMonitors).
		_, body, kind = e.get(t, path, "Accept", "application/openmetrics-text; version=1.0.0")
		if !strings.HasPrefix(kind, "application/openmetrics-text; version=1.0.0") || !strings.HasSuffix(body, "\n# EOF\n") {
			t.Errorf("%s as OpenMetrics is %s:\n%s", path, kind, body)
		}
	}
}

// TestContribCheck runs contrib/check: the rules' own tests among others.
func TestContribCheck(t *testing.T) {
	t.Parallel()
	if r := runTool(t, tools(t), "", "/contrib/check"); r.code != 0 || strings.Count(r.stdout, "SUCCESS") < 3 {
		t.Errorf("contrib/check: %v", r)
	}
}
