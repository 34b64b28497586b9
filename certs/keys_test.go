package certs

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNextKeyIsMadeAheadOfTime(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		s, first := proven(t, func(s *Store) { s.Reuse = reuse })
		if len(first.Keys) != 1 || len(first.NextKeys) != 1 || first.Keys[0] == first.NextKeys[0] {
			t.Fatalf("keys %v, next %v", first.Keys, first.NextKeys)
		}
		want, next := first.NextKeys, []Pin(nil)
		if reuse {
			want, next = first.Keys, first.NextKeys
		}
		second := mustSettle(t, s, start, Anyway)
		if !slices.Equal(second.Keys, want) || second.Leaf.Fingerprint == first.Leaf.Fingerprint {
			t.Errorf("reuse %v: keys %v, want %v", reuse, second.Keys, want)
		}
		if reuse && !slices.Equal(second.NextKeys, next) {
			t.Errorf("the next key that was published changed: %v, want %v", second.NextKeys, next)
		}
		third := mustSettle(t, s, start, Rollover)
		if !slices.Equal(third.Keys, second.NextKeys) {
			t.Errorf("reuse %v: rolled over to %v, want %v", reuse, third.Keys, second.NextKeys)
		}
		if slices.Contains(third.NextKeys, third.Keys[0]) || len(third.NextKeys) != 1 {
			t.Errorf("next keys %v", third.NextKeys)
		}
	}
}

func TestTwin(t *testing.T) {
	s, first := proven(t, func(s *Store) { s.Twin = true })
	set, err := s.Served()
	if err != nil || len(set.Main) != 2 || set.Main[0].Kind() != "ecdsa" || set.Main[1].Kind() != "rsa" {
		t.Fatalf("%v", err)
	}
	if first.Twin == nil || !slices.Equal(first.Twin.Names, first.Leaf.Names) || len(first.NextKeys) != 2 {
		t.Errorf("twin %v, next %v", first.Twin, first.NextKeys)
	}
}

// A wish for other keys makes these ahead of time and changes nothing that is
// served: the records of the new keys can be published first. The next renewal
// takes them; where keys are reused, the one that says so.
func TestOtherKeysAreMadeAheadOfTime(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		s, _ := proven(t, func(s *Store) { s.Reuse = reuse })
		ask, command := Anyway, "`mailstack cert renew` changes it"
		if reuse {
			ask, command = Rollover, "`mailstack cert renew --rollover` changes it"
		}
		for _, step := range []struct {
			key  string
			twin bool
			want string
		}{{"rsa", false, "rsa"}, {"ecdsa", true, "ecdsa rsa"}, {"ecdsa", false, "ecdsa"}} {
			before, err := s.Inspect(start)
			if err != nil || before.NextMissing {
				t.Fatalf("next keys missing %v, %v", before.NextMissing, err)
			}
			s.Key, s.Twin = step.key, step.twin
			missing, _ := s.Inspect(start)
			if due, _ := missing.Due(); due != missing.NextMissing || !due && kindsOf(missing.NextKeys) != step.want {
				t.Errorf("%s: due %v, next %v", step.want, due, missing.NextKeys)
			}
			announced := mustSettle(t, s, start, IfDue)
			if !slices.Equal(announced.Keys, before.Keys) || announced.Leaf.Fingerprint != before.Leaf.Fingerprint || announced.Renewed != "" {
				t.Errorf("%s: served are %v, were %v; renewed %q", step.want, announced.Keys, before.Keys, announced.Renewed)
			}
			if due, cause := announced.Due(); due || kindsOf(announced.NextKeys) != step.want {
				t.Errorf("%s: due %q, next %v", step.want, cause, announced.NextKeys)
			}
			if len(announced.Warnings) != 1 || !strings.Contains(announced.Warnings[0], command) {
				t.Errorf("%s: warnings %q", step.want, announced.Warnings)
			}
			if kept := mustSettle(t, s, start, Anyway); reuse && !slices.Equal(kept.Keys, before.Keys) {
				t.Errorf("%s: reused are %v, were %v", step.want, kept.Keys, before.Keys)
			} else if !reuse && !slices.Equal(kept.Keys, announced.NextKeys) {
				t.Errorf("%s: served are %v, announced %v", step.want, kept.Keys, announced.NextKeys)
			}
			taken := mustSettle(t, s, start, ask)
			if kindsOf(taken.Keys) != step.want || len(taken.Warnings) > 0 || reuse && !slices.Equal(taken.Keys, announced.NextKeys) {
				t.Errorf("%s: served are %v, announced %v, warnings %q", step.want, taken.Keys, announced.NextKeys, taken.Warnings)
			}
		}
	}
}

func kindsOf(pins []Pin) string {
	var kinds []string
	for _, p := range pins {
		kinds = append(kinds, p.Kind)
	}
	return strings.Join(kinds, " ")
}

// A key for the next certificate that was lost is made again without a renewal.
func TestNextKeyIsLost(t *testing.T) {
	s, first := proven(t, nil)
	remove(t, filepath.Join(s.Dir, NextKeyFile))
	state, _ := s.Inspect(start)
	if due, cause := state.Due(); !due || cause != "next keys are wanted: ecdsa" || !state.NextMissing {
		t.Errorf("Due = %v, %q", due, cause)
	}
	state = mustSettle(t, s, start, IfDue)
	if state.NextMissing || len(state.NextKeys) != 1 || state.Leaf.Fingerprint != first.Leaf.Fingerprint {
		t.Errorf("next %v, leaf %s", state.NextKeys, state.Leaf.Fingerprint)
	}
}
