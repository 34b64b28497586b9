package stack

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// HeldBack is an account or an address at which, or from which, passwords were
// guessed: only what has worked before is tried there until that time.
type HeldBack struct {
	Account string    `json:"account,omitempty"` // a name that was tried, perhaps no account's
	Address string    `json:"address,omitempty"` // IPv4 address, or IPv6 network of 64 bits
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Refused uint32    `json:"refused"` // attempts that were not tried meanwhile
}

// Name is the account or the address.
func (h HeldBack) Name() string { return h.Account + h.Address }

// ListHeldBack asks Dovecot who is held back, in no order.
func ListHeldBack(ctx context.Context, e Engine, container string) ([]HeldBack, error) {
	lines, err := guesses(ctx, e, container)
	if err != nil {
		return nil, err
	}
	list := []HeldBack{}
	for _, line := range lines {
		h, err := parseHeldBack(line)
		if err != nil {
			return nil, fmt.Errorf("read who is held back: %w", err)
		}
		list = append(list, h)
	}
	return list, nil
}

// Release ends that an account or an address is held back, and says whether it was.
func Release(ctx context.Context, e Engine, container, name string) (bool, error) {
	lines, err := guesses(ctx, e, container, "release", guessesName(name))
	if err != nil {
		return false, err
	}
	return len(lines) == 1 && lines[0] == "released", nil
}

func guesses(ctx context.Context, e Engine, container string, args ...string) ([]string, error) {
	res, err := e.Exec(ctx, container, ExecSpec{Command: append([]string{GuessesCmd}, args...)})
	if err != nil {
		return nil, err
	}
	if res.ExitCode != 0 {
		return nil, fmt.Errorf("%s in %s: status %d: %s", GuessesCmd, container, res.ExitCode, said(res))
	}
	text := strings.TrimSuffix(string(res.Stdout), "\n")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// parseHeldBack reads "name since until refused". Who guesses chooses the name.
func parseHeldBack(line string) (HeldBack, error) {
	fields := strings.Split(line, " ")
	if len(fields) != 4 {
		return HeldBack{}, fmt.Errorf("%q is not a name and three numbers", line)
	}
	h := HeldBack{Account: fields[0]}
	if !strings.Contains(h.Account, "@") {
		h.Account, h.Address = "", addressName(fields[0])
	}
	var numbers [3]int64
	for i, field := range fields[1:] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return HeldBack{}, fmt.Errorf("%q: %w", line, err)
		}
		numbers[i] = n
	}
	h.Since, h.Until, h.Refused = time.Unix(numbers[0], 0).UTC(), time.Unix(numbers[1], 0).UTC(), uint32(numbers[2])
	return h, nil
}

// addressName is an address as people write it.
func addressName(s string) string {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix.String()
	}
	return s
}

// guessesName is a name as Dovecot has it: of an IPv6 address the 64 bits that one
// customer gets, without "::" in them.
func guessesName(s string) string {
	if prefix, err := netip.ParsePrefix(s); err == nil && prefix.Bits() == 64 {
		s = prefix.Addr().String()
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return strings.ToLower(s)
	}
	addr = addr.Unmap()
	if addr.Is4() {
		return addr.String()
	}
	b := addr.As16()
	return fmt.Sprintf("%x:%x:%x:%x::/64", int(b[0])<<8|int(b[1]), int(b[2])<<8|int(b[3]), int(b[4])<<8|int(b[5]), int(b[6])<<8|int(b[7]))
}
