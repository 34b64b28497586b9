package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// proven is a fresh store with a certificate that is served.
func proven(t *testing.T, change func(*Store)) (Store, State) {
	t.Helper()
	s := local(filepath.Join(t.TempDir(), "ca"), example)
	if change != nil {
		change(&s)
	}
	return s, mustSettle(t, s, start, IfDue)
}

func mustSettle(t *testing.T, s Store, now time.Time, ask Ask) State {
	t.Helper()
	state, err := settled(t.Context(), s, now, ask)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func mustRenew(t *testing.T, s Store, now time.Time, ask Ask) State {
	t.Helper()
	state, err := s.Renew(t.Context(), now, ask)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func newestLeaf(t *testing.T, s Store) string {
	t.Helper()
	set, err := s.Newest()
	if err != nil {
		t.Fatal(err)
	}
	return fingerprint(set.leaf())
}

// A new certificate waits until it is proven to be served, and is not made a
// second time meanwhile: a public CA counts.
func TestPendingUntilCommitted(t *testing.T) {
	s, first := proven(t, nil)
	waiting := mustRenew(t, s, start, Anyway)
	if waiting.Leaf.Fingerprint != first.Leaf.Fingerprint || waiting.Pending == nil || waiting.Renewed != "asked for" {
		t.Fatalf("leaf %v, pending %v, renewed %q", waiting.Leaf, waiting.Pending, waiting.Renewed)
	}
	if !s.Pending() || newestLeaf(t, s) != waiting.Pending.Fingerprint {
		t.Error("the new one is not what is to be served")
	}
	if due, cause := waiting.Due(); !due || cause != "a new one is not served yet" {
		t.Errorf("Due = %v, %q", due, cause)
	}
	if again := mustRenew(t, s, start, IfDue); again.Pending.Fingerprint != waiting.Pending.Fingerprint {
		t.Error("another one was made")
	}
	served, err := s.Served()
	if err != nil || fingerprint(served.leaf()) != first.Leaf.Fingerprint {
		t.Errorf("nothing to fall back to: %v", err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	state, _ := s.Inspect(start)
	if state.Leaf.Fingerprint != waiting.Pending.Fingerprint || state.Pending != nil || s.Pending() {
		t.Errorf("committed: %+v", state)
	}
	if due, cause := state.Due(); due {
		t.Error(cause)
	}
	if err := s.Commit(); err != nil {
		t.Errorf("a second commit: %v", err)
	}
}

// Where the certificate that is served has ended there is nothing to fall back to.
func TestNothingToFallBackTo(t *testing.T) {
	s, first := proven(t, nil)
	state := mustRenew(t, s, start.Add(91*day), IfDue)
	if state.Pending != nil || state.Leaf.Fingerprint == first.Leaf.Fingerprint {
		t.Errorf("pending %v", state.Pending)
	}
}

// source counts what it is asked for, and fails when it is told to.
type source struct {
	Source
	mode string
	fail error
	at   time.Time

	blocked Problems
	asked   [][]Pin
}

func (s *source) Status(names Names, current *x509.Certificate, now time.Time) SourceStatus {
	status := s.Source.Status(names, nil, now)
	status.Mode, status.Stale, status.RenewAt = s.mode, "", s.at
	status.Problems = append(status.Problems, s.blocked...)
	return status
}

func (s *source) Obtain(ctx context.Context, names Names, keys []crypto.Signer, now time.Time) ([]Pair, error) {
	var pins []Pin
	for _, key := range keys {
		pins = append(pins, newPin(key.Public()))
	}
	s.asked = append(s.asked, pins)
	if s.fail != nil {
		return nil, s.fail
	}
	return s.Source.Obtain(ctx, names, keys, now)
}

// What a CA was asked for in vain it is asked for with the same key.
func TestSourceFails(t *testing.T) {
	s, first := proven(t, nil)
	src := &source{Source: s.Source, mode: "acme", fail: errors.New("too many certificates")}
	s.Source = src
	for range 2 {
		state, err := s.Renew(t.Context(), start, IfDue)
		if err == nil || err.Error() != "obtain certificate: too many certificates" || state.Leaf.Fingerprint != first.Leaf.Fingerprint {
			t.Fatalf("%v", err)
		}
	}
	if !slices.Equal(src.asked[0], src.asked[1]) || !slices.Equal(src.asked[0], first.NextKeys) {
		t.Errorf("asked for %v, next %v", src.asked, first.NextKeys)
	}
	src.fail = nil
	if state := mustSettle(t, s, start, IfDue); state.Renewed != `it is of the mode "self-signed", and "acme" is wanted` || state.Mode != "acme" {
		t.Errorf("mode %q, renewed %q", state.Mode, state.Renewed)
	}
}

// A source that does not give anything at first keeps nothing from running.
func TestStandIn(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		src := &source{Source: LocalCA(filepath.Join(t.TempDir(), "elsewhere")), mode: "acme", fail: errors.New("not now")}
		s := Store{Dir: filepath.Join(t.TempDir(), "ca"), Source: src, Names: example, Reuse: reuse}
		try := func(now time.Time) State {
			t.Helper()
			state, err := s.Renew(t.Context(), now, IfDue)
			if err == nil || err.Error() != "obtain certificate: not now" {
				t.Fatalf("error %v", err)
			}
			if due, cause := state.Due(); !due || cause != `it is of the mode "self-signed", and "acme" is wanted` {
				t.Errorf("Due = %v, %q", due, cause)
			}
			if !state.StandIn || !state.Usable(now) {
				t.Errorf("stand-in %v, usable %v", state.StandIn, state.Usable(now))
			}
			return state
		}
		first := try(start)
		if again := try(start); again.Leaf.Fingerprint != first.Leaf.Fingerprint {
			t.Error("a second stand-in although the first is good")
		}
		if later := try(start.Add(91 * day)); later.Leaf.Fingerprint == first.Leaf.Fingerprint {
			t.Error("no other stand-in although the first has ended")
		}
		if !slices.Equal(src.asked[0], src.asked[1]) {
			t.Errorf("reuse %v: asked for the keys %v, then for %v", reuse, src.asked[0], src.asked[1])
		}
		src.fail = nil
		state := mustSettle(t, s, start.Add(91*day), IfDue)
		if state.StandIn || state.Mode != "acme" || state.Renewed == "" {
			t.Errorf("after the source gave one: stand-in %v, %+v", state.StandIn, state)
		}
		// From now on what is there is better than a stand-in.
		src.fail = errors.New("not now")
		if _, err := s.Renew(t.Context(), start.Add(155*day), IfDue); err == nil {
			t.Error("not due")
		}
		if kept, _ := s.Inspect(start.Add(155 * day)); kept.Leaf.Fingerprint != state.Leaf.Fingerprint {
			t.Error("a good certificate was replaced by a stand-in")
		}
	}
}

// Nor does a source that a person has to mend first.
func TestStandInWhileBlocked(t *testing.T) {
	src := &source{Source: LocalCA(filepath.Join(t.TempDir(), "elsewhere")), mode: "acme", blocked: Problems{{"dns.env", "does not exist", "Write it."}}}
	s := Store{Dir: filepath.Join(t.TempDir(), "ca"), Source: src, Names: example}
	state, err := s.Renew(t.Context(), start, IfDue)
	var problems Problems
	if !errors.As(err, &problems) || !state.StandIn || !state.Usable(start) || len(src.asked) > 0 {
		t.Fatalf("%v, stand-in %v, asked %d times", err, state.StandIn, len(src.asked))
	}
	if _, err := s.Renew(t.Context(), start, IfDue); err == nil {
		t.Error("the problem is told once only")
	}
	src.blocked = nil
	if state := mustSettle(t, s, start, IfDue); state.StandIn {
		t.Error("still a stand-in")
	}
}

// A run that is being ended makes no stand-in.
func TestNoStandInWhenCutOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	src := &source{Source: LocalCA(filepath.Join(t.TempDir(), "elsewhere")), mode: "acme", fail: context.Canceled}
	s := Store{Dir: filepath.Join(t.TempDir(), "ca"), Source: src, Names: example}
	if state, err := s.Renew(ctx, start, IfDue); err == nil || state.Leaf != nil {
		t.Errorf("%v, %v", state.Leaf, err)
	}
}

// A source may know better than a third of a life.
func TestSourceKnowsWhen(t *testing.T) {
	s, _ := proven(t, nil)
	src := &source{Source: s.Source, mode: selfSigned}
	s.Source = src
	for _, test := range []struct {
		at, now int // days
		due     bool
	}{
		{0, 59, false}, {0, 61, true}, {70, 61, false}, {70, 71, true}, {99, 71, false}, {99, 76, true}, {10, 30, false},
	} {
		src.at = time.Time{}
		if test.at > 0 {
			src.at = start.Add(time.Duration(test.at) * day)
		}
		state, err := s.Inspect(start.Add(time.Duration(test.now) * day))
		if due, cause := state.Due(); err != nil || due != test.due {
			t.Errorf("renewal at day %d, on day %d: %v %q %v", test.at, test.now, due, cause, err)
		}
	}
}

// Whoever goes back to the mode that is served is asked for nothing.
func TestModeIsSwitchedBackBeforeItWasServed(t *testing.T) {
	s, first := proven(t, nil)
	other := s
	other.Source = &source{Source: s.Source, mode: "acme"}
	if state := mustRenew(t, other, start, IfDue); state.Pending == nil {
		t.Fatal("nothing pending")
	}
	state := mustRenew(t, s, start, IfDue)
	if state.Pending != nil || state.Leaf.Fingerprint != first.Leaf.Fingerprint || s.Pending() {
		t.Errorf("pending %v", state.Pending)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, PendingFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A set from before there were modes.
func TestSetWithoutComments(t *testing.T) {
	s, first := proven(t, nil)
	content, err := os.ReadFile(first.File)
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.ReplaceAll(string(content), fromLine+selfSigned+"\n", "")
	if err := os.WriteFile(first.File, []byte(plain), 0o600); err != nil {
		t.Fatal(err)
	}
	state, _ := s.Inspect(start)
	if due, cause := state.Due(); due {
		t.Error(cause)
	}
}

func TestAuthorityRollsOver(t *testing.T) {
	s, first := proven(t, nil)
	bundle := func() []string {
		t.Helper()
		var prints []string
		for _, c := range certificates(t, filepath.Join(s.Dir, AuthorityFile)) {
			prints = append(prints, fingerprint(c))
		}
		return prints
	}
	end := first.Authority.NotAfter

	early := mustSettle(t, s, end.Add(-authorityAhead-day), IfDue)
	if early.NextAuthority != nil || len(bundle()) != 1 {
		t.Error("made too early")
	}
	both := mustSettle(t, s, end.Add(-authorityAhead+day), Anyway)
	if both.NextAuthority == nil || both.Authority.Fingerprint != first.Authority.Fingerprint {
		t.Fatal("no next CA two years before the end")
	}
	if got := bundle(); !slices.Equal(got, []string{first.Authority.Fingerprint, both.NextAuthority.Fingerprint}) {
		t.Errorf("bundle %v", got)
	}
	if len(both.Warnings) != 1 || !strings.Contains(both.Warnings[0], "a new CA signs: give devices what") {
		t.Errorf("warnings %q", both.Warnings)
	}
	later := mustSettle(t, s, end.Add(-authorityAhead+authorityOverlap-day), Anyway)
	if later.Authority.Fingerprint != first.Authority.Fingerprint {
		t.Error("the next CA signed before the overlap's end")
	}
	after := mustSettle(t, s, end.Add(-authorityAhead+authorityOverlap+2*day), Anyway)
	if after.Authority.Fingerprint != both.NextAuthority.Fingerprint || after.NextAuthority != nil {
		t.Error("the next CA does not sign after the overlap")
	}
	if got := bundle(); !slices.Equal(got, []string{both.NextAuthority.Fingerprint}) {
		t.Errorf("bundle %v", got)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "ca-"+first.Authority.Fingerprint[:16]+".key")); err != nil {
		t.Errorf("the CA before was not kept: %v", err)
	}
}
