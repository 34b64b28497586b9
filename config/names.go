package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

// The checks of single strings. Each returns the value in its canonical form,
// or an error that quotes it and says what is allowed.

// stackName leaves room for "-postfix-init" within the 64 octets that Linux
// gives a host name.
var stackName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func checkStackName(s string) (string, error) {
	if !stackName.MatchString(s) {
		return "", fmt.Errorf("%q is not a stack name: allowed are 1 to 32 small letters, digits and hyphens, no hyphen first", s)
	}
	return s, nil
}

// domainProfile is UTS #46 non-transitional processing, as resolvers and
// browsers do it. Hyphens and lengths are checkLabels' business, which says
// more precisely what is wrong.
var domainProfile = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.BidiRule(),
	idna.CheckHyphens(false),
)

// checkHostname takes a full host name (RFC 1123 section 2.1) and returns it
// in lower case, international labels as A-labels (RFC 5890).
func checkHostname(s string) (string, error) {
	host, err := canonicalHost(s)
	if err != nil {
		return "", fmt.Errorf("%q is not a host name: %w", s, err)
	}
	return host, nil
}

// checkCertificateName is checkHostname for a name that may also stand for all
// names one label below another, "*.example.org".
func checkCertificateName(s string) (string, error) {
	above, wildcard := strings.CutPrefix(s, "*.")
	if !wildcard {
		return checkHostname(s)
	}
	host, err := canonicalHost(above)
	if err != nil {
		return "", fmt.Errorf("%q is not a wildcard: %w", s, err)
	}
	return "*." + host, nil
}

func canonicalHost(s string) (string, error) {
	const example = `allowed is a full name, like "mail.example.org"`
	if s == "" {
		return "", errors.New("it is empty: " + example)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return "", errors.New("it is an IP address: " + example)
	}
	if strings.HasSuffix(s, ".") {
		return "", errors.New("it ends in a dot: " + example)
	}
	host := strings.ToLower(s)
	if !ascii(s) || strings.Contains("."+host, ".xn--") {
		var err error
		if host, err = domainProfile.ToASCII(s); err != nil {
			return "", errors.New("it is not a valid international name (RFC 5891): " + example)
		}
	}
	if err := checkLabels(host); err != nil {
		return "", err
	}
	if !strings.Contains(host, ".") {
		return "", errors.New("it has no dot: " + example)
	}
	// RFC 3696 section 2: no top-level domain is all digits, and programs
	// take such names for addresses.
	if last := host[strings.LastIndexByte(host, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		return "", errors.New("its last label is a number: " + example)
	}
	return host, nil
}

// checkLabels applies RFC 1123 section 2.1 and the lengths of RFC 1035
// section 2.3.4 to an ASCII name.
func checkLabels(host string) error {
	if len(host) > 253 {
		return fmt.Errorf("it has %d octets: allowed are 253", len(host))
	}
	for label := range strings.SplitSeq(host, ".") {
		switch {
		case label == "":
			return errors.New("a label is empty: allowed is one dot between labels")
		case len(label) > 63:
			return fmt.Errorf("label %q has %d octets: allowed are 63", label, len(label))
		case strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-"):
			return fmt.Errorf("label %q begins or ends with a hyphen: allowed is a hyphen inside only", label)
		}
		for _, r := range label {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-", r) {
				return fmt.Errorf("%q in it: allowed are letters, digits, hyphens and dots", r)
			}
		}
	}
	return nil
}

// belowLocalhost says whether a name can mean nothing but this host (RFC 6761
// section 6.3).
func belowLocalhost(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// within says whether domain is host or a parent domain of it.
func within(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// localPart is RFC 5321's Dot-string: what every mail system takes unquoted.
var localPart = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$")

// checkAddress takes a plain mail address. It is stricter than RFC 5321: no
// quoted local part, no address literal; nobody's postmaster has either. The
// lower case of the local part is how all addresses of a stack are kept.
func checkAddress(s string) (string, error) {
	const example = `allowed is one plain address, like "me@example.org"`
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return "", fmt.Errorf("%q is not a mail address: it has no @: %s", s, example)
	}
	local, domain := s[:at], s[at+1:]
	switch {
	case len(local) > 64: // RFC 5321 section 4.5.3.1.1
		return "", fmt.Errorf("%q is not a mail address: %d octets before the @: allowed are 64", s, len(local))
	case !localPart.MatchString(local):
		return "", fmt.Errorf("%q is not a mail address: %q before the @: %s", s, local, example)
	}
	host, err := canonicalHost(domain)
	if err != nil {
		return "", fmt.Errorf("%q is not a mail address: behind the @, %q is not a host name: %w", s, domain, err)
	}
	address := strings.ToLower(local) + "@" + host
	if len(address) > 254 { // RFC 5321 section 4.5.3.1.3, less the angle brackets
		return "", fmt.Errorf("%q is not a mail address: it has %d octets: allowed are 254", s, len(address))
	}
	return address, nil
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// checkContainerResolver takes no loopback address: in a container that is the
// container itself.
func checkContainerResolver(s string) (string, error) {
	const allowed = `allowed is the IP address of another host, or one of this host that containers reach, like "192.0.2.53"`
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil || addr.Zone() != "" || addr.Is4In6() || addr.IsMulticast() || addr.IsUnspecified():
		return "", fmt.Errorf("%q is not the address of a name server: %s", s, allowed)
	case addr.IsLoopback():
		return "", fmt.Errorf("%q is the container itself, seen from there: %s", s, allowed)
	}
	return addr.String(), nil
}

// checkNetwork takes an address or a network, and returns the network.
func checkNetwork(s string) (string, error) {
	prefix, err := netip.ParsePrefix(s)
	if addr, aerr := netip.ParseAddr(s); aerr == nil && addr.Zone() == "" {
		prefix, err = addr.Unmap().Prefix(addr.Unmap().BitLen())
	}
	if err != nil || prefix.Addr().Is4In6() {
		return "", fmt.Errorf(`%q is not an address or a network: allowed is one like "192.0.2.1" or "2001:db8::/32"`, s)
	}
	return prefix.Masked().String(), nil
}
