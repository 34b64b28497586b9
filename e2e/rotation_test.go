package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/dkim"
)

// rotating is a stack that signs, with a domain whose name server is the test's.
type rotating struct {
	*Stack
	ns                     *nameServer
	domain, user, password string
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	r := &rotating{Stack: newStack(t, "")}
	r.domain = r.name + ".test"
	r.ns = startKnot(t, "", zoneFile{name: r.domain}, zoneFile{name: "test"})
	r.set(t, "tls.acme_dns_resolvers", fmt.Sprintf("[%q]", r.ns.ip))
	r.upGreen(t)
	r.mustRun(t, "domain", "add", r.domain)
	r.user = "signer@" + r.domain
	r.password = r.accountNamed(t, r.user)
	return r
}

// states are the domain's selectors and their states, the newest first.
func (r *rotating) states(t *testing.T) string {
	t.Helper()
	var all []string
	for _, k := range r.signingKeys(t, r.domain) {
		all = append(all, k.Type+" "+k.State)
	}
	return strings.Join(all, ", ")
}

// publish serves the records of the keys in some states.
func (r *rotating) publish(t *testing.T, states ...string) {
	t.Helper()
	var lines strings.Builder
	for _, k := range r.signingKeys(t, r.domain) {
		if strings.Contains(strings.Join(states, " ")+" ", k.State+" ") {
			fmt.Fprintf(&lines, "%s. TXT", k.Name)
			for text := k.Value; text != ""; text = text[min(250, len(text)):] {
				fmt.Fprintf(&lines, " %q", text[:min(250, len(text))])
			}
			lines.WriteString("\n")
		}
	}
	r.ns.change(t, zoneFile{name: r.domain, records: lines.String()})
}

// signs checks that mail is signed with the keys in a state, and with no others.
func (r *rotating) signs(t *testing.T, when, state string) {
	t.Helper()
	subject := "signed " + randomHex(4)
	if err := r.submit(t, r.user, r.password, r.user, []string{r.user}, message(r.user, r.user, subject, "Hello.")); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	var keys []signingKey
	for _, k := range r.signingKeys(t, r.domain) {
		if k.State == state {
			keys = append(keys, k)
		}
	}
	got := r.waitMail(t, r.user, r.password, "INBOX", subject)
	if types, failures := verified(t, got, keys); fmt.Sprint(types) != "[ed25519 rsa]" || len(failures) > 0 {
		t.Errorf("%s: by keys that are %s: %v, others: %v, of\n%s", when, state, types, failures, got)
	}
}

