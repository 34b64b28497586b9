package accounts

import (
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// New passwords are hashed with Argon2id at OWASP's first recommendation
// (https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html):
// 19 MiB, two passes, one lane. That is some 25 ms of one core per
// verification, about the price of bcrypt at cost 9 with far better resistance
// to graphics cards; Dovecot remembers a verified password, so the price is
// paid per password and cache lifetime, not per login. The memory is what the
// auth service needs room for (vsz_limit) for each worker. libsodium, which
// verifies in Dovecot, wants one lane.
const (
	argonMemoryKiB = 19456
	argonPasses    = 2
	argonLanes     = 1
	argonSaltBytes = 16
	argonKeyBytes  = 32

	schemeArgon2id = "{ARGON2ID}"
)

// Bounds of a password that a person chooses, in characters and octets. Eight
// is the least of NIST SP 800-63B; the upper bound keeps a SASL PLAIN response
// well inside every protocol's line.
const (
	MinPasswordChars = 8
	MaxPasswordBytes = 512
)

// CheckPassword says why a password cannot be accepted. Its octets are used as
// they are: clients send UTF-8 as typed and Dovecot compares octets, so
// normalising here (SASLprep, RFC 4013) would lock out those who type the
// other form.
func CheckPassword(password Secret) error {
	text := password.Reveal()
	switch {
	case !utf8.ValidString(text):
		return refuse(ErrInvalid, "", "the password is not valid UTF-8")
	case strings.ContainsFunc(text, unicode.IsControl):
		return refuse(ErrInvalid, "", "the password has a control character, which no mail program can send")
	case utf8.RuneCountInString(text) < MinPasswordChars:
		return refuse(ErrInvalid, "--generate makes a good one", "the password is shorter than %d characters", MinPasswordChars)
	case len(text) > MaxPasswordBytes:
		return refuse(ErrInvalid, "", "the password is longer than %d octets", MaxPasswordBytes)
	}
	return nil
}

// HashPassword hashes a password for Dovecot, after CheckPassword.
func HashPassword(password Secret) (Secret, error) {
	if err := CheckPassword(password); err != nil {
		return Secret{}, err
	}
	return hashPassword(password), nil
}

// HashExisting hashes a password that its owner has already, on another mail
// host. It may be as short as that host let it be.
func HashExisting(password Secret) (Secret, error) {
	if n := len(password.Reveal()); n == 0 || n > MaxPasswordBytes {
		return Secret{}, refuse(ErrInvalid, "", "a password has between 1 and %d octets, this one %d", MaxPasswordBytes, n)
	}
	return hashPassword(password), nil
}

func hashPassword(password Secret) Secret {
	salt := make([]byte, argonSaltBytes)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
	key := argon2.IDKey([]byte(password.Reveal()), salt, argonPasses, argonMemoryKiB, argonLanes, argonKeyBytes)
	b64 := base64.RawStdEncoding
	return NewSecret(fmt.Sprintf("%s$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", schemeArgon2id, argon2.Version,
		argonMemoryKiB, argonPasses, argonLanes, b64.EncodeToString(salt), b64.EncodeToString(key)))
}

// schemeRandom is the scheme of hashRandom.
const schemeRandom = "{SSHA512}"

// hashRandom hashes a password of 100 random bits or more, which nobody finds by
// trying: a hash that is slow would protect it no better, and the probe logs in
// at every port at once.
func hashRandom(password Secret) Secret {
	salt := make([]byte, argonSaltBytes)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
	sum := sha512.Sum512(append([]byte(password.Reveal()), salt...))
	return NewSecret(schemeRandom + base64.StdEncoding.EncodeToString(append(sum[:], salt...)))
}

// verifyRandom says whether hash is hashRandom's of password.
func verifyRandom(password, hash Secret) bool {
	encoded, found := strings.CutPrefix(hash.Reveal(), schemeRandom)
	sum, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(sum) < sha512.Size {
		return false
	}
	want := sha512.Sum512(append([]byte(password.Reveal()), sum[sha512.Size:]...))
	return subtle.ConstantTimeCompare(want[:], sum[:sha512.Size]) == 1
}

// VerifyPassword says whether hash was made of password. It knows the hashes
// that HashPassword makes and no others.
func VerifyPassword(password, hash Secret) (bool, error) {
	phc, found := strings.CutPrefix(hash.Reveal(), schemeArgon2id)
	fields := strings.Split(phc, "$")
	if !found || len(fields) != 6 {
		return false, refuse(ErrInvalid, "", "the hash is not an %s hash", schemeArgon2id)
	}
	var memory, passes uint32
	var lanes uint8
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil {
		return false, refuse(ErrInvalid, "", "the hash has no parameters")
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(fields[4])
	want, errKey := base64.RawStdEncoding.DecodeString(fields[5])
	if errSalt != nil || errKey != nil || len(want) == 0 || passes == 0 || lanes == 0 || memory > 1<<20 {
		return false, refuse(ErrInvalid, "", "the hash is damaged")
	}
	got := argon2.IDKey([]byte(password.Reveal()), salt, passes, memory, lanes, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// acceptedSchemes are the schemes Dovecot 2.4 verifies without
// auth_allow_weak_schemes
// (https://doc.dovecot.org/2.4/core/config/auth/schemes.html). Suffixes such
// as .HEX are allowed.
var acceptedSchemes = map[string]bool{
	"PLAIN": true, "CLEAR": true, "CLEARTEXT": true,
	"SHA": true, "SHA1": true, "SHA256": true, "SHA512": true, "SSHA": true, "SSHA256": true, "SSHA512": true,
	"PBKDF2": true, "CRAM-MD5": true, "DIGEST-MD5": true, "SCRAM-SHA-1": true, "SCRAM-SHA-256": true,
	"BLF-CRYPT": true, "SHA256-CRYPT": true, "SHA512-CRYPT": true, "ARGON2I": true, "ARGON2ID": true,
}

// acceptedCrypts begin the hashes of crypt(5) that Dovecot has Debian's libcrypt
// verify as {CRYPT} and that are no weak ones: yescrypt, its variant with the GOST
// digest, scrypt, and those with a scheme of their own, too.
var acceptedCrypts = []string{"$y$", "$gy$", "$7$", "$6$", "$5$", "$2y$", "$2b$", "$2a$"}

// accepted says whether Dovecot verifies a hash of a scheme.
func accepted(scheme, value string) bool {
	if scheme == "CRYPT" {
		return slices.ContainsFunc(acceptedCrypts, func(prefix string) bool { return strings.HasPrefix(value, prefix) })
	}
	return acceptedSchemes[scheme]
}

// weakSchemes are those that Dovecot 2.4 verifies only because it is told to
// (auth_allow_weak_schemes): accounts have one on purpose, while they come from
// another host, until their owner's next login (see the procedure rehash).
var weakSchemes = map[string]bool{
	"MD5-CRYPT": true, "DES-CRYPT": true, "MD5": true, "PLAIN-MD5": true, "LDAP-MD5": true, "SMD5": true,
}

// WeakHash says whether a hash is one that can be guessed in little time, and
// that AllowWeak is for.
func WeakHash(hash Secret) bool {
	name, _, _ := strings.Cut(hashScheme(hash.Reveal()), ".")
	return weakSchemes[name]
}

// CheckHash says why a hash from elsewhere cannot be used: it must be
// {SCHEME}hash with a scheme that Dovecot verifies.
func CheckHash(hash Secret) error { return checkHash(hash, false) }

func checkHash(hash Secret, allowWeak bool) error {
	scheme := hashScheme(hash.Reveal())
	name, _, _ := strings.Cut(scheme, ".")
	switch {
	case scheme == "":
		return refuse(ErrInvalid, "", "the password hash does not begin with {SCHEME}")
	case !accepted(name, hash.Reveal()[len(scheme)+2:]) && !(allowWeak && weakSchemes[name]):
		return refuse(ErrInvalid, "the account needs a new password", "Dovecot does not verify passwords of scheme %s", scheme)
	case len(hash.Reveal()) == len(scheme)+2:
		return refuse(ErrInvalid, "", "the password hash is empty")
	case len(hash.Reveal()) > 255:
		return refuse(ErrInvalid, "", "the password hash is longer than 255 octets")
	}
	return nil
}

// hashScheme is the name in braces at the front, upper-case; empty if none.
func hashScheme(hash string) string {
	rest, found := strings.CutPrefix(hash, "{")
	if !found {
		return ""
	}
	scheme, _, found := strings.Cut(rest, "}")
	if !found {
		return ""
	}
	return strings.ToUpper(scheme)
}

// Generated passwords: letters and digits that no typeface confuses (no i l o
// u, no 0 1), in five groups of five so that a person can read them aloud:
// 30^25, 122 bits.
const (
	generatedAlphabet = "abcdefghjkmnpqrstvwxyz23456789"
	generatedGroups   = 5
	generatedGroup    = 5
)

// GeneratePassword makes a password of 122 random bits that can be read aloud
// and typed on any keyboard.
func GeneratePassword() Secret {
	var b strings.Builder
	random := make([]byte, 64)
	for chars := 0; chars < generatedGroups*generatedGroup; {
		_, _ = rand.Read(random) // never fails: crypto/rand ends the program instead
		for _, r := range random {
			// Whole multiples of the alphabet only, so that no letter is likelier.
			if int(r) >= 256/len(generatedAlphabet)*len(generatedAlphabet) || chars == generatedGroups*generatedGroup {
				continue
			}
			if chars > 0 && chars%generatedGroup == 0 {
				b.WriteByte('-')
			}
			b.WriteByte(generatedAlphabet[int(r)%len(generatedAlphabet)])
			chars++
		}
	}
	return NewSecret(b.String())
}
