package images

import (
	"errors"
	"fmt"
	"maps"
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
	Relay        *Relay          // nil: mail is delivered directly
	Listen       map[string]bool // see Listeners; a missing one is off
}

// Listeners are the keys that Values.Listen may have: the listeners'
// configuration keys.
var Listeners = []string{
	"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "managesieve",
}

// Relay is the smarthost that outgoing mail is handed to.
type Relay struct {
	Host     string
	Port     int
	User     string
	Password string // only for secret/*
}

// String tells all but the password.
func (r Relay) String() string { return fmt.Sprintf("%s@%s:%d", r.User, r.Host, r.Port) }

// GoString is String, so that %#v tells no more.
func (r Relay) GoString() string { return r.String() }

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
	if r := v.Relay; r != nil {
		check("relay host", r.Host)
		check("relay user", r.User)
		check("relay password", r.Password)
		if r.Port < 1 || r.Port > 65535 {
			errs = append(errs, fmt.Errorf("relay port %d is not in 1-65535", r.Port))
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
	if v.Relay != nil {
		relay := *v.Relay
		relay.Password = ""
		v.Relay = &relay
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
