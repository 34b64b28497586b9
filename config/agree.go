package config

import (
	"fmt"
	"slices"
	"strings"
)

// agree checks what keys must agree on with each other. It speaks only of
// values that are right in themselves.
func (r *reading) agree() {
	r.agreeOwnStack()
	r.agreePostmaster()
	r.agreePorts()
	r.agreeNames()
	r.agreePaths()
	r.agreeRelays()
	r.agreeTLS()
}

// ok says whether none of the keys has been refused.
func (r *reading) ok(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool { return r.bad[key] })
}

func (r *reading) isSet(key string) bool {
	_, set := r.doc.values[key]
	return set
}

// agreeOwnStack keeps a real stack out of the demonstration's directory and
// containers. A name below localhost is nobody's real one: there only the
// directory must not be shared by accident.
func (r *reading) agreeOwnStack() {
	c, demo := &r.config, Default()
	switch {
	case !r.ok("hostname"):
	case !belowLocalhost(c.Hostname):
		for _, own := range []struct{ key, value, demo string }{
			{"name", c.Name, demo.Name},
			{"postmaster", c.Postmaster, demo.Postmaster},
			{"data.dir", c.Data.Dir, demo.Data.Dir},
		} {
			switch {
			case !r.ok(own.key) || own.value != own.demo:
			case r.isSet(own.key):
				r.refuse(own.key, fmt.Sprintf("%q is the demonstration's: allowed is one of its own for %s", own.value, c.Hostname))
			default:
				r.refuse(own.key, fmt.Sprintf("not set, and %q is the demonstration's: %s needs name, postmaster and data.dir of its own", own.demo, c.Hostname), "hostname")
			}
		}
	case r.ok("name", "data.dir") && c.Name != demo.Name && c.Data.Dir == demo.Data.Dir:
		r.refuse("data.dir", fmt.Sprintf("%q is the demonstration's: allowed is a directory of its own for stack %q", c.Data.Dir, c.Name), "name")
	}
}

// agreePostmaster makes sure that somebody is there who reads complaints.
func (r *reading) agreePostmaster() {
	c := &r.config
	if !r.ok("postmaster", "hostname", "listen.address") {
		return
	}
	_, domain, _ := strings.Cut(c.Postmaster, "@")
	switch {
	case !c.Loopback() && !r.isSet("postmaster"):
		r.refuse("postmaster", "not set: a server that others can reach needs a person who answers for it (RFC 5321 section 4.5.1)", "listen.address")
	case belowLocalhost(domain) && !within(c.Hostname, domain):
		r.refuse("postmaster", fmt.Sprintf("nobody can deliver to %q: allowed is an address at %s, or a real one", c.Postmaster, c.Hostname), "hostname")
	}
}

func (r *reading) agreePorts() {
	ports := r.config.Listen.Ports()
	taken := map[uint16]string{}
	on := 0
	for _, s := range settings {
		port, isPort := ports[s.name()]
		if s.table() != "listen" || !isPort || !r.ok(s.key) {
			continue
		}
		if port == 0 {
			continue
		}
		on++
		if other, twice := taken[port]; twice {
			key, also := s.key, other
			if !r.isSet(key) { // then it is the other that somebody has changed
				key, also = also, key
			}
			r.refuse(key, fmt.Sprintf("%d is the port of %s already: allowed is one of its own, or 0 for off", port, also))
			continue
		}
		taken[port] = s.key
	}
	if on == 0 && !slices.ContainsFunc(settings, func(s setting) bool { return r.bad[s.key] && s.table() == "listen" }) {
		r.refuse("listen", "every listener is off: allowed is at least one port")
	}
}

func (r *reading) agreeNames() {
	if r.ok("hostname", "aliases") && slices.Contains(r.config.Aliases, r.config.Hostname) {
		r.refuse("aliases", fmt.Sprintf("%q is the hostname: allowed are further names", r.config.Hostname))
	}
}

// agreePaths refuses paths inside each other: two services would see each
// other's files, and a mark would speak for two volumes.
func (r *reading) agreePaths() {
	d, all := r.config.Data, r.config.Data.Resolved()
	volumes := []struct{ key, set, path, place string }{
		{"data.mysql", d.MySQL, all.MySQL, "mysql"},
		{"data.mysql_socket", d.MySQLSocket, all.MySQLSocket, "socket/mysql"},
		{"data.vmail", d.Vmail, all.Vmail, "vmail"},
		{"data.queue", d.Queue, all.Queue, "queue"},
	}
	if r.ok("data.mysql_socket") {
		if limit := maxSocketPath - len(mysqlSocketName); len(all.MySQLSocket) > limit && r.ok("data.dir") {
			r.refuse("data.mysql_socket", fmt.Sprintf("%q has %d octets: allowed are %d, so that the socket in it can be reached", all.MySQLSocket, len(all.MySQLSocket), limit))
		}
	}
	for i, v := range volumes {
		if v.set == "" || !r.ok(v.key, "data.dir") {
			continue
		}
		if inside(v.path, d.Dir) && v.path != d.Dir+"/"+v.place {
			r.refuse(v.key, fmt.Sprintf(`%q is inside data.dir: allowed is a directory outside of %q, or "" for its own place there`, v.path, d.Dir))
			continue
		}
		if inside(d.Dir, v.path) {
			r.refuse(v.key, fmt.Sprintf("data.dir, %q, is inside %q: allowed are separate directories", d.Dir, v.path))
			continue
		}
		for _, other := range volumes[:i] {
			if r.ok(other.key) && (inside(v.path, other.path) || inside(other.path, v.path)) {
				r.refuse(v.key, fmt.Sprintf("%q and %s, %q, are one inside the other: allowed are separate directories", v.path, other.key, other.path))
				break
			}
		}
	}
}

// inside says whether p is dir or below it. Both are clean.
func inside(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
