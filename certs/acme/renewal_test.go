package acme

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mailstack/certs/acme/pebble"
)

// window is the body of an answer of RFC 9773.
func window(start, end time.Time, url string) string {
	return fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q},"explanationURL":%q}`, start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339), url)
}

// TestRenewalWindow: the authority says when, and its answer is kept as long as
// it wants.
func TestRenewalWindow(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	leaf := obtain(t, cfg, example, newKey(t))[0]
	now := time.Now()
	refresh := func(at time.Time) {
		t.Helper()
		if err := New(cfg).Refresh(t.Context(), leaf, at); err != nil {
			t.Fatal(err)
		}
	}
	look := func(at time.Time) (stale string, renewAt time.Time) {
		status := New(cfg).Status(example, leaf, at)
		return status.Stale, status.RenewAt
	}
	if stale, at := look(now); stale != "" || !at.IsZero() {
		t.Errorf("before anybody was asked: %q, %v", stale, at)
	}

	refresh(now)
	stale, chosen := look(now)
	third := leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
	if stale != "" || chosen.Before(third.Add(-48*time.Hour)) || chosen.After(third) {
		t.Errorf("stale %q, renew at %v, a third is left at %v", stale, chosen, third)
	}
	// Its Retry-After is six hours: no request before, and no second choice after.
	requests := ca.Front.Requests("")
	refresh(now.Add(5 * time.Hour))
	if n := ca.Front.Requests("") - requests; n > 0 {
		t.Errorf("%d requests although it is too early", n)
	}
	refresh(now.Add(7 * time.Hour))
	if _, again := look(now); !again.Equal(chosen) || ca.Front.Requests(pebble.RenewalInfo) != 2 {
		t.Errorf("chosen %v, then %v, with %d requests", chosen, again, ca.Front.Requests(pebble.RenewalInfo))
	}

	// Something happened, and all certificates must go.
	ca.Advise(t, leaf, window(now.Add(-time.Hour), now.Add(-time.Minute), "https://ca.example/incident"))
	refresh(now.Add(14 * time.Hour))
	stale, _ = look(now.Add(14 * time.Hour))
	if !strings.HasPrefix(stale, "the authority advises to renew between ") || !strings.Contains(stale, "https://ca.example/incident") {
		t.Errorf("stale %q", stale)
	}
	next := obtain(t, cfg, example, newKey(t))[0]
	if stale, at := New(cfg).Status(example, next, now).Stale, New(cfg).Status(example, next, now).RenewAt; stale != "" || !at.IsZero() {
		t.Errorf("the advice for the old certificate is taken for the new one: %q, %v", stale, at)
	}
}

// TestRenewalWindowChosenBeforeNextRun: whoever runs daily renews in the last
// run before the chosen time.
func TestRenewalWindowChosenBeforeNextRun(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	leaf := obtain(t, cfg, example, newKey(t))[0]
	now := time.Now()
	ca.Advise(t, leaf, window(now.Add(40*time.Hour), now.Add(41*time.Hour), ""))
	if err := New(cfg).Refresh(t.Context(), leaf, now); err != nil {
		t.Fatal(err)
	}
	for hours, want := range map[int]bool{0: false, 15: false, 18: true, 42: true} {
		if got := New(cfg).Status(example, leaf, now.Add(time.Duration(hours)*time.Hour)).Stale != ""; got != want {
			t.Errorf("after %d hours: due %v, want %v", hours, got, want)
		}
	}
}

// TestRenewalInfoFails: what cannot be understood changes nothing, and is asked
// for again in six hours.
func TestRenewalInfoFails(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	leaf := obtain(t, cfg, example, newKey(t))[0]
	now := time.Now()
	ca.Advise(t, leaf, window(now.Add(1000*time.Hour), now.Add(1001*time.Hour), ""))
	if err := New(cfg).Refresh(t.Context(), leaf, now); err != nil {
		t.Fatal(err)
	}
	_, before := New(cfg).Status(example, leaf, now).Stale, New(cfg).Status(example, leaf, now).RenewAt
	for i, answer := range []string{"not json", window(now.Add(2*time.Hour), now, ""), "{}"} {
		at := now.Add(time.Duration(i+1) * 24 * time.Hour)
		ca.Advise(t, leaf, answer)
		if err := New(cfg).Refresh(t.Context(), leaf, at); err == nil {
			t.Errorf("%s: no error", answer)
		}
		if after := New(cfg).Status(example, leaf, now).RenewAt; !after.Equal(before) {
			t.Errorf("%s: renew at %v, want %v", answer, after, before)
		}
		requests := ca.Front.Requests("")
		if err := New(cfg).Refresh(t.Context(), leaf, at.Add(5*time.Hour)); err != nil || ca.Front.Requests("") != requests {
			t.Errorf("%s: asked again too early (%v)", answer, err)
		}
	}
	// An authority that is away, and one that has no such service.
	ca.Front.Intercept(func(w http.ResponseWriter, _ *http.Request, _ string, _ http.HandlerFunc) { pebble.HangUp(w) })
	if err := New(cfg).Refresh(t.Context(), leaf, now.Add(200*time.Hour)); err == nil {
		t.Error("no error from an authority that is away")
	}
	foreign := &x509.Certificate{Raw: []byte("another authority's")}
	if err := New(cfg).Refresh(t.Context(), foreign, now.Add(300*time.Hour)); err != nil {
		t.Errorf("a certificate that is not the authority's: %v", err)
	}
}
