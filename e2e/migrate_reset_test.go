package e2e

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
)

// lastCopyAndReset is lastCopy without --allow-weak-hashes: who has a hash that Dovecot
// does not verify any more is listed, by the copies before it too (said), and finds all
// mail with a new password, whether that was set before the last copy or after it.
func (s *Stack) lastCopyAndReset(t *testing.T, old *oldhost.Host, want map[string][]oldhost.Folder, said string, args ...string) {
	t.Helper()
	var weak []oldhost.Account
	var names []string
	others := maps.Clone(want)
	for _, a := range old.Accounts {
		if slices.Contains([]string{"MD5-CRYPT", "PLAIN-MD5", "SMD5", "DES-CRYPT"}, a.Scheme) {
			weak, names = append(weak, a), append(names, a.Address)
			delete(others, a.Address)
		}
	}
	if len(weak) != 5 {
		t.Fatalf("there are %d weak hashes there: %q", len(weak), names)
	}
	for _, name := range names {
		if !strings.Contains(said, "! "+name+" needs a new password") {
			t.Errorf("the copy before does not say that %s needs a new password:\n%s", name, said)
		}
	}
	if n := strings.Count(said, " needs a new password"); n != len(names) {
		t.Errorf("%d accounts are said to need a new password, want %d:\n%s", n, len(names), said)
	}
	reset := func(a *oldhost.Account) {
		t.Helper()
		a.Password = "reset-" + randomHex(8)
		if r := s.runInput(t, a.Password+"\n", "account", "passwd", a.Address, "--password-stdin"); r.code != 0 {
			t.Fatalf("account passwd %s: %v", a.Address, r)
		}
	}
	reset(&weak[0])
	listed := s.lastCopy(t, old, others, args...)
	slices.Sort(listed)
	slices.Sort(names)
	if !slices.Equal(listed, names) {
		t.Errorf("new passwords are wanted for %q, want %q", listed, names)
	}
	for i := range weak {
		a := &weak[i]
		if _, err := s.imapLogin(t, a.Address, old.Account(a.Address).Password); err == nil {
			t.Errorf("%s logs in with the password of before, %s", a.Address, a.Scheme)
		}
		if i > 0 {
			reset(a)
		}
		if len(want[a.Address]) == 0 {
			t.Errorf("%s had no mail", a.Address)
		}
		s.expectFolders(t, *a, want[a.Address])
	}
}
