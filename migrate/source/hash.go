package source

import (
	"regexp"
	"slices"
	"strings"

	"mailstack/accounts"
	"mailstack/migrate"
)

// crypts are the prefixes of crypt(5) and the name that Dovecot has for each.
var crypts = []struct{ prefix, scheme string }{
	{"$1$", "MD5-CRYPT"},
	{"$2a$", "BLF-CRYPT"},
	{"$2b$", "BLF-CRYPT"},
	{"$2x$", "BLF-CRYPT"},
	{"$2y$", "BLF-CRYPT"},
	{"$5$", "SHA256-CRYPT"},
	{"$6$", "SHA512-CRYPT"},
	{"$argon2i$", "ARGON2I"},
	{"$argon2id$", "ARGON2ID"},
	{"$y$", "CRYPT"},
	{"$gy$", "CRYPT"},
	{"$7$", "CRYPT"},
	{"$md5", "CRYPT"},
	{"$sha1$", "CRYPT"},
	{"$3$", "CRYPT"},
}

var (
	schemeName  = regexp.MustCompile(`^\{([A-Za-z0-9][A-Za-z0-9.-]{0,30})\}(.*)$`)
	desCrypt    = regexp.MustCompile(`^[A-Za-z0-9./]{13}$`)
	hexadecimal = regexp.MustCompile(`^[0-9A-Fa-f]+$`)
)

// vague are names that only say "look at the hash": crypt(3), and Dovecot's MD5,
// which is two things.
var vague = []string{"", "CRYPT", "MD5"}

var plain = []string{"PLAIN", "CLEAR", "CLEARTEXT"}

// normalHash puts a stored password into Dovecot's notation, {SCHEME}hash, with
// the scheme that tells most. byDefault is the scheme of those that name none, ""
// if that is not known. reason says why there is no hash: none is stored, or
// what it is cannot be told; a password in plain text is never guessed.
func normalHash(stored, byDefault string) (hash migrate.Secret, reason string) {
	stored = strings.TrimSpace(stored)
	scheme, value := byDefault, stored
	named := schemeName.FindStringSubmatch(stored)
	if named != nil {
		scheme, value = named[1], named[2]
	}
	scheme = strings.ToUpper(scheme)
	isPlain := slices.Contains(plain, scheme)
	switch {
	case value == "", !isPlain && (value[0] == '!' || strings.Trim(value, "*x") == ""):
		return "", "no password is stored"
	case !isPlain && strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", "the stored password holds characters that no hash has"
	case slices.Contains(vague, scheme) || named == nil && value[0] == '$':
		if told := tellHash(value, scheme); told != "" {
			scheme = told
		}
	}
	if scheme == "" || scheme == "MD5" {
		return "", "the stored password is of no scheme that can be told"
	}
	return migrate.Secret("{" + scheme + "}" + value), ""
}

// tellHash names the scheme by the looks of a hash; "" if it looks like
// nothing.
func tellHash(value, scheme string) string {
	for _, c := range crypts {
		if strings.HasPrefix(value, c.prefix) {
			return c.scheme
		}
	}
	switch {
	case hexadecimal.MatchString(value) && len(value) == 32 && scheme != "CRYPT":
		return "PLAIN-MD5"
	case desCrypt.MatchString(value) && scheme == "CRYPT":
		return "DES-CRYPT"
	case scheme != "":
		return ""
	}
	// Nothing is known: the lengths of digests.
	if hexadecimal.MatchString(value) {
		return map[int]string{40: "SHA1.HEX", 64: "SHA256.HEX", 128: "SHA512.HEX"}[len(value)]
	}
	return ""
}

// schemeOf is the name in a hash's braces.
func schemeOf(hash migrate.Secret) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(string(hash), "{"), "}")
	return name
}

// verifiable says whether Dovecot 2.4 lets anybody in by the hash.
func verifiable(hash migrate.Secret) bool {
	return accounts.CheckHash(accounts.NewSecret(string(hash))) == nil
}
