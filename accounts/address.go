package accounts

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Octets of an address and its parts (RFC 5321 section 4.5.3.1; 254 because a
// path is 256 with its angle brackets).
const (
	maxLocal   = 64
	maxAddress = 254

	// What is typed may be longer than what it means (UTF-8, quotes), but not
	// by that much; the time that IDNA takes grows with the square.
	maxInput = 2048
)

// Separator begins the part of a local part that its owner chooses freely:
// mail for user+anything@ is mail for user@ (Postfix's recipient_delimiter).
const Separator = "+"

// Address is a mailbox (RFC 5321 section 4.1.2), lower-case, its domain as
// A-labels. An empty Local is the catch-all address of the domain.
type Address struct {
	Local  string // dot-string or quoted-string
	Domain string
}

// String is the address as it is stored and sent: local@domain.
func (a Address) String() string { return a.Local + "@" + a.Domain }

// CatchAll says whether this is the alias address @domain.
func (a Address) CatchAll() bool { return a.Local == "" }

// Base is the address without the free part: user@ of user+tag@.
func (a Address) Base() Address {
	if base, _, found := strings.Cut(a.Local, Separator); found && base != "" {
		a.Local = base
	}
	return a
}

// AddressError says why a text is not an address that can be used.
type AddressError struct {
	Input  string
	Reason string
}

func (e *AddressError) Error() string {
	input := e.Input
	if len(input) > maxAddress {
		input = input[:maxAddress] + "…"
	}
	return fmt.Sprintf("%q: %s", input, e.Reason)
}

// Is makes an AddressError match ErrInvalid.
func (e *AddressError) Is(target error) bool { return target == ErrInvalid }

// domainProfile takes a domain as people type it: mapped as for a lookup
// (case, width, normalisation), checked as for a registration.
var domainProfile = idna.New(
	idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(true),
	idna.ValidateLabels(true), idna.CheckJoiners(true), idna.BidiRule(), idna.VerifyDNSLength(true),
)

// ParseDomain takes a domain name, internationalised or not, and returns it
// lower-case, as A-labels.
func ParseDomain(s string) (string, error) {
	domain, reason := parseDomain(s)
	if reason != "" {
		return "", &AddressError{s, reason}
	}
	return domain, nil
}

func parseDomain(s string) (domain, reason string) {
	switch {
	case s == "":
		return "", "the domain is empty"
	case len(s) > maxInput:
		return "", "it is far too long"
	case !utf8.ValidString(s):
		return "", "the domain is not valid UTF-8"
	case strings.HasPrefix(s, "["):
		return "", "an address literal is not supported: use a domain name"
	case strings.HasSuffix(s, "."):
		return "", "the domain ends in a dot: leave it out"
	case strings.Contains(s, ".."), strings.HasPrefix(s, "."):
		return "", "the domain has an empty label"
	}
	domain, err := domainProfile.ToASCII(s)
	if err != nil {
		return "", fmt.Sprintf("%q is not a domain name: %s", s, domainReason(s, err))
	}
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" ||
			strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return "", fmt.Sprintf("%q is not a domain name: labels are letters, digits and inner hyphens", s)
		}
	}
	// RFC 3696 section 2: a top-level domain is not all numeric, which is
	// what tells a name from an IP address.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "", fmt.Sprintf("%q looks like an IP address: use a domain name", s)
	}
	return domain, ""
}

// domainReason puts what package idna says into words.
func domainReason(s string, err error) string {
	for label := range strings.SplitSeq(s, ".") {
		if len(label) > 63 {
			return "a label is longer than 63 octets"
		}
	}
	if len(s) > 253 {
		return "it is longer than 253 octets"
	}
	return strings.TrimPrefix(err.Error(), "idna: ")
}

// UnicodeDomain shows a stored domain as people write it; the domain itself
// where it has no other form.
func UnicodeDomain(domain string) string {
	shown, err := idna.Display.ToUnicode(domain)
	if err != nil {
		return domain
	}
	return shown
}

// ParseAddress takes any mailbox that mail can be sent to.
func ParseAddress(s string) (Address, error) {
	address, reason := parseAddress(s)
	if reason != "" {
		return Address{}, &AddressError{s, reason}
	}
	return address, nil
}

func parseAddress(s string) (a Address, reason string) {
	at := strings.LastIndexByte(s, '@')
	switch {
	case len(s) > maxInput:
		return a, "it is far too long"
	case at < 0:
		return a, "an address is written local@domain"
	case strings.ContainsAny(s, "<>") && !strings.Contains(s, `"`):
		return a, "write the bare address, without name and angle brackets"
	case at == 0:
		return a, "nothing stands before the @"
	}
	local, reason := parseLocal(s[:at])
	if reason != "" {
		return a, reason
	}
	domain, reason := parseDomain(s[at+1:])
	if reason != "" {
		return a, reason
	}
	a = Address{Local: local, Domain: domain}
	if len(a.String()) > maxAddress {
		return Address{}, fmt.Sprintf("it is longer than %d octets", maxAddress)
	}
	return a, ""
}

