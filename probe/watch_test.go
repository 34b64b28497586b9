package probe

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestScreen(t *testing.T) {
	t.Parallel()
	var h History
	if got := strings.Join(h.Screen("home", TextOptions{}, 80, 24), "\n"); !strings.Contains(got, "first run is under way") {
		t.Errorf("before the first run: %q", got)
	}
	at := func(took time.Duration, err error) Report {
		var results []Result
		for i := range 30 {
			results = append(results, newResult(fmt.Sprintf("check%d", i), nil, nil, took))
		}
		results[29] = newResult("imap", err, nil, took)
		return newReport("home", results, took)
	}
	h.Add(at(8e8, nil), time.Now())
	h.Add(at(1e8, failf(KindRefused, "")), time.Now())
	h.Add(at(4e8, nil), time.Now())
	got := strings.Join(h.Screen("home", TextOptions{}, 80, 60), "\n")
	for _, want := range []string{"home\n", "✓ imap     0.400 s  █×▄\n", "✓ check0   0.400 s  █▁▄\n", "all 30 checks passed"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	h.Add(at(1e8, failf(KindRefused, "%s", strings.Repeat("long ", 30))), time.Now())
	for _, size := range [][2]int{{40, 10}, {20, 3}, {1, 1}, {200, 100}} {
		lines := h.Screen("a heading that is long", TextOptions{}, size[0], size[1])
		if len(lines) > size[1] {
			t.Errorf("%d lines for a height of %d", len(lines), size[1])
		}
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n > max(size[0], 2) {
				t.Errorf("%d columns for a width of %d: %q", n, size[0], l)
			}
		}
	}
	if got := strings.Join(h.Screen("x", TextOptions{}, 40, 10), "\n"); !strings.Contains(got, "✗ imap") || !strings.Contains(got, "connection refused") {
		t.Errorf("what failed has no room:\n%s", got)
	}
	var long History
	long.Add(newReport("x", []Result{newResult("sockets.postfix.dovecot/quota-status", nil, nil, 2e8)}, 2e8), time.Now())
	if got := long.Screen("x", TextOptions{}, 40, 10)[2]; got != "✓ sockets.postfix.dovecot/…  0.200 s  █" {
		t.Errorf("a long name leaves no room for the time: %q", got)
	}
	for range 2 * historyLength {
		h.Add(at(1e8, nil), time.Now())
	}
	if n := len(h.rows["imap"]); n != historyLength {
		t.Errorf("%d runs are kept", n)
	}
}
