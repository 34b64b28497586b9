package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A stack is broken in one way after another, and the probe has to name each:
// the checks that depend on what is broken fail, with a reason that says the
// cause, and no other check does. Each breakage is undone, by `mailstack up`
// where the hint says so, and the probe is green again before the next.

// finding is what the probe says of a check.
type finding struct {
	status string
	reason string // a part of it
	hint   string // a part of it
}

// breakage is one way to break a stack.
type breakage struct {
	name string
	// do breaks the stack and returns what mends it.
	do func(t *testing.T, s *Stack) (mend func())
	// want is by names of checks, separated by spaces. What is not named stays ok.
	want map[string]finding
	// may are names of checks that this breakage can, and need not, reach.
	may string
	// wait is the time that the probe gets at first, where it has to wait for
	// what will not come; else it gets more than it needs.
	wait string
	// long leaves it to -long: another one is much like it.
	long bool
	// lines is how many lines the report for people may have at most; 0 is any.
	lines int
}

// Checks by what they need. The auth process of Dovecot, for example, serves
// the logins at Postfix's submission ports too.
const (
	dovecotPorts = "imap imaps pop3 pop3s managesieve"
	postfixPorts = "smtp submission submissions"
	loginPorts   = dovecotPorts + " submission submissions"
	dovecotCerts = "cert.imap cert.imaps cert.pop3 cert.pop3s cert.managesieve"
	postfixCerts = "cert.smtp cert.submission cert.submissions"
	dovecotNo    = "refusal.imap refusal.pop3 refusal.managesieve" // what Dovecot has to refuse
	delivered    = "delivery.submission delivery.inbound"

	dovecotSockets = "sockets.dovecot.mysql/mysqld.sock sockets.dovecot.postfix/submit sockets.dovecot.filter/learn"
	postfixSockets = "sockets.postfix.mysql/mysqld.sock sockets.postfix.dovecot/auth sockets.postfix.dovecot/lmtp sockets.postfix.dovecot/quota-status sockets.postfix.filter/milter"
)

// testBreakages runs the breakages on a stack that is up.
func (s *Stack) testBreakages(t *testing.T, all []breakage) {
	t.Helper()
	s.healed(t, bounded, "up")
	for _, b := range all {
		if b.long && !*long {
			continue
		}
		ok := t.Run(b.name, func(t *testing.T) {
			mend := b.do(t, s)
			defer func() {
				mend()
				s.healed(t, 2*bounded, b.name+" was undone")
			}()
			s.expect(t, b)
		})
		if !ok && len(s.probe(t).red()) > 0 {
			t.Fatalf("the stack is still broken after %s", b.name)
		}
	}
}

// expect probes until the report is what it should be. Nothing tells when the
// last old process has gone after a reload, and a busy host answers late: a
// report that is wrong gets a second and a third chance, with more time.
func (s *Stack) expect(t *testing.T, b breakage) {
	t.Helper()
	wait := cmp.Or(b.wait, "30s")
	var wrong []string
	for _, wait := range []string{wait, "30s", "50s"} {
		r := s.run(t, "probe", "--format", "json", "--timeout", wait, "--retries", "0")
		if wrong = b.differences(t, r); wrong == nil {
			break
		}
		t.Logf("after %v:\n%s", r.took, strings.Join(wrong, "\n"))
	}
	for _, w := range wrong {
		t.Error(w)
	}
	if b.lines == 0 {
		return
	}
	text := s.run(t, "probe", "--timeout", wait, "--retries", "0").stdout
	if n := strings.Count(text, "\n"); n > b.lines {
		t.Errorf("the report for people has %d lines, more than %d:\n%s", n, b.lines, text)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "hint: ") && strings.Count(text, line) > 1 {
			t.Errorf("the report for people repeats %q", line)
		}
	}
}

// differences compares a report with what is expected of it.
func (b breakage) differences(t *testing.T, r result) (wrong []string) {
	t.Helper()
	var report struct {
		Checks []struct{ Name, Status, Reason, Hint string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Checks) == 0 {
		t.Fatalf("probe: %v: %v", err, r)
	}
	want := map[string]finding{}
	for names, f := range b.want {
		for _, name := range strings.Fields(names) {
			want[name] = f
		}
	}
	for _, c := range report.Checks {
		f, expected := want[c.Name]
		delete(want, c.Name)
		switch {
		case expected && c.Status == f.status && strings.Contains(c.Reason, f.reason) && strings.Contains(c.Hint, f.hint):
		case expected:
			wrong = append(wrong, fmt.Sprintf("%s is %s: %q, hint %q, want %s", c.Name, c.Status, c.Reason, c.Hint, f))
		case c.Status == "ok" || slices.Contains(strings.Fields(b.may), c.Name) || c.Status == "warning" && onlySlow(c.Reason):
		default:
			wrong = append(wrong, fmt.Sprintf("%s is %s: %q, and has nothing to do with it", c.Name, c.Status, c.Reason))
		}
	}
	for name := range want {
		wrong = append(wrong, "there is no check "+name)
	}
	return wrong
}

func (f finding) String() string {
	return fmt.Sprintf("%s: …%s…, hint …%s…", f.status, f.reason, f.hint)
}

// onlySlow says whether a reason is about this host, which other tests use too.
func onlySlow(reason string) bool {
	for part := range strings.SplitSeq(reason, "; ") {
		if !strings.Contains(part, "slow: took") && !strings.Contains(part, "message late: took") {
			return false
		}
	}
	return true
}

// byUp mends by `mailstack up`.
func byUp(t *testing.T, s *Stack) func() {
	return func() { s.up(t, "--no-probe") }
}

// edited changes a service's configuration by hand, old and new text by turns,
// and tells the service.
func edited(service, file string, changes ...string) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		t.Helper()
		path := filepath.Join(s.data(), "run", service, "config", file)
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		now := string(was)
		for pair := range slices.Chunk(changes, 2) {
			if !strings.Contains(now, pair[0]) {
				t.Fatalf("%s has no %q", path, pair[0])
			}
			now = strings.ReplaceAll(now, pair[0], pair[1])
		}
		s.overwrite(t, path, now)
		s.reload(t, service)
		return func() {
			s.overwrite(t, path, string(was))
			s.reload(t, service)
		}
	}
}

// overwrite keeps a file's owner and mode.
func (s *Stack) overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Stack) reload(t *testing.T, service string) {
	t.Helper()
	if out, code := s.exec(t, service, "mailstack-reload"); code != 0 {
		t.Fatalf("reload %s: %s", service, out)
	}
}

// allOf breaks in several ways at once.
func allOf(all ...func(t *testing.T, s *Stack) func()) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		t.Helper()
		var mends []func()
		for _, do := range all {
			mends = append(mends, do(t, s))
		}
		return func() {
			for _, mend := range slices.Backward(mends) {
				mend()
			}
		}
	}
}
