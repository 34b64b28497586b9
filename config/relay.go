package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// theRelay is the smarthost of all mail.
func theRelay(c *Config) *Relay { return &c.Relay }

// relaySettings are the keys of a smarthost's table.
func relaySettings(table string, relay func(*Config) *Relay) []setting {
	return []setting{
		{
			key:      table + ".host",
			doc:      `Its name or IP address, such as "smtp.example.net"; "" for none.`,
			field:    func(c *Config) any { return &relay(c).Host },
			check:    checkRelayHost,
			optional: true,
		},
		{
			key:   table + ".port",
			field: func(c *Config) any { return &relay(c).Port },
			min:   1, max: 65535,
		},
		{
			key: table + ".user",
			doc: `How to log in there, where that is asked for: a user name, and the absolute
path of a file that holds the password and that only its owner can read.`,
			field:    func(c *Config) any { return &relay(c).User },
			check:    checkRelayUser,
			optional: true,
		},
		{
			key:      table + ".password_file",
			field:    func(c *Config) any { return &relay(c).PasswordFile },
			check:    checkPath,
			optional: true,
		},
		{
			key: table + ".tls",
			doc: `"verify": its certificate must be for that name, and from a public authority or
one in ca_file, the absolute path of a PEM file. "encrypt": any certificate will
do, so whoever is on the way can pretend to be it and learn the password.`,
			field: func(c *Config) any { return &relay(c).TLS },
			check: oneOf("a way to use TLS", RelayVerify, RelayEncrypt),
		},
		{
			key:      table + ".ca_file",
			field:    func(c *Config) any { return &relay(c).CAFile },
			check:    checkPath,
			optional: true,
		},
	}
}

// relayDomains is the table that has a table for each domain.
const relayDomains = "relay.domain"

// readRelayDomains takes the tables of domains out of the document. A name
// without quotes, whose dots make tables of its parts, is understood as well.
func (r *reading) readRelayDomains() {
	keys := map[string][]string{} // by table, "relay.domain.\"example.org\""
	for key := range r.doc.values {
		if table := key[:max(strings.LastIndexByte(key, '.'), 0)]; strings.HasPrefix(table, relayDomains+".") {
			keys[table] = append(keys[table], key)
		}
	}
	tables := slices.Sorted(maps.Keys(r.doc.tables))
	for _, table := range tables {
		inner := func(other string) bool { return strings.HasPrefix(other, table+".") }
		if strings.HasPrefix(table, relayDomains+".") && keys[table] == nil && !slices.ContainsFunc(tables, inner) {
			keys[table] = []string{}
		}
	}
	for _, table := range slices.Sorted(maps.Keys(keys)) {
		r.readRelayDomain(table, keys[table])
	}
	maps.DeleteFunc(r.doc.tables, func(table string, _ bool) bool {
		return table == relayDomains || strings.HasPrefix(table, relayDomains+".")
	})
}

func (r *reading) readRelayDomain(table string, keys []string) {
	slices.Sort(keys)
	written := strings.NewReplacer(`"`, "", "'", "").Replace(strings.TrimPrefix(table, relayDomains+"."))
	domain, err := canonicalHost(written)
	_, twice := r.config.Relay.Domains[domain]
	switch {
	case err != nil:
		r.refuse(table, fmt.Sprintf("%q is not a domain: %v", written, err), keys...)
	case twice:
		r.refuse(table, fmt.Sprintf("there is a table for %s already: allowed is one", domain), keys...)
	}
	relay := defaultRelay()
	known := relaySettings(table, func(*Config) *Relay { return &relay })
	for _, key := range keys {
		i := slices.IndexFunc(known, func(s setting) bool { return s.key == key })
		switch {
		case r.bad[table]:
		case i < 0:
			var names []string
			for _, s := range known {
				names = append(names, s.name())
			}
			r.refuse(key, "unknown key: allowed are "+strings.Join(names, ", "))
		default:
			if err := known[i].assign(known[i].field(nil), r.doc.values[key]); err != nil {
				r.refuse(key, err.Error())
			}
		}
	}
	if _, set := r.doc.values[table+".host"]; !set && !r.bad[table] {
		r.refuse(table+".host", `not set: allowed is a smarthost, or "" for the mail of that domain to go straight`, append([]string{table}, keys...)...)
	}
	for _, key := range keys {
		delete(r.doc.values, key)
	}
	if r.bad[table] {
		return
	}
	if r.config.Relay.Domains == nil {
		r.config.Relay.Domains = map[string]Relay{}
	}
	r.config.Relay.Domains[domain] = relay
	r.relayTables[domain] = table
}

func (r *reading) agreeRelays() {
	r.agreeRelay("relay", r.config.Relay)
	for domain, relay := range r.config.Relay.Domains {
		r.agreeRelay(r.relayTables[domain], relay)
	}
}

// agreeRelay checks what the keys of a smarthost must agree on.
func (r *reading) agreeRelay(table string, relay Relay) {
	host, user, file, tls, ca := table+".host", table+".user", table+".password_file", table+".tls", table+".ca_file"
	if !r.ok(host, user, file, tls, ca, "hostname", "aliases") {
		return
	}
	address, err := netip.ParseAddr(relay.Host)
	switch {
	case relay.Host == "" && relay.User != "":
		r.refuse(host, "not set: "+user+" is of no use without it", user)
	case relay.Host == "" && relay.PasswordFile != "":
		r.refuse(host, "not set: "+file+" is of no use without it", file)
	case relay.User != "" && relay.PasswordFile == "":
		r.refuse(file, "not set: "+user+" needs a password to log in with", user)
	case relay.User == "" && relay.PasswordFile != "":
		r.refuse(user, "not set: "+file+" is the password of a user", file)
	case r.isSelf(relay.Host):
		r.refuse(host, fmt.Sprintf("%q is this server itself: allowed is another one", relay.Host))
	case err == nil && relay.TLS == RelayVerify:
		r.refuse(host, fmt.Sprintf(`%s is an address, and certificates are for names: allowed is a name, or tls = "encrypt"`, address))
	case relay.CAFile != "" && relay.TLS != RelayVerify:
		r.refuse(ca, fmt.Sprintf("of no use with tls = %q: allowed is %q", relay.TLS, RelayVerify))
	}
}

// isSelf says whether a name is this server's.
func (r *reading) isSelf(host string) bool {
	c := &r.config
	return host != "" && (host == c.Hostname || slices.Contains(c.Aliases, host))
}

func checkRelayHost(s string) (string, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return addr.Unmap().String(), nil
	}
	if host, port, found := strings.Cut(s, ":"); found && !strings.Contains(port, ":") {
		return "", fmt.Errorf("%q holds a port: allowed is the host alone, %q; the port has a key of its own", s, host)
	}
	host, err := canonicalHost(s)
	if err != nil {
		return "", fmt.Errorf("%q is neither a host name nor an IP address: %w", s, err)
	}
	return host, nil
}

// checkRelayUser keeps the user name apart from the password in
// Postfix's user:password notation.
func checkRelayUser(s string) (string, error) {
	if strings.Contains(s, ":") || strings.TrimSpace(s) != s {
		// Not quoted: what is behind the colon may be a password.
		return "", errors.New("not a user name: allowed is a name without colon and without blanks around it")
	}
	return s, nil
}