// parseLocal takes a Local-part and returns its shortest form: a
// quoted-string that needs no quotes loses them.
func parseLocal(s string) (local, reason string) {
	for _, r := range s {
		if r > 126 {
			return "", "letters beyond ASCII before the @ are not supported (Dovecot cannot take SMTPUTF8)"
		}
	}
	s = strings.ToLower(s)
	if strings.HasPrefix(s, `"`) {
		s, reason = unquote(s)
		if reason != "" {
			return "", reason
		}
	} else if reason = checkDotString(s); reason != "" {
		return "", reason
	}
	if checkDotString(s) != "" {
		s = quote(s)
	}
	if len(s) > maxLocal {
		return "", fmt.Sprintf("the part before the @ is longer than %d octets", maxLocal)
	}
	return s, ""
}

// checkDotString says why s is not a Dot-string (RFC 5321 section 4.1.2).
func checkDotString(s string) (reason string) {
	switch {
	case s == "":
		return "nothing stands before the @"
	case strings.HasPrefix(s, "."), strings.HasSuffix(s, "."):
		return "the part before the @ begins or ends with a dot"
	case strings.Contains(s, ".."):
		return "the part before the @ has two dots in a row"
	}
	for _, r := range s {
		if !atext(r) && r != '.' {
			return fmt.Sprintf("%q cannot stand before the @", r)
		}
	}
	return ""
}

// atext is RFC 5322 section 3.2.3.
func atext(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// unquote returns the content of a Quoted-string.
func unquote(s string) (content, reason string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ':
			return "", "a control character cannot stand before the @"
		case c == '"':
			if i != len(s)-1 {
				return "", "something stands between the closing quote and the @"
			}
			return b.String(), ""
		case c == '\\' && i+1 < len(s) && s[i+1] >= ' ':
			i++
			b.WriteByte(s[i])
		case c == '\\':
			return "", "a backslash quotes nothing"
		default:
			b.WriteByte(c)
		}
	}
	return "", "the quoted part does not end"
}

func quote(content string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(content) + `"`
}

// ParseAccount takes the address of an account. Its local part names a
// directory in the mail store and is a login name, so it is kept to what both
// take without a second thought: Dovecot's default auth_username_chars,
// without a leading hyphen.
func ParseAccount(s string) (Address, error) {
	a, reason := parseAddress(s)
	if reason == "" {
		reason = checkAccountLocal(a.Local)
	}
	if reason != "" {
		return Address{}, &AddressError{s, reason}
	}
	return a, nil
}

func checkAccountLocal(local string) (reason string) {
	if strings.Contains(local, Separator) {
		return "user" + Separator + "anything@ belongs to user@ by itself: leave out the " + Separator
	}
	if strings.HasPrefix(local, "-") {
		return "an account's address does not begin with a hyphen"
	}
	for _, r := range local {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r) {
			return fmt.Sprintf("an account's address has only letters, digits, dot, hyphen and underscore before the @, not %q", r)
		}
	}
	return ""
}

// ParseAlias takes the address of an alias: a dot-string address, or @domain
// for everything in the domain that is nobody's.
func ParseAlias(s string) (Address, error) {
	if domain, found := strings.CutPrefix(s, "@"); found {
		d, reason := parseDomain(domain)
		if reason != "" {
			return Address{}, &AddressError{s, reason}
		}
		return Address{Domain: d}, nil
	}
	a, reason := parseAddress(s)
	if reason == "" {
		reason = checkAliasLocal(a.Local)
	}
	if reason != "" {
		return Address{}, &AddressError{s, reason}
	}
	return a, nil
}

// checkAliasLocal refuses what means something else on the way: Postfix
// rewrites % and ! (allow_percent_hack, swap_bangpath), # separates the
// generation from a login name, / reads as a path. An address that begins with a
// hyphen it refuses (allow_min_user).
func checkAliasLocal(local string) (reason string) {
	if strings.Contains(local, Separator) {
		return "user" + Separator + "anything@ belongs to user@: an alias cannot take it away"
	}
	if strings.HasPrefix(local, "-") {
		return "an alias does not begin with a hyphen"
	}
	for _, r := range local {
		if strings.ContainsRune(`"%!#/`, r) {
			return fmt.Sprintf("an alias cannot have %q before the @", r)
		}
	}
	return ""
}
