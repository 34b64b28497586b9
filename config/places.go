package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// The longest paths of sockets below a directory, see [checkDir].
const (
	maxSocketPath   = 100
	mysqlSocketName = "/run/mysqld.sock"
	longestSocket   = "/socket/dovecot/run/quota-status"
)

// checkPath takes an absolute path and cleans it. A relative one would mean
// another place for every directory that mailstack is called in.
func checkPath(s string) (string, error) {
	switch {
	case !path.IsAbs(s):
		return "", fmt.Errorf(`%q is not an absolute path: allowed is one that begins with "/"`, s)
	case strings.Contains(s+"/", "/../"):
		return "", fmt.Errorf(`%q contains "..": allowed is a path without it`, s)
	case path.Clean(s) == "/":
		return "", fmt.Errorf(`%q is the root directory: allowed is a directory below it`, s)
	}
	return path.Clean(s), nil
}

// checkDir also sees to it that the sockets below the directory can be
// reached: the kernel takes 107 octets (sun_path in unix(7)).
func checkDir(s string) (string, error) {
	dir, err := checkPath(s)
	if err != nil {
		return "", err
	}
	if limit := maxSocketPath - len(longestSocket); len(dir) > limit {
		return "", fmt.Errorf("%q has %d octets: allowed are %d, so that the sockets below it can be reached", dir, len(dir), limit)
	}
	return dir, nil
}

// imageReference is a name with an optional tag and digest, loosely: the
// engine has the last word. What matters is that it is one word and no option.
var imageReference = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/:@-]*$`)

func checkImage(s string) (string, error) {
	if !imageReference.MatchString(s) {
		return "", fmt.Errorf(`%q is not an image: allowed is a name with a tag, like "debian:trixie-slim"`, s)
	}
	return s, nil
}

func checkMirror(s string) (string, error) {
	u, err := url.Parse(s)
	if strings.Contains(s, "@") { // not quoted: a password may stand before it
		return "", errors.New(`not a mirror: allowed is "http://host/path" without user and password`)
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.ContainsAny(s, " \"'") {
		return "", fmt.Errorf(`%q is not a mirror: allowed is "http://host/path" or "https://host/path"`, s)
	}
	return s, nil
}

// parseListenAddress takes an address that a port can be published on.
func parseListenAddress(s string) (netip.Addr, error) {
	const allowed = `allowed is an address of this host, like "192.0.2.1", "0.0.0.0" or "::"`
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IP address: %s", s, allowed)
	case addr.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone: %s", s, allowed)
	case addr.Is4In6():
		return netip.Addr{}, fmt.Errorf("%q is an IPv4 address in IPv6: allowed is %q", s, addr.Unmap())
	case addr.IsMulticast():
		return netip.Addr{}, fmt.Errorf("%q is a multicast address: %s", s, allowed)
	}
	return addr, nil
}

// addAddress appends addr, unless it and an address before it would take the
// same port twice.
func addAddress(list []netip.Addr, addr netip.Addr) ([]netip.Addr, error) {
	for _, other := range list {
		if addr == other {
			return nil, fmt.Errorf("%q is in the list twice: allowed is once", addr)
		}
		if addr.Is4() == other.Is4() && (addr.IsUnspecified() || other.IsUnspecified()) {
			all, one := addr, other
			if other.IsUnspecified() {
				all, one = other, addr
			}
			return nil, fmt.Errorf("%q already covers %q: allowed is one of the two", all, one)
		}
	}
	return append(list, addr), nil
}
