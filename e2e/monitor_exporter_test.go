package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestExporterSparesTheServer: however many ask at once, the server is probed
// once, and until then the series that alerts look at are there, at 0.
func TestExporterSparesTheServer(t *testing.T) {
	t.Parallel()
	s := shared(t)
	e := s.exporter(t)
	success := func(n int) string {
		return fmt.Sprintf("mailstack_probe_check_success{check=%q,stack=%q} %d\n", "delivery.submission", s.name, n)
	}
	// A wrong password is answered after 2 s, so no run ends before that.
	const hurry = "X-Prometheus-Scrape-Timeout-Seconds"
	if _, body, _ := e.get(t, "/metrics", hurry, "0.5"); !strings.Contains(body, success(0)) || !strings.Contains(body, "mailstack_probe_runs_total{stack=\""+s.name+"\"} 0\n") {
		t.Errorf("before the first run has ended:\n%s", body)
	}
	bodies, errs := make([]string, 20), make([]error, 20)
	together(len(bodies), func(i int) { _, bodies[i], _, errs[i] = e.try(t.Context(), "/metrics") })
	for i, body := range bodies {
		if errs[i] != nil || !strings.Contains(body, success(1)) || !strings.Contains(body, "mailstack_probe_runs_total{stack=\""+s.name+"\"} 1\n") {
			t.Errorf("of 20 at once, one got: %v\n%s", errs[i], body)
		}
	}
}

// TestExporterNamesNobody: no label says who the probe is or where it looks.
func TestExporterNamesNobody(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	e := s.exporter(t, "--targets", s.targetsFile(t, user, password))
	labels := regexp.MustCompile(`[{,](\w+)="((?:[^"\\]|\\.)*)"`)
	local, _, _ := strings.Cut(user, "@")
	for _, path := range []string{"/metrics", "/probe?target=" + elsewhere} {
		_, body, _ := e.get(t, path)
		found := labels.FindAllStringSubmatch(body, -1)
		if len(found) < 100 {
			t.Errorf("%s has %d labels", path, len(found))
		}
		for _, l := range found {
			for _, secret := range []string{"@", local, password, "mailstack-probe", s.hostname(), "127.0.0.1", "::1"} {
				if strings.Contains(l[2], secret) {
					t.Errorf("%s: label %s says %s", path, l[0], secret)
				}
			}
		}
	}
}
