package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// decode reads what a command printed with --format json.
func decode[T any](t *testing.T, out string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return v
}

func TestStatus(t *testing.T) {
	t.Parallel()
	s := shared(t)
	s.account(t)
	var text string
	// Right after the start the engine has not asked yet.
	waitUntil(t, 45*time.Second, "all services healthy", func() (bool, string) {
		text = s.mustRun(t, "status")
		return strings.Count(text, "healthy") == len(services), text
	})
	for _, want := range []string{
		s.name, s.hostname(), "mysql/mysqld.sock", "postfix/submit", "certificate", "accounts", "queue", "disk",
		fmt.Sprint(s.port("imaps")), "\nok\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("status does not say %q:\n%s", want, text)
		}
	}
	type service struct {
		Service, State, Health string
		Ports                  []struct {
			Address, Name string
			Port          int
		}
	}
	status := decode[struct {
		Stack, Status string
		Problems      []string
		Services      []service
		Sockets       []struct{ Socket, Consumer, Mount string }
		Certificate   struct {
			Days  float64 `json:"days_left"`
			Names []string
		}
		Accounts, Queue *int
		Disks           []any
	}](t, s.mustRun(t, "status", "--format", "json"))
	if status.Status != "ok" || len(status.Problems) > 0 || status.Stack != s.name {
		t.Errorf("status is %q with %q of %q", status.Status, status.Problems, status.Stack)
	}
	if len(status.Services) != len(services) || len(status.Sockets) == 0 || len(status.Disks) == 0 {
		t.Errorf("%d services, %d sockets, %d disks", len(status.Services), len(status.Sockets), len(status.Disks))
	}
	for _, socket := range status.Sockets {
		if socket.Mount != "ro" {
			t.Errorf("%s has %s mounted %s", socket.Consumer, socket.Socket, socket.Mount)
		}
	}
	published := map[string]int{}
	for _, service := range status.Services {
		if service.State != "running" || service.Health != "healthy" {
			t.Errorf("%s is %s and %s", service.Service, service.State, service.Health)
		}
		for _, port := range service.Ports {
			published[port.Name] = port.Port
		}
	}
	for _, key := range listeners {
		if published[key] != s.port(key) {
			t.Errorf("%s is said to be on %d, and is on %d", key, published[key], s.port(key))
		}
	}
	if !slices.Contains(status.Certificate.Names, s.hostname()) || status.Certificate.Days < 1 {
		t.Errorf("certificate %v", status.Certificate)
	}
	if status.Accounts == nil || *status.Accounts < 1 || status.Queue == nil {
		t.Errorf("accounts %v, queue %v", status.Accounts, status.Queue)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	s := shared(t)
	out := s.mustRun(t, "logs", "-n", "5")
	for _, service := range services {
		n := 0
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, service+" ") {
				n++
			}
		}
		if n == 0 || n > 5 {
			t.Errorf("%d lines of %s:\n%s", n, service, out)
		}
	}
	if out := s.mustRun(t, "logs", "postfix", "--since", "1h"); strings.Contains(out, "\ndovecot ") || !strings.Contains(out, "postfix ") {
		t.Errorf("logs of postfix alone:\n%.500s", out)
	}
	if r := s.run(t, "logs", "nosuch"); r.code != 2 {
		t.Errorf("logs of no service: %v", r)
	}
}

func TestGraphAndSockets(t *testing.T) {
	t.Parallel()
	s := shared(t)
	if out := s.mustRun(t, "graph"); !strings.Contains(out, "dovecot") || !strings.Contains(out, "mysqld.sock") {
		t.Errorf("graph:\n%s", out)
	}
	if out := s.mustRun(t, "graph", "--format", "dot"); !strings.HasPrefix(out, "digraph") {
		t.Errorf("graph in DOT:\n%s", out)
	}
	out := s.mustRun(t, "socket", "list")
	for _, want := range []string{"mysql", "mysqld.sock", "auth", "lmtp", "quota-status", "submit", s.data()} {
		if !strings.Contains(out, want) {
			t.Errorf("socket list does not say %q:\n%s", want, out)
		}
	}
}

// TestLists: what was added is listed, for people and for programs, and the
// stack's own accounts and domains are nobody's business.
func TestLists(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	user, _ := s.account(t, "12MiB")
	s.mustRun(t, "alias", "add", "info@"+domain, user)
	domains := s.mustRun(t, "domain", "list", "--format", "json")
	accounts := s.mustRun(t, "account", "list", "--format", "json")
	aliases := s.mustRun(t, "alias", "list", "--format", "json")
	for _, l := range []struct{ list, what, want string }{
		{domains, "domain", domain},
		{accounts, "account", user},
		{aliases, "alias", "info@" + domain},
		{aliases, "target", user},
	} {
		decode[[]map[string]any](t, l.list)
		if !strings.Contains(l.list, `"`+l.want+`"`) {
			t.Errorf("%s %s is not in %s", l.what, l.want, l.list)
		}
	}
	if !strings.Contains(accounts, fmt.Sprint(12<<20)) {
		t.Errorf("no quota in %s", accounts)
	}
	if strings.Contains(accounts, "mailstack-probe@") || strings.Contains(s.mustRun(t, "account", "list"), "mailstack-probe@") {
		t.Error("account list shows the probe's account")
	}
	// What is there is not added again, and what is not is not removed.
	for _, again := range [][]string{
		{"domain", "add", domain},
		{"account", "add", user, "--generate"},
		{"alias", "add", "info@" + domain, user},
		{"domain", "remove", "not-there.example", "--yes"},
		{"account", "remove", "nobody@" + domain, "--yes"},
		{"alias", "remove", "nobody@" + domain},
		{"domain", "remove", domain, "--yes"}, // it has an alias
	} {
		if r := s.run(t, again...); r.code != 1 && r.code != 2 {
			t.Errorf("mailstack %s: %v", strings.Join(again, " "), r)
		}
	}
	if now := s.mustRun(t, "alias", "list", "--domain", domain, "--format", "json"); strings.Count(now, user) != 1 {
		t.Errorf("an alias that was added twice: %s", now)
	}
}

func TestGeneratedPassword(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user := "gen" + randomHex(4) + "@" + s.hostname()
	r := s.run(t, "account", "add", user, "--generate")
	if r.code != 0 || strings.Count(r.stdout, "\n") != 1 {
		t.Fatalf("account add --generate: %v", r)
	}
	s.expectLogins(t, user, strings.TrimSpace(r.stdout), true)
}

func TestCertShow(t *testing.T) {
	t.Parallel()
	s := shared(t)
	if out := s.mustRun(t, "cert", "show"); !strings.Contains(out, s.hostname()) || !strings.Contains(out, "SHA-256") {
		t.Errorf("cert show:\n%s", out)
	}
	decode[map[string]any](t, s.mustRun(t, "cert", "show", "--format", "json"))
}
