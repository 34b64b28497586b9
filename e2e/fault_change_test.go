package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What is changed on a stack that runs: keys, secrets, the certificate, an
// account while Dovecot is away. The steps share a stack.
func TestChangesOfARunningStack(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.up(t, "--no-probe")
	s.refusesLocked(t, "up", "down", "maintain")
	s.testChangedKeys(t)
	s.testSecrets(t)
	s.testCertificateRenewal(t)
	s.testPasswordWhileDovecotIsAway(t)
	s.healed(t, bounded, "all changes")
	s.testDown(t)
}

// ids are the containers' ids, by service.
func (s *Stack) ids(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for _, service := range services {
		ids[service] = inspect(t, s.container(service)).ID
	}
	return ids
}

// testChangedKeys: a key recreates the services that it touches and no other,
// and the plan says which and why.
func (s *Stack) testChangedKeys(t *testing.T) {
	t.Helper()
	for _, change := range []struct {
		key, value string
		replaced   []string
		cause      string
	}{
		{"limits.message_size", `"40MiB"`, []string{"dovecot", "postfix"}, " changed"},
		{"listen.submission", "0", []string{"postfix"}, "configuration, ports changed"},
		{"limits.dovecot_memory", `"900MiB"`, []string{"dovecot"}, "limits changed"},
		{"listen.pop3", "0", []string{"dovecot"}, "configuration, ports changed"},
	} {
		before := s.ids(t)
		s.set(t, change.key, change.value)
		r := s.up(t, "--no-probe")
		var replaced []string
		for service, id := range s.ids(t) {
			if id != before[service] {
				replaced = append(replaced, service)
			}
		}
		slices.Sort(replaced)
		if !slices.Equal(replaced, change.replaced) {
			t.Errorf("%s = %s replaces %v, want %v", change.key, change.value, replaced, change.replaced)
		}
		for _, service := range change.replaced {
			want := "replace"
			found := false
			for line := range strings.Lines(r.stderr) {
				found = found || strings.HasPrefix(line, want) && strings.Contains(line, s.container(service)) && strings.Contains(line, change.cause)
			}
			if !found {
				t.Errorf("%s = %s: up does not say that %s is replaced because of %q: %s", change.key, change.value, service, change.cause, r.stderr)
			}
		}
	}
	for _, key := range []string{"pop3", "submission"} {
		s.set(t, "listen."+key, strconv.Itoa(s.port(key)))
	}
	s.set(t, "limits.message_size", "")
	s.set(t, "limits.dovecot_memory", "")
	s.up(t, "--no-probe")
}

