package probe

import (
	"regexp"
	"slices"
	"strings"
)

// spokenAt is the time that Dovecot adds to what it says.
var spokenAt = regexp.MustCompile(`\s*\[[^\]\s]*:?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]$`)

// reason is one thing that is wrong, wherever and whenever it was seen.
type reason struct {
	addrs, steps []string
	words, key   string // key is words without their time
}

// reasonsOf says each thing once, with all the addresses at which it was seen,
// or all the steps in which it was seen at the same address.
func reasonsOf(failures []*Failure) []string {
	var all []*reason
	for _, f := range failures {
		r := &reason{addrs: []string{f.Addr}, steps: f.steps(), words: f.words()}
		r.key = spokenAt.ReplaceAllString(r.words, "")
		all = append(all, r)
	}
	all = together(all, func(a, b *reason) bool { return slices.Equal(a.steps, b.steps) })
	all = together(all, func(a, b *reason) bool { return slices.Equal(a.addrs, b.addrs) })
	texts := make([]string, len(all))
	for i, r := range all {
		var parts []string
		if r.addrs[0] != "" {
			parts = append(parts, strings.Join(r.addrs, " and "))
		}
		if len(r.steps) > 0 {
			parts = append(parts, strings.Join(r.steps, ", "))
		}
		texts[i] = strings.Join(append(parts, r.words), ": ")
	}
	return texts
}

// together makes one of those that say the same and belong together.
func together(all []*reason, belong func(a, b *reason) bool) (kept []*reason) {
	union := func(into *[]string, from []string) {
		for _, s := range from {
			if !slices.Contains(*into, s) {
				*into = append(*into, s)
			}
		}
	}
	for _, r := range all {
		i := slices.IndexFunc(kept, func(k *reason) bool { return k.key == r.key && belong(k, r) })
		if i < 0 {
			kept = append(kept, r)
			continue
		}
		union(&kept[i].addrs, r.addrs)
		union(&kept[i].steps, r.steps)
	}
	return kept
}
