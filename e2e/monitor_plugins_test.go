package e2e

import (
	"fmt"
	"strings"
	"testing"

	"mailstack/e2e/monitors"
)

// plugin is a check of Debian's monitoring-plugins, and the check of our probe
// that is about the same.
type plugin struct {
	args  []string // program and arguments
	check string
}

func (s *Stack) plugins(user, password string) []plugin {
	at := func(name, key string, more ...string) plugin {
		return plugin{append([]string{name, "-H", "127.0.0.1", "-p", fmt.Sprint(s.port(key))}, more...), key}
	}
	return []plugin{
		at("check_imap", "imap"),
		at("check_simap", "imaps", "-D", "30,14"),
		at("check_pop", "pop3"),
		at("check_spop", "pop3s"),
		at("check_smtp", "smtp", "-S"),
		at("check_smtp", "submission", "-S", "-A", "LOGIN", "-U", user, "-P", password),
		at("check_ssmtp", "submissions"),
		at("check_tcp", "managesieve", "-e", "IMPLEMENTATION"),
	}
}

func (p plugin) run(t *testing.T, c *monitors.Container) result {
	t.Helper()
	return runTool(t, c, "", "/usr/lib/nagios/plugins/"+p.args[0], p.args[1:]...)
}

// agree waits until every plugin, and our check of the same listener, exit with
// the status that is wanted.
func (s *Stack) agree(t *testing.T, c *monitors.Container, plugins []plugin, want func(check string) (theirs, ours int)) {
	t.Helper()
	for _, p := range plugins {
		theirs, ours := want(p.check)
		waitUntil(t, monitored, fmt.Sprintf("%s: %d, and the probe's %s: %d", p.args[0], theirs, p.check, ours), func() (bool, string) {
			r := p.run(t, c)
			own := s.run(t, "probe", "--format", "nagios", "--only", p.check)
			return r.code == theirs && own.code == ours, fmt.Sprintf("%v\n%v", r, own)
		})
	}
}

// TestPluginsAgree: what Debian's plugins see and what our probe sees of the same
// listeners is the same state, with the same exit status.
func TestPluginsAgree(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	c := tools(t)
	plugins := s.plugins(user, password)
	s.agree(t, c, plugins, func(string) (int, int) { return 0, 0 })

	// A published port without a listener.
	dead := &Stack{ports: map[string]int{}}
	for key := range s.ports {
		dead.ports[key] = freePort(t)
	}
	var target []string
	for key, port := range dead.ports {
		target = append(target, fmt.Sprintf("%s=%d", key, port))
	}
	for _, p := range dead.plugins(user, password) {
		r := p.run(t, c)
		own := s.run(t, "probe", "--format", "nagios", "--target", "127.0.0.1", "--ports", strings.Join(target, ","), "--only", p.check)
		if r.code != 2 || own.code != 2 {
			t.Errorf("nobody listens: %v\n%v", r, own)
		}
	}
}
