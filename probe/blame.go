package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// downed is a container that is not as it must be, or a disk without room.
type downed struct {
	listens []string // keys of Target.Ports
	disk    bool
	*Failure
}

// blame gives the failures that a container explains which is not as it must be
// the hint to that container: from outside, a port that refuses connections and
// a database that is away can only be guessed about.
func blame(t *Target, runs []outcome) {
	var down []downed
	for _, r := range runs {
		down = append(down, r.down...)
	}
	if down == nil {
		return
	}
	for i, r := range runs {
		if r.down != nil {
			continue // it has the advice itself
		}
		failures := failuresOf(r.err)
		all := make([]error, len(failures))
		for j, f := range failures {
			all[j] = f
			if guilty := culprits(t, down, f); guilty != nil {
				g := *f
				g.Advice = accuse(guilty)
				all[j] = &g
			}
		}
		runs[i].err = errors.Join(all...)
	}
}

// culprits are the containers that explain a failure: the one that listens at
// its address, else any where the failure is that somebody else is away.
func culprits(t *Target, down []downed, f *Failure) []downed {
	switch f.Kind {
	case KindRefused, KindClosed, KindTimeout:
		key := t.listenerAt(f.Addr)
		its := slices.DeleteFunc(slices.Clone(down), func(d downed) bool { return !slices.Contains(d.listens, key) })
		if len(its) > 0 {
			return its
		}
		if f.Kind == KindRefused {
			return nil
		}
		return down
	case KindBackend, KindQueued:
		return down
	}
	return nil
}

func accuse(guilty []downed) string {
	var who []string
	for _, d := range guilty {
		what := d.Detail
		if d.Kind != KindContainer {
			what = d.Kind.String() + " " + what
		}
		who = append(who, fmt.Sprintf("%s (%s)", d.Step, what))
	}
	advice := guilty[0].Advice
	if i := slices.IndexFunc(guilty, func(d downed) bool { return d.disk }); i >= 0 {
		advice = guilty[i].Advice // nothing starts without room
	} else if len(guilty) > 1 {
		advice = "`mailstack up` starts them"
	}
	return "probably because of " + strings.Join(who, " and ") + ": " + advice
}

// listenerAt is the key of the listener at an address, "" if there is none.
func (t *Target) listenerAt(addr string) string {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return ""
	}
	for key, port := range t.Ports {
		if port == a.Port() {
			return key
		}
	}
	return ""
}
