package main

import (
	"context"
	"fmt"
	"strings"

	"mailstack/dkim"
)

// maintainSigning makes the keys that are missing and moves rotations on. The lock is
// taken.
func (a *app) maintainSigning(ctx context.Context, t *target) (string, error) {
	said, err := a.settleSigning(ctx, t)
	if err != nil {
		return "", err
	}
	domains, err := a.hostedDomains(ctx)
	if err != nil {
		return "", err
	}
	keys, err := haveKeys(t.set.Layout, domains)
	if err != nil {
		return "", err
	}
	sights := lookForKeys(ctx, keys, asker(t.cfg, ""))
	done, err := advanceKeys(t.set.Layout, domains, sights)
	if err != nil {
		return "", err
	}
	if len(done) > 0 {
		if _, err := a.settleSigning(ctx, t); err != nil {
			return "", err
		}
	}
	if keys, err = haveKeys(t.set.Layout, domains); err != nil {
		return "", err
	}
	for _, d := range keys {
		for _, k := range d.Keys {
			if k.State == dkim.Next {
				done = append(done, fmt.Sprintf("%s waits for the record of %s: %s", d.Name, k.Selector, sights[d.Name+" "+k.Selector]))
			}
		}
	}
	if said != "" {
		done = append([]string{said}, done...)
	}
	if len(done) == 0 {
		return "nothing to do", nil
	}
	return strings.Join(done, "; "), nil
}
