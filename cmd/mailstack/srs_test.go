package main

import (
	"testing"
	"time"

	"mailstack/stack"
)

// TestNextSRS: no secret goes while what it has made is good.
func TestNextSRS(t *testing.T) {
	made := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	secret := func(after time.Duration) stack.Secret { return stack.Secret{Generation: made.Add(after).Unix()} }
	const day = 24 * time.Hour
	for _, c := range []struct {
		what              string
		present, previous stack.Secret
		want              time.Time
	}{
		{"those of the first up", secret(0), secret(0), time.Time{}},
		{"a change the day after", secret(day), secret(0), made.Add(23 * day)},
		{"a change a year after", secret(365 * day), secret(0), made.Add(387 * day)},
		{"a previous one that was lost and made anew", secret(0), secret(day), time.Time{}},
		{"none before", secret(0), stack.Secret{}, time.Time{}},
		{"none at all", stack.Secret{}, secret(0), time.Time{}},
	} {
		if got := nextSRS(c.present, c.previous); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