// change is what somebody else, or the time, has made of the domain's keys.
func (r *rotating) change(t *testing.T, how func(d *dkim.Domain) error) {
	t.Helper()
	path := filepath.Join(r.layout().SigningDir(), r.domain+".json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := dkim.Unmarshal(r.domain, data)
	if err == nil {
		err = how(&d)
	}
	if err == nil {
		data, err = d.Marshal()
	}
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// age puts the days of all keys back.
func (r *rotating) age(t *testing.T, by time.Duration) {
	t.Helper()
	r.change(t, func(d *dkim.Domain) error {
		for i := range d.Keys {
			d.Keys[i].Changed = d.Keys[i].Changed.Add(-by)
		}
		return nil
	})
}

// A rotation: new keys sign when every name server has their records and not before,
// whatever is killed meanwhile; old ones stay known until their mail has arrived; and
// what is to be done in the DNS is said at each step.
func TestRotation(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	r.publish(t, "active")
	if out := r.mustRun(t, "dkim", "rotate", r.domain); strings.Count(out, "  publish ") != 2 || strings.Count(out, "not there yet") != 2 {
		t.Errorf("a rotation begins with\n%s", out)
	}
	const begun = "rsa next, ed25519 next, rsa active, ed25519 active"
	for _, args := range [][]string{nil, {"--again"}, {"--wait", "1ms"}} {
		got := r.run(t, append([]string{"dkim", "rotate"}, args...)...)
		want := map[bool]int{true: 1, false: 0}[len(args) == 2]
		if states := r.states(t); states != begun || got.code != want {
			t.Errorf("rotate %v, not published: %s, %v", args, states, got)
		}
	}
	r.signs(t, "not published", "active")
	if out := r.mustRun(t, "dns", "show", r.domain); strings.Count(out, "the key that follows: it signs when") != 2 {
		t.Errorf("dns show:\n%s", out)
	}

	r.testKilled(t)
	r.publish(t, "active", "next")
	if out := r.mustRun(t, "dkim", "rotate", r.domain, "--wait", "30s"); strings.Count(out, "  keep ") != 2 || strings.Contains(out, "  publish ") {
		t.Errorf("published: %s", out)
	}
	const switched = "rsa active, ed25519 active, rsa retiring, ed25519 retiring"
	if states := r.states(t); states != switched {
		t.Fatalf("published: %s", states)
	}
	r.signs(t, "published", "active")
	if out := r.mustRun(t, "dkim", "rotate"); r.states(t) != switched || strings.Contains(out, "  remove ") {
		t.Errorf("rotate at the end of a rotation: %s\n%s", r.states(t), out)
	}
	if out := r.mustRun(t, "dns", "show", r.domain); strings.Count(out, "still needed until ") != 2 {
		t.Errorf("dns show:\n%s", out)
	}
	if got := r.run(t, "plan", "--exit-code"); got.code != 0 {
		t.Errorf("up would do something: %v", got)
	}
	r.publish(t, "active")
	if got := r.run(t, "dns", "check", r.domain, "--server", r.ns.ip); strings.Count(got.stdout, "still needed until ") != 2 {
		t.Errorf("dns check without the records of retiring keys: %v", got)
	}
}

// testKilled: a rotation that waits is killed again and again, and once between its
// decision and the signer's.
func (r *rotating) testKilled(t *testing.T) {
	t.Helper()
	for i := range 6 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(40+90*i)*time.Millisecond)
		cmd := exec.CommandContext(ctx, os.Getenv(binaryVar), "--config", r.config(), "dkim", "rotate", "--wait", "1m") // killed: SIGKILL
		if err := cmd.Run(); !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("rotate, while nothing is published: %v", err)
		}
		cancel()
	}
	if states := r.states(t); states != "rsa next, ed25519 next, rsa active, ed25519 active" {
		t.Errorf("killed: %s", states)
	}
	var before dkim.Domain
	r.change(t, func(d *dkim.Domain) error {
		before = dkim.Domain{Name: d.Name, Keys: append([]dkim.Key(nil), d.Keys...)}
		return d.Switch(time.Now())
	})
	r.mustRun(t, "dkim", "rotate")
	r.signs(t, "killed before the signer had the keys", "active")
	r.change(t, func(d *dkim.Domain) error { *d = before; return nil })
	r.mustRun(t, "dkim", "rotate")
	r.signs(t, "all as before", "active")
}

// Maintenance does without a hand what is to be done about keys: it makes them, lets
// them sign when their records are there, and ends the time of old ones.
func TestRotationByMaintenance(t *testing.T) {
	t.Parallel()
	r := newRotating(t)
	step := func(want, states string) {
		t.Helper()
		got := r.run(t, "maintain")
		line, _, _ := strings.Cut(got.stdout[strings.Index(got.stdout+"\nsigning ", "\nsigning ")+1:], "\n")
		if !strings.Contains(line, want) || r.states(t) != states {
			t.Fatalf("maintain says %q and not %q, keys %s: %v", line, want, r.states(t), got)
		}
	}
	step("nothing to do", "rsa active, ed25519 active")
	if err := os.Remove(filepath.Join(r.layout().SigningDir(), r.domain+".json")); err != nil {
		t.Fatal(err)
	}
	step("no keys yet for "+r.domain, "rsa active, ed25519 active")
	r.signs(t, "made by maintenance", "active")

	r.mustRun(t, "dkim", "rotate", r.domain)
	const begun = "rsa next, ed25519 next, rsa active, ed25519 active"
	step(r.domain+" waits for the record of rsa-", begun)
	r.publish(t, "active")
	step("not there yet", begun)
	r.publish(t, "active", "next")
	step(r.domain+" signs with rsa-", "rsa active, ed25519 active, rsa retiring, ed25519 retiring")
	r.signs(t, "published", "active")
	step("nothing to do", "rsa active, ed25519 active, rsa retiring, ed25519 retiring")

	r.age(t, dkim.Overlap)
	const retired = "rsa active, ed25519 active, rsa retired, ed25519 retired"
	step(r.domain+" no longer needs the records of rsa-", retired)
	step("nothing to do", retired)
	if out := r.mustRun(t, "dns", "show", r.domain); strings.Count(out, "may be removed, nobody needs it any more") != 2 {
		t.Errorf("dns show:\n%s", out)
	}
	if data, err := os.ReadFile(filepath.Join(r.layout().SigningDir(), r.domain+".json")); err != nil || strings.Count(string(data), "BEGIN PRIVATE KEY") != 2 {
		t.Errorf("retired keys are kept whole: %v", err)
	}
	r.publish(t, "active")
	step("has no record of rsa-", "rsa active, ed25519 active")
}
