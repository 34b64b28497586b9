package source

import (
	"strings"
	"testing"
)

func TestNormalHash(t *testing.T) {
	bcrypt, sha512 := "$2y$05$"+strings.Repeat("a", 53), "$6$salt$"+strings.Repeat("b", 86)
	md5hex := "5f4dcc3b5aa765d61d8327deb882cf99"
	for _, test := range []struct {
		stored, byDefault, want string // "": refused
		verifiable              bool
	}{
		{"{SSHA512}AAAA", "MD5", "{SSHA512}AAAA", true},
		{"{ssha256.hex}00ff", "", "{SSHA256.HEX}00ff", true},
		{"{SHA512-CRYPT}" + sha512, "PLAIN", "{SHA512-CRYPT}" + sha512, true},
		{"{CRYPT}" + sha512, "", "{SHA512-CRYPT}" + sha512, true},
		{"{CRYPT}" + bcrypt, "", "{BLF-CRYPT}" + bcrypt, true},
		{"{CRYPT}$y$j9T$abc$def", "", "{CRYPT}$y$j9T$abc$def", true},
		{"$y$j9T$abc$def", "MD5", "{CRYPT}$y$j9T$abc$def", true},
		{"{CRYPT}$sha1$1$a$b", "", "{CRYPT}$sha1$1$a$b", false},
		{"{CRYPT}ab3NIbVLAD7rM", "", "{DES-CRYPT}ab3NIbVLAD7rM", false},
		{"{MD5}" + md5hex, "", "{PLAIN-MD5}" + md5hex, false},
		{"{MD5}$1$salt$hash", "", "{MD5-CRYPT}$1$salt$hash", false},
		{"{MD5}X03MO1qnZdYdgyfeuILPmQ==", "", "", false}, // an LDAP server's; Dovecot never verified it
		{"{PLAIN}$1$is$my password", "CRYPT", "{PLAIN}$1$is$my password", true},
		{"{PLAIN-MD5}" + md5hex, "", "{PLAIN-MD5}" + md5hex, false},
		{"$1$salt$hash", "PLAIN", "{MD5-CRYPT}$1$salt$hash", false},
		{bcrypt, "SHA512-CRYPT", "{BLF-CRYPT}" + bcrypt, true},
		{strings.Replace(bcrypt, "$2y$", "$2b$", 1), "", "{BLF-CRYPT}" + strings.Replace(bcrypt, "$2y$", "$2b$", 1), true},
		{"$5$salt$hash", "CRYPT", "{SHA256-CRYPT}$5$salt$hash", true},
		{sha512, "", "{SHA512-CRYPT}" + sha512, true},
		{"$argon2i$v=19$m=1,t=1,p=1$a$b", "", "{ARGON2I}$argon2i$v=19$m=1,t=1,p=1$a$b", true},
		{"$argon2id$v=19$m=1,t=1,p=1$a$b", "CRYPT", "{ARGON2ID}$argon2id$v=19$m=1,t=1,p=1$a$b", true},
		{md5hex, "MD5", "{PLAIN-MD5}" + md5hex, false},
		{md5hex, "", "{PLAIN-MD5}" + md5hex, false},
		{strings.Repeat("0f", 20), "", "{SHA1.HEX}" + strings.Repeat("0f", 20), true},
		{strings.Repeat("0f", 32), "SHA256", "{SHA256}" + strings.Repeat("0f", 32), true},
		{"secret", "PLAIN", "{PLAIN}secret", true},
		{"grün und blau", "PLAIN", "{PLAIN}grün und blau", true},
		// Nothing is taken for a password in plain text that is not called one.
		{"secret", "", "", false},
		{"secret", "MD5", "", false},
		{"ab3NIbVLAD7rM", "", "", false},
		{"grün", "SHA256", "", false},
		{"", "PLAIN", "", false},
		{"  ", "", "", false},
		{"{SHA512-CRYPT}", "", "", false},
		{"!" + sha512, "CRYPT", "", false},
		{"{CRYPT}!", "", "", false},
		{"*", "CRYPT", "", false},
		{"x", "CRYPT", "", false},
	} {
		hash, reason := normalHash(test.stored, test.byDefault)
		if string(hash) != test.want || (test.want == "") != (reason != "") {
			t.Errorf("%q by default %q: %s, %q, want %s", test.stored, test.byDefault, string(hash), reason, test.want)
		}
		if test.want != "" && verifiable(hash) != test.verifiable {
			t.Errorf("%s: verifiable is not %v", test.want, test.verifiable)
		}
		if len(test.stored) > 6 && strings.Contains(reason, test.stored) {
			t.Errorf("the reason gives the password away: %q", reason)
		}
	}
}
