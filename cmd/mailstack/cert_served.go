package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

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
	Fingerprint string `json:"fingerprint,omitempty"`
	Same        bool   `json:"same"` // as the certificate on disk
	Error       string `json:"error,omitempty"`
}

func (p servedPort) String() string {
	switch {
	case p.Error != "":
		return fmt.Sprintf("%s: %s", p.Listener, p.Error)
	case !p.Same:
		return fmt.Sprintf("%s on %s: another certificate, SHA-256 %s", p.Listener, p.Address, p.Fingerprint)
	}
	return fmt.Sprintf("%s on %s: the same", p.Listener, p.Address)
}

// servedPorts fetches the certificate of every published port, all at once.
func (a *app) servedPorts(ctx context.Context, cfg *config.Config, state certs.State) []servedPort {
	type look struct {
		listener, target string
		start            certs.StartTLS
	}
	var looks []look
	published := cfg.Listen.Ports()
	for _, l := range startTLS {
		for _, address := range dialAddresses(cfg.Listen.Addresses) {
			if port := published[l.listener]; port != 0 {
				looks = append(looks, look{l.listener, netip.AddrPortFrom(address, port).String(), l.start})
			}
		}
	}
	ports := make([]servedPort, len(looks))
	var wait sync.WaitGroup
	for i, l := range looks {
		wait.Go(func() {
			ports[i] = fetchServed(ctx, l.listener, l.target, l.start, cfg.Hostname, state)
		})
	}
	wait.Wait()
	return ports
}

func fetchServed(ctx context.Context, listener, target string, start certs.StartTLS, name string, state certs.State) servedPort {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	port := servedPort{Listener: listener, Address: target}
	cert, err := certs.Served(ctx, target, start, name)
	if err != nil {
		port.Error = err.Error()
		return port
	}
	port.Fingerprint = cert.Fingerprint
	port.Same = state.Leaf != nil && state.Leaf.Fingerprint == cert.Fingerprint
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
