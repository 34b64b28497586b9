package images

import (
	"fmt"
	"slices"
	"strings"
)

// Relay is the way of outgoing mail: a smarthost that it is handed to, or none.
type Relay struct {
	Domain   string // of the senders; empty: of all mail that has no other way
	Host     string // empty: mail is delivered directly
	Port     int
	User     string // empty: no login
	Password string // only for secret/*

	// Verify wants a certificate for Host, from one of Authorities (PEM); empty:
	// from a public authority.
	Verify      bool
	Authorities string
}

// String tells all but the password.
func (r Relay) String() string { return fmt.Sprintf("%s@%s:%d", r.User, r.Host, r.Port) }

// Format implements fmt.Formatter, so that no verb tells more.
func (r Relay) Format(s fmt.State, _ rune) { fmt.Fprint(s, r.String()) }

// Nexthop is the smarthost as Postfix names it, without a look for its MX.
func (r Relay) Nexthop() string { return fmt.Sprintf("[%s]:%d", r.Host, r.Port) }

// DomainPattern is the domain as a regular expression has it.
func (r Relay) DomainPattern() string { return strings.ReplaceAll(r.Domain, ".", "[.]") }

// Transport is the way of a domain's mail, or of all other (""), as transport(5)
// has it.
func (v Values) Transport(domain string) string {
	i := slices.IndexFunc(v.Relays, func(r Relay) bool { return r.Domain == domain })
	if i < 0 || v.Relays[i].Host == "" {
		return "smtp:"
	}
	return fmt.Sprintf("smarthost%d:%s", i, v.Relays[i].Nexthop())
}

// PreferredIP is the kind of addresses that is tried first, or alone: "ipv4" or
// "ipv6".
func (v Values) PreferredIP() string { return strings.TrimSuffix(v.IP, "-first") }

// OnlyIP says whether no other kind is tried.
func (v Values) OnlyIP() bool { return v.IP == v.PreferredIP() }
