package stack

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHeldBack(t *testing.T) {
	since, until := time.Unix(1000, 0).UTC(), time.Unix(2800, 0).UTC()
	for line, want := range map[string]HeldBack{
		"alice@example.org 1000 2800 7":     {Account: "alice@example.org", Since: since, Until: until, Refused: 7},
		"192.0.2.7 1000 2800 7":             {Address: "192.0.2.7", Since: since, Until: until, Refused: 7},
		"2001:db8:0:0::/64 1000 2800 7":     {Address: "2001:db8::/64", Since: since, Until: until, Refused: 7},
		"2001:db8:a:b::/64 1000 2800 7":     {Address: "2001:db8:a:b::/64", Since: since, Until: until, Refused: 7},
		"%n@[2001:db8::1].x 1000 2800 7000": {Account: "%n@[2001:db8::1].x", Since: since, Until: until, Refused: 7000},
	} {
		got, err := parseHeldBack(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
	for _, line := range []string{"", "alice@example.org", "alice@example.org 1 2 3 4", "alice@example.org 1 2 x"} {
		if got, err := parseHeldBack(line); err == nil {
			t.Errorf("%q is %+v", line, got)
		}
	}
}

// What status shows is what unban takes.
func TestGuessesName(t *testing.T) {
	for given, want := range map[string]string{
		"Alice@Example.org":     "alice@example.org",
		"192.0.2.7":             "192.0.2.7",
		"::ffff:192.0.2.7":      "192.0.2.7",
		"2001:db8::1":           "2001:db8:0:0::/64",
		"2001:db8::/64":         "2001:db8:0:0::/64",
		"2001:db8:a:b:1:2:3:4":  "2001:db8:a:b::/64",
		"2001:0db8:000a:b::/64": "2001:db8:a:b::/64",
	} {
		if got := guessesName(given); got != want {
			t.Errorf("%s: %s, want %s", given, got, want)
		}
	}
}
