package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mailstack/certs"
	"mailstack/config"
	"mailstack/stack"
)

// servedTimeout bounds the look at one port. Port 25 may let a client wait for
// some seconds before it greets.
const servedTimeout = 10 * time.Second

// startTLS says how TLS begins on a listener, by the key that configures it,
// in the order in which the listeners are shown.
var startTLS = []struct {
	listener string
	start    certs.StartTLS
}{
	{"smtp", certs.StartSMTP},
	{"submission", certs.StartSMTP},
	{"submissions", certs.Implicit},
	{"imap", certs.StartIMAP},
	{"imaps", certs.Implicit},
	{"pop3", certs.StartPOP3},
	{"pop3s", certs.Implicit},
	{"managesieve", certs.StartSieve},
}

// servedPort is what one published port serves.
type servedPort struct {
	Listener    string `json:"listener"`
	Address     string `json:"address"`
	Name        string `json:"name"` // that was asked for
	Kind        string `json:"kind"` // of key that was asked for
	Fingerprint string `json:"fingerprint,omitempty"`
	Same        bool   `json:"same"` // as the certificate on disk
	Error       string `json:"error,omitempty"`
}

func (p servedPort) String() string {
	where := fmt.Sprintf("%s on %s for %s, key %s", p.Listener, p.Address, p.Name, p.Kind)
	switch {
	case p.Error != "":
		return fmt.Sprintf("%s: %s", p.Listener, p.Error)
	case !p.Same:
		return fmt.Sprintf("%s: another certificate, SHA-256 %s", where, p.Fingerprint)
	}
	return where + ": the same"
}

// look is one way to look at what a port serves.
type look struct {
	listener, target string
	start            certs.StartTLS
	ask              certs.Asked
	want             string // fingerprint
}

// looks are all that must be seen of a set: at every address of every port the
// main certificate, and at the first of them each of the others.
func looks(cfg *config.Config, set *certs.Set) []look {
	var all []look
	published := cfg.Listen.Ports()
	for _, l := range startTLS {
		port := published[l.listener]
		if port == 0 {
			continue
		}
		for i, address := range dialAddresses(cfg.Listen.Addresses) {
			at := look{listener: l.listener, target: netip.AddrPortFrom(address, port).String(), start: l.start}
			add := func(name, kind string, p certs.Pair) {
				at.ask, at.want = certs.Asked{Name: name, Kind: kind}, p.Leaf().Fingerprint
				all = append(all, at)
			}
			add(cfg.Hostname, set.Main[0].Kind(), set.Main[0])
			if i > 0 {
				continue
			}
			for _, twin := range set.Main[1:] {
				add(cfg.Hostname, twin.Kind(), twin)
			}
			for _, e := range set.Extra {
				add(strings.Replace(e.Names[0], "*", "any", 1), e.Kind(), e.Pair)
			}
		}
	}
	return all
}

// servedPorts looks at every published port once.
func (a *app) servedPorts(ctx context.Context, cfg *config.Config, set *certs.Set) []servedPort {
	return see(ctx, looks(cfg, set))
}

// notServed names a port that serves another certificate than the one on disk,
// which nothing on disk would tell of. That a port is away is for the probe.
func (a *app) notServed(ctx context.Context, cfg *config.Config) string {
	set, err := certStore(cfg).Served()
	if err != nil {
		return ""
	}
	for _, port := range a.servedPorts(ctx, cfg, set) {
		if !port.Same && port.Error == "" {
			return port.Listener + " serves another one"
		}
	}
	return ""
}

// see looks at ports, some at a time.
func see(ctx context.Context, all []look) []servedPort {
	ports := make([]servedPort, len(all))
	var group errgroup.Group
	group.SetLimit(16)
	for i, l := range all {
		group.Go(func() error {
			ports[i] = fetchServed(ctx, l)
			return nil
		})
	}
	_ = group.Wait() // they tell in ports
	return ports
}

// awaitServed waits until every port serves a set. What it returns is what was
// seen last of those that do not.
func (a *app) awaitServed(ctx context.Context, cfg *config.Config, set *certs.Set) (wrong []string) {
	deadline := time.Now().Add(settleTimeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	all := looks(cfg, set)
	for {
		ports := see(ctx, all)
		// What was cut off says nothing. A connection may see the deadline before ctx.
		if wrong != nil && (ctx.Err() != nil || !time.Now().Before(deadline)) {
			return wrong
		}
		var again []look
		wrong = nil
		for i, port := range ports {
			if !port.Same {
				again, wrong = append(again, all[i]), append(wrong, port.String())
			}
		}
		if all = again; len(all) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return wrong
		case <-tick.C:
		}
	}
}

func fetchServed(ctx context.Context, l look) servedPort {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	port := servedPort{Listener: l.listener, Address: l.target, Name: l.ask.Name, Kind: l.ask.Kind}
	cert, err := certs.Served(ctx, l.target, l.start, l.ask)
	if err != nil {
		port.Error = err.Error()
		return port
	}
	port.Fingerprint = cert.Fingerprint
	port.Same = l.want == cert.Fingerprint
	return port
}

// dialAddresses are the addresses at which this host reaches what it publishes:
// loopback, where it publishes on all.
func dialAddresses(published []netip.Addr) []netip.Addr {
	var addresses []netip.Addr
	for _, address := range published {
		switch {
		case address.Is6() && !stack.HasIPv6():
			continue
		case address == netip.IPv4Unspecified():
			address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		case address == netip.IPv6Unspecified():
			address = netip.IPv6Loopback()
		}
		addresses = append(addresses, address)
	}
	return addresses
}
