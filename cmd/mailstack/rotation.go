package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mailstack/dkim"
	"mailstack/dns"
	"mailstack/stack"
)

// haveKeys reads keys that must be there.
func haveKeys(l stack.Layout, domains []string) ([]dkim.Domain, error) {
	keys, missing, err := readKeys(l, domains)
	if err == nil && len(missing) > 0 {
		err = hinted(fmt.Errorf("read keys of %s: there are none", strings.Join(missing, ", ")), "mailstack up")
	}
	return keys, err
}

// keySight is where a record was seen, or why that is not known.
type keySight struct {
	dns.Sight
	err error
}

func (s keySight) String() string {
	if s.err != nil {
		return s.err.Error()
	}
	return s.Sight.String()
}

// lookForKeys asks for the records that somebody waits for: of next keys to be there,
// of retired ones to be gone. The sights are by domain and selector.
func lookForKeys(ctx context.Context, keys []dkim.Domain, asker dns.AllAsker) map[string]keySight {
	ctx, cancel := context.WithTimeout(ctx, dnsPatience)
	defer cancel()
	var mu sync.Mutex
	all := map[string]keySight{}
	var group errgroup.Group
	group.SetLimit(8)
	for _, d := range keys {
		for _, k := range d.Keys {
			if k.State != dkim.Next && k.State != dkim.Retired {
				continue
			}
			group.Go(func() error {
				found, err := dns.FindKey(ctx, asker, d.Name, signingKey(k))
				mu.Lock()
				defer mu.Unlock()
				all[d.Name+" "+k.Selector] = keySight{found, err}
				return nil
			})
		}
	}
	_ = group.Wait() // what failed is a sight
	return all
}

// advance takes a domain's keys as far as they can go, and says what was done.
func advance(d *dkim.Domain, sights map[string]keySight, now time.Time) (done []string, err error) {
	before := slices.Clone(d.Keys)
	if d.Has(dkim.Next) && !slices.ContainsFunc(d.Keys, func(k dkim.Key) bool {
		return k.State == dkim.Next && !sights[d.Name+" "+k.Selector].Everywhere()
	}) {
		if err := d.Switch(now); err != nil {
			return nil, err
		}
		done = append(done, "signs with "+selectors(*d, dkim.Active)+" from now on")
	}
	if retired := d.Retire(now); len(retired) > 0 {
		done = append(done, "no longer needs the records of "+strings.Join(retired, ", "))
	}
	for _, k := range before {
		if k.State == dkim.Retired && sights[d.Name+" "+k.Selector].Nowhere() {
			d.Forget(k.Selector)
			done = append(done, "has no record of "+k.Selector+" any more")
		}
	}
	return done, nil
}

func selectors(d dkim.Domain, s dkim.State) string {
	var all []string
	for _, k := range d.Keys {
		if k.State == s {
			all = append(all, k.Selector)
		}
	}
	return strings.Join(all, ", ")
}

// advanceAll looks, and takes all keys as far as they can go. The lock is taken only
// if something changes: looking takes its time.
func (a *app) advanceAll(ctx context.Context, t *target, domains []string, asker dns.AllAsker) ([]dkim.Domain, map[string]keySight, error) {
	keys, err := haveKeys(t.set.Layout, domains)
	if err != nil {
		return nil, nil, err
	}
	sights := lookForKeys(ctx, keys, asker)
	moves := false
	for _, d := range keys {
		d.Keys = slices.Clone(d.Keys)
		done, err := advance(&d, sights, time.Now())
		if err != nil {
			return nil, nil, err
		}
		moves = moves || len(done) > 0
	}
	if !moves {
		return keys, sights, nil
	}
	unlock, err := stack.Lock(t.set.Layout, "dkim rotate", time.Now())
	if err != nil {
		return keys, sights, err
	}
	defer unlock()
	if _, err := advanceKeys(t.set.Layout, domains, sights); err != nil {
		return nil, nil, err
	}
	if _, err := a.settleSigning(ctx, t); err != nil {
		return nil, nil, err
	}
	keys, err = haveKeys(t.set.Layout, domains)
	return keys, sights, err
}

// advanceKeys takes the keys on disk on, whatever has become of them since somebody
// looked: what a sight is about is never another key. The lock is taken.
func advanceKeys(l stack.Layout, domains []string, sights map[string]keySight) (done []string, err error) {
	keys, err := haveKeys(l, domains)
	if err != nil {
		return nil, err
	}
	for _, d := range keys {
		words, err := advance(&d, sights, time.Now())
		if err != nil {
			return done, err
		}
		if len(words) == 0 {
			continue
		}
		if err := writeKeys(l, d); err != nil {
			return done, err
		}
		done = append(done, d.Name+" "+strings.Join(words, " and "))
	}
	return done, nil
}

// rotationText says for each domain what signs and what is to be done in the DNS.
func rotationText(keys []dkim.Domain, sights map[string]keySight) string {
	var b strings.Builder
	for _, d := range keys {
		fmt.Fprintf(&b, "%s\n  signs with %s\n", d.Name, selectors(d, dkim.Active))
		for _, k := range d.Keys {
			writeKeyText(&b, d.Name, k, sights[d.Name+" "+k.Selector])
		}
	}
	return b.String()
}

func writeKeyText(w io.Writer, domain string, k dkim.Key, s keySight) {
	name, value := dns.SigningRecord(domain, signingKey(k))
	switch k.State {
	case dkim.Next:
		fmt.Fprintf(w, "  publish %s  TXT  %s\n      %s\n", name, value, s)
	case dkim.Retiring:
		fmt.Fprintf(w, "  keep    %s  until %s\n", name, k.Until().Format(time.DateOnly))
	case dkim.Retired:
		fmt.Fprintf(w, "  remove  %s\n", name)
	}
}
