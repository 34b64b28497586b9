package images

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// Values is what the templates of a service are filled with.
type Values struct {
	Stack        string          // name of the stack
	Hostname     string          // the mail host's name, ASCII
	MessageBytes int64           // largest message taken, bytes
	Secret       Secrets         // what this service may know; only for secret/*
	Relays       []Relay         // no two for the same domain
	Listen       map[string]bool // see Listeners; a missing one is off
	Sockets      map[string]bool // of other services that this one uses: "mysql/mysqld.sock"
	MemoryBytes  int64           // the most that the container gets
	Filter       Filter
	Sending      Sending
	IP           string // of other servers: "ipv4-first", "ipv6-first", "ipv4" or "ipv6"
	// Of an account or an address within an hour, before it is held back; 0: no limit.
	WrongPasswords int
	// Networks whose addresses are not held back, in CIDR notation.
	SharedAddresses []string
}

// Filter says how mail is filtered, where the services for that are there.
type Filter struct {
	WhenDown string // "tempfail" or "accept": Postfix's milter_default_action
	// Scores from which on a message is marked, put off once, refused; 0: never.
	Mark, Greylist, Reject int
	// Domains whose ARC seals are believed.
	TrustedForwarders []string
}

// Sending is how much an account may send; 0: any number.
type Sending struct {
	MessagesPerHour, MessagesPerDay     int
	RecipientsPerHour, RecipientsPerDay int
	SenderMessagesPerHour               int      // from one of its addresses
	Unlimited                           []string // accounts that may send any number
}

// MemoryShare is a part of the container's memory, in bytes.
func (v Values) MemoryShare(percent int64) int64 { return v.MemoryBytes / 100 * percent }

// Listeners are the keys that Values.Listen may have: the listeners'
// configuration keys.
var Listeners = []string{
	"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "managesieve",
}

// Secrets are passwords by name. They print as their names.
type Secrets map[string]string

// String names the secrets.
func (s Secrets) String() string { return fmt.Sprintf("[redacted %q]", slices.Sorted(maps.Keys(s))) }

// GoString is String, so that %#v tells no more.
func (s Secrets) GoString() string { return s.String() }

// MarshalText is String, for JSON and other encodings.
func (s Secrets) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// problems says all that is wrong with the values, without quoting a secret. No
// value may hold a control character: in every format that is rendered a line
// break would begin a line of its own.
func (v Values) problems() error {
	var errs []error
	check := func(what, value string) {
		if err := checkText(value); err != nil {
			errs = append(errs, fmt.Errorf("%s %w", what, err))
		}
	}
	check("stack", v.Stack)
	check("hostname", v.Hostname)
	for _, name := range slices.Sorted(maps.Keys(v.Secret)) {
		check(fmt.Sprintf("secret %q", name), v.Secret[name])
	}
	for _, r := range v.Relays {
		check("relay domain", r.Domain)
		check("relay host", r.Host)
		check("relay user", r.User)
		check("relay password", r.Password)
		if r.Host != "" && (r.Port < 1 || r.Port > 65535) {
			errs = append(errs, fmt.Errorf("relay port %d is not in 1-65535", r.Port))
		}
	}
	if !slices.Contains([]string{"ipv4-first", "ipv6-first", "ipv4", "ipv6"}, v.IP) {
		errs = append(errs, fmt.Errorf("%q is no choice of addresses", v.IP))
	}
	if v.WrongPasswords < 0 {
		errs = append(errs, fmt.Errorf("limit of %d wrong passwords is negative", v.WrongPasswords))
	}
	for _, account := range v.Sending.Unlimited {
		check("unlimited sender", account)
	}
	for _, network := range v.SharedAddresses {
		if _, err := netip.ParsePrefix(network); err != nil {
			errs = append(errs, fmt.Errorf("shared addresses: %w", err))
		}
	}
	if v.MessageBytes < 0 {
		errs = append(errs, fmt.Errorf("message size %d is negative", v.MessageBytes))
	}
	for _, key := range slices.Sorted(maps.Keys(v.Listen)) {
		if !slices.Contains(Listeners, key) {
			errs = append(errs, fmt.Errorf("no listener is named %q, only %q", key, Listeners))
		}
	}
	return errors.Join(errs...)
}

// checkText refuses what no configuration format takes on one line.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("is not UTF-8")
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("holds the control character %U", s[i])
	}
	return nil
}

// forConfig returns the values less everything secret, and with every listener
// named.
func (v Values) forConfig() Values {
	v.Secret = nil
	v.Relays = slices.Clone(v.Relays)
	for i := range v.Relays {
		v.Relays[i].Password = ""
	}
	return v.complete()
}

func (v Values) complete() Values {
	listen := map[string]bool{}
	for _, key := range Listeners {
		listen[key] = v.Listen[key]
	}
	v.Listen = listen
	return v
}
