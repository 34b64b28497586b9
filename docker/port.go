package docker

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"mailstack/stack"
)

// PortError says that a published port could not be bound on the host.
type PortError struct {
	Address netip.AddrPort
	Reason  string // "address already in use", "port is already allocated" (to another container), "cannot assign requested address"
	Err     error  // the engine's own
}

func (e *PortError) Error() string { return fmt.Sprintf("publish %s: %s", e.Address, e.Reason) }

func (e *PortError) Unwrap() error { return e.Err }

// portReasons are the engine's and the kernel's words for a port that cannot be
// bound.
var portReasons = []string{
	"port is already allocated",       // the engine: by a container
	"address already in use",          // EADDRINUSE: by a process
	"cannot assign requested address", // EADDRNOTAVAIL: the host has no such address
}

// asPortError turns the error of a start into a *PortError where it is one, and
// returns it unchanged otherwise.
func (e *Engine) asPortError(ctx context.Context, name string, err error) error {
	if portReason(err) == "" {
		return err
	}
	c, inspectErr := e.Container(ctx, name)
	if inspectErr != nil {
		return err
	}
	return portError(c.Ports, err)
}

func portReason(err error) string {
	for _, reason := range portReasons {
		if strings.Contains(err.Error(), reason) {
			return reason
		}
	}
	return ""
}

// portError looks for the address of one of the published ports in the engine's
// text. Text, because every cause of a failed start is the same status 500 with
// one sentence; and the wanted addresses are looked for in the sentence instead
// of parsing it, because its form differs from version to version:
//
//	Bind for 127.0.0.1:25 failed: port is already allocated
//	Error starting userland proxy: listen tcp4 127.0.0.1:25: bind: address already in use
//	failed to bind host port for 127.0.0.1:25:172.18.0.2:25/tcp: address already in use
//	failed to bind host port 127.0.0.1:25/tcp: address already in use
func portError(ports []stack.Port, err error) error {
	reason := portReason(err)
	if reason == "" {
		return err
	}
	addresses := published(ports)
	for _, address := range addresses {
		if mentions(err.Error(), address) {
			return &PortError{Address: address, Reason: reason, Err: err}
		}
	}
	if len(addresses) == 1 {
		return &PortError{Address: addresses[0], Reason: reason, Err: err}
	}
	return err
}

// mentions reports whether text holds the address, with IPv6 in brackets or
// ("Bind for :::25 failed") without.
func mentions(text string, address netip.AddrPort) bool {
	forms := []string{address.String(), fmt.Sprintf("%s:%d", address.Addr(), address.Port())}
	for _, form := range forms {
		for rest := text; ; {
			before, after, found := strings.Cut(rest, form)
			if !found {
				break
			}
			if !endsInAddress(before) && !startsWithDigit(after) {
				return true
			}
			rest = after
		}
	}
	return false
}

// endsInAddress reports whether what follows s would continue an address:
// "127.0.0.1:25" is not "7.0.0.1:25".
func endsInAddress(s string) bool {
	return s != "" && strings.ContainsRune("0123456789abcdef.:[", rune(s[len(s)-1]))
}

func startsWithDigit(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9'
}
