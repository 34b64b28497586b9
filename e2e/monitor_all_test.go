package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/monitors"
)

// TestMonitors watches a stack of its own with everything that contrib/ has
// something for, each the real program: the monitoring plugins, Prometheus with
// our rules, Nagios and Icinga 2 with our commands. All see it work, all see it
// broken, and all see it mended.
func TestMonitors(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	t.Cleanup(func() { os.RemoveAll("/run/mailstack/" + s.name) })
	s.upGreen(t)
	user, password := s.account(t)
	// Root's umask is nobody else's business.
	if r := s.maintainWith(t, "077"); r.code != 0 {
		t.Fatalf("maintain: %v", r)
	}
	w := &watch{
		Stack: s, tools: tools(t), plugins: s.plugins(user, password),
		prometheus: startPrometheus(t, s.secureExporter(t, "--cache", "10s", "--targets", s.targetsFile(t, user, password))),
		checkers:   []*checker{s.nagios(t, user, password), s.icinga(t, user, password)},
	}
	w.works(t)
	docker(t, "stop", "-t", "5", s.container("dovecot"))
	w.broken(t)
	docker(t, "start", s.container("dovecot"))
	w.mended(t)
}

// watch is a stack with all that watches it.
type watch struct {
	*Stack
	tools      *monitors.Container
	plugins    []plugin
	prometheus *prometheus
	checkers   []*checker
}

// success is the series that says whether a server works, by its name.
func success(stack string) string { return fmt.Sprintf("mailstack_probe_success{stack=%q}", stack) }

func (w *watch) works(t *testing.T) {
	p := w.prometheus
	p.expect(t, `up{job="mailstack"}`, "1")
	p.expect(t, fmt.Sprintf(`up{job="mailstack-targets",instance=%q}`, elsewhere), "1")
	p.expect(t, success(w.name), "1")
	p.expect(t, success(elsewhere), "1")
	p.rules(t)
	p.dashboard(t, w.name)
	p.calm(t, w.name)
	for _, c := range w.checkers {
		c.expect(t, 0, append(c.network, "last")...)
		c.perfdata(t)
		c.keepsSecrets(t, w.Stack)
	}
	w.agree(t, w.tools, w.plugins, func(string) (int, int) { return 0, 0 })
}

// broken is without Dovecot.
func (w *watch) broken(t *testing.T) {
	p := w.prometheus
	p.expect(t, success(w.name), "0")
	p.expect(t, success(elsewhere), "0")
	lost := []string{"MailCheckFailing imap", "MailNotDelivered delivery.submission", "MailNotDelivered delivery.inbound"}
	p.alarmed(t, w.name, "pending", monitored, lost...)
	p.alarmed(t, elsewhere, "pending", monitored, lost...)
	w.agree(t, w.tools, w.plugins, withoutDovecot)
	if r := w.maintainWith(t, "022"); r.code != 1 {
		t.Errorf("maintain of a broken stack: %v", r)
	}
	for _, c := range w.checkers {
		c.expect(t, 2, append(c.network, "last")...)
	}
	// An exporter that has never seen sending work has the series all the same.
	series := fmt.Sprintf("mailstack_probe_check_success{check=%q,stack=%q} 0\n", "delivery.submission", w.name)
	if _, body, _ := w.exporter(t).get(t, "/metrics"); !strings.Contains(body, series) {
		t.Errorf("an exporter that starts while sending fails:\n%s", body)
	}
	if *long {
		p.alarmed(t, w.name, "firing", 6*time.Minute, lost...)
	}
}

func (w *watch) mended(t *testing.T) {
	p := w.prometheus
	p.calm(t, w.name)
	w.age(t, 50*time.Hour)
	for _, c := range w.checkers {
		c.expect(t, 3, "last")
		c.expect(t, 0, c.network...)
	}
	// A listener that is no longer wanted is not missed.
	p.expect(t, fmt.Sprintf(`count(mailstack_probe_check_success{stack=%q,check="pop3"})`, w.name), "1")
	w.set(t, "listen.pop3", "0")
	w.up(t, "--no-probe")
	p.expect(t, success(w.name)+` unless on (stack) mailstack_probe_check_success{check="pop3"}`, "1")
}

// withoutDovecot says how a plugin and our check of the same listener exit when
// Dovecot is stopped.
func withoutDovecot(check string) (theirs, ours int) {
	switch check {
	case "smtp":
		return 0, 0
	case "submissions": // check_ssmtp only waits for the banner
		return 0, 2
	}
	return 2, 2
}

// maintainWith is maintenance with a umask. It asks a package archive, which
// takes its time.
func (s *Stack) maintainWith(t *testing.T, umask string) result {
	t.Helper()
	return program(t.Context(), nil, "sh", "-c", `umask "$1" && exec "$2" maintain --config "$3"`, "sh", umask, os.Getenv(binaryVar), s.config())
}

// age makes the result that maintenance kept older.
func (s *Stack) age(t *testing.T, by time.Duration) {
	t.Helper()
	path := filepath.Join("/run/mailstack", s.name, "maintenance.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kept := decode[struct{ When time.Time }](t, string(data))
	written := kept.When.Format(time.RFC3339Nano)
	if !strings.Contains(string(data), written) {
		t.Fatalf("%s has no %s", path, written)
	}
	write(t, path, strings.Replace(string(data), written, kept.When.Add(-by).Format(time.RFC3339Nano), 1), 0o644)
}
