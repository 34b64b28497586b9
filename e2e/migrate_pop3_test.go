package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailstack/e2e/oldhost"
)

// otherUIDLs makes an old host name messages as others did before Dovecot, and keep
// what it has named.
func otherUIDLs(t *testing.T, old *oldhost.Host) {
	t.Helper()
	old.Exec(t, "sh", "-c", `printf 'protocol pop3 {\n  pop3_uidl_format = %%v.%%u\n  pop3_save_uidl = yes\n}\n' >/etc/dovecot/conf.d/99-uidl.conf && doveadm reload`)
}

// uidlsOf asks an old host for the names that POP3 has for people's messages: given by
// yet another server (alice), and by Dovecot.
func uidlsOf(t *testing.T, old *oldhost.Host) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, address := range []string{"alice@example.org", "bob@example.org", "exact@example.org", "mike_99@example.net"} {
		all[address] = old.UIDLs(t, old.Account(address))
		if len(all[address]) < 8 {
			t.Errorf("%s has there the UIDLs %q", address, all[address])
		}
	}
	if first := all["alice@example.org"][0]; first != "1 UID1-1234567890" {
		t.Errorf("alice's first UIDL there is %q", first)
	}
	return all
}

// expectUIDLs: a POP3 program that leaves mail on the server downloads nothing again.
func (s *Stack) expectUIDLs(t *testing.T, old *oldhost.Host, want map[string][]string) {
	t.Helper()
	for address, there := range want {
		d, err := s.pop3Login(t, address, old.Account(address).Password)
		if err != nil {
			t.Fatal(err)
		}
		here := d.until(t, "UIDL", func(line string) bool { return line == "." })
		if diff := cmp.Diff(there, here[1:len(here)-1]); diff != "" {
			t.Errorf("UIDLs of %s (- there, + here):\n%s", address, diff)
		}
		d.expect(t, "QUIT", "+OK")
	}
}