// testSecrets: a corrupt one is named with what mends it, and so is a lost one
// that cannot be made anew.
func (s *Stack) testSecrets(t *testing.T) {
	t.Helper()
	file := func(name string) string { return filepath.Join(s.data(), "secrets", name) }
	write := func(name, data string) {
		if err := os.WriteFile(file(name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := os.ReadFile(file("admin"))
	if err != nil {
		t.Fatal(err)
	}
	dovecot := s.secret(t, "dovecot")
	before := s.ids(t)
	write("dovecot", "{\"generation\":1,\"secr")
	r := s.refuse(t, 1, []string{file("dovecot"), "corrupt", "remove"}, "up")
	if strings.Contains(r.stderr, dovecot) {
		t.Errorf("the refusal shows the secret: %v", r)
	}
	write("admin", "x")
	s.refuse(t, 1, []string{file("admin"), "corrupt", "backup"}, "up")
	if err := os.Remove(file("admin")); err != nil {
		t.Fatal(err)
	}
	s.refuse(t, 1, []string{file("admin"), "missing", "backup"}, "up")
	write("admin", string(admin))
	if err := os.Chmod(file("admin"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.refuse(t, 1, []string{file("admin"), "0644"}, "up")
	if err := os.Chmod(file("admin"), 0o600); err != nil {
		t.Fatal(err)
	}
	if now := s.ids(t); now["dovecot"] != before["dovecot"] || now["mysql"] != before["mysql"] {
		t.Error("a refused up has changed containers")
	}
	if err := os.Remove(file("dovecot")); err != nil {
		t.Fatal(err)
	}
	s.upGreen(t) // both ends know the new one
	if now := s.ids(t); now["dovecot"] == before["dovecot"] || now["mysql"] != before["mysql"] || now["postfix"] != before["postfix"] {
		t.Errorf("a new secret of dovecot replaced %v -> %v", before, now)
	}
	if s.secret(t, "dovecot") == dovecot {
		t.Error("the secret is the old one")
	}
}

// testPasswordWhileDovecotIsAway: the change is made, what cannot be done yet is
// said, remembered, and done by the next command.
func (s *Stack) testPasswordWhileDovecotIsAway(t *testing.T) {
	t.Helper()
	address, password := s.account(t)
	session := s.imap(t, address, password)
	_ = session // the stop ends it
	docker(t, "stop", "-t", "10", s.container("dovecot"))
	changed := "changed-" + randomHex(8)
	r := s.runInput(t, changed+"\n", "account", "passwd", address, "--password-stdin")
	if r.code != 0 || !strings.Contains(r.stderr, "warning") || !strings.Contains(r.stderr, address) || !strings.Contains(r.stderr, "maintain") {
		t.Errorf("account passwd without Dovecot: %v", r)
	}
	if n := s.pendingEnds(t); n != 1 {
		t.Errorf("%d sessions are remembered to be ended, want 1", n)
	}
	docker(t, "start", s.container("dovecot"))
	s.ready(t, "dovecot")
	if r := s.run(t, "account", "list"); r.code != 0 || strings.Contains(r.stderr, "warning") {
		t.Errorf("the next command: %v", r)
	}
	if n := s.pendingEnds(t); n != 0 {
		t.Errorf("%d sessions are still to be ended after the next command", n)
	}
	if _, err := s.imapLogin(t, address, password); err == nil {
		t.Error("the old password still works")
	}
	s.imap(t, address, changed)
}

func (s *Stack) pendingEnds(t *testing.T) (n int) {
	t.Helper()
	if err := s.databaseAs(t, "admin").QueryRow("SELECT COUNT(*) FROM pending_end").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// testDown: down keeps data; --purge does not, and asks.
func (s *Stack) testDown(t *testing.T) {
	t.Helper()
	address, password := s.account(t)
	subject := s.deliver(t, "stranger@elsewhere.example", address)
	s.waitMail(t, address, password, "INBOX", subject)
	s.mustRun(t, "down")
	gone := func() string {
		return docker(t, "ps", "-a", "-q", "--filter", "label=mailstack.stack="+s.name) +
			docker(t, "network", "ls", "-q", "--filter", "label=mailstack.stack="+s.name)
	}
	if left := gone(); left != "" {
		t.Errorf("down leaves %s", left)
	}
	if out := s.mustRun(t, "down"); !strings.Contains(out, "nothing to do") {
		t.Errorf("a second down says %q", out)
	}
	began := time.Now()
	s.up(t, "--no-probe")
	t.Logf("up after down takes %v", time.Since(began).Round(100*time.Millisecond))
	s.waitMail(t, address, password, "INBOX", subject)

	r := s.runInput(t, s.name+"\n", "down", "--purge")
	if r.code != 2 || !strings.Contains(r.stderr, "--yes") {
		t.Errorf("down --purge with nobody to ask: %v", r)
	}
	s.imap(t, address, password) // it was not touched
	other := filepath.Join(s.data(), "mine.txt")
	if err := os.WriteFile(other, []byte("not mailstack's"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustRun(t, "down", "--purge", "--yes")
	if left, err := os.ReadDir(s.data()); err != nil || len(left) != 1 || left[0].Name() != "mine.txt" {
		t.Errorf("down --purge leaves\n%s", tree(s.data()))
	}
	if left := gone(); left != "" {
		t.Errorf("down --purge leaves %s", left)
	}
}
