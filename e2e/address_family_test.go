package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAddressPreference: of a server with both kinds of addresses the preferred one is
// taken, the other where there is no such, and none of a kind that is not to be used:
// such mail comes back.
func TestAddressPreference(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	gateway := s.gateway(t)
	network := s.name + "-six"
	random := randomHex(4)
	prefix := fmt.Sprintf("fd77:%s:%s:", random[:4], random[4:])
	docker(t, "network", "create", "--ipv6", "--subnet", prefix+":/64", network)
	t.Cleanup(func() {
		_ = run("docker", "network", "disconnect", "-f", network, s.container("postfix"))
		_ = run("docker", "network", "rm", network)
	})
	docker(t, "network", "connect", network, s.container("postfix")) // a bridge without a container has no addresses
	four, six := &smarthost{open: true}, &smarthost{open: true}
	four.startOn(t, net.JoinHostPort(gateway, "25"))
	waitUntil(t, 10*time.Second, "the bridge's IPv6 address", func() (bool, string) {
		l, err := net.Listen("tcp", net.JoinHostPort(prefix+":1", "0"))
		if err == nil {
			l.Close()
		}
		return err == nil, fmt.Sprint(err)
	})
	six.startOn(t, net.JoinHostPort(prefix+":1", "25"))
	serveDNS(t, gateway,
		"both.example. MX 10 mx.both.example.", "mx.both.example. A "+gateway, "mx.both.example. AAAA "+prefix+":1",
		"four.example. MX 10 mx.four.example.", "mx.four.example. A "+gateway,
		"six.example. MX 10 mx.six.example.", "mx.six.example. AAAA "+prefix+":1",
	)
	user, password := s.account(t)
	arrives := func(domain string, at *smarthost) {
		t.Helper()
		subject, to := domain+" "+randomHex(4), "friend@"+domain
		if err := s.submit(t, user, password, user, []string{to}, message(user, to, subject, "x")); err != nil {
			t.Fatal(err)
		}
		if at == nil {
			waitUntil(t, 30*time.Second, subject+" comes back", func() (bool, string) {
				letters, err := s.look(t, user, password, "INBOX", "Undelivered")
				back := func(letter string) bool { return strings.Contains(letter, subject) }
				return slices.ContainsFunc(letters, back), fmt.Sprint(len(letters), err, s.delays(t))
			})
			return
		}
		waitUntil(t, 30*time.Second, subject, func() (bool, string) {
			_, ok := at.find(subject)
			return ok, fmt.Sprint(four, six, s.delays(t))
		})
	}
	for _, c := range []struct {
		ip              string
		both, four, six *smarthost
	}{{"", four, four, six}, {"ipv6-first", six, four, six}, {"ipv4", four, four, nil}, {"ipv6", six, nil, six}} {
		if c.ip != "" {
			s.set(t, "network.ip", quote(c.ip))
		}
		s.resolveBy(t, gateway)
		docker(t, "network", "connect", network, s.container("postfix"))
		arrives("both.example", c.both)
		arrives("four.example", c.four)
		arrives("six.example", c.six)
	}
}
