package accounts

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestHashPassword(t *testing.T) {
	password := NewSecret("correct horse")
	hash, err := HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^\{ARGON2ID\}\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)
	if !form.MatchString(hash.Reveal()) {
		t.Errorf("hash %s is not what Dovecot reads", hash.Reveal())
	}
	if err := CheckHash(hash); err != nil {
		t.Error(err)
	}
	if ok, err := VerifyPassword(password, hash); !ok || err != nil {
		t.Errorf("its own password: %t, %v", ok, err)
	}
	if ok, err := VerifyPassword(NewSecret("correct horsE"), hash); ok || err != nil {
		t.Errorf("another password: %t, %v", ok, err)
	}
	if other, _ := HashPassword(password); other.Reveal() == hash.Reveal() {
		t.Error("two hashes of one password are equal: no salt")
	}
}

// The form of doveadm pw -s SSHA512: digest of password and salt, then the salt.
func TestHashRandom(t *testing.T) {
	password := NewSecret("KKPQ4KZZABSWC")
	hash := hashRandom(password)
	if err := CheckHash(hash); err != nil {
		t.Error(err)
	}
	text, found := strings.CutPrefix(hash.Reveal(), "{SSHA512}")
	raw, err := base64.StdEncoding.DecodeString(text)
	if !found || err != nil || len(raw) != sha512.Size+argonSaltBytes {
		t.Fatalf("hash %s: %v", hash.Reveal(), err)
	}
	if sum := sha512.Sum512(append([]byte(password.Reveal()), raw[sha512.Size:]...)); !bytes.Equal(sum[:], raw[:sha512.Size]) {
		t.Error("the hash is not that of the password")
	}
	if !verifyRandom(password, hash) {
		t.Error("the hash is not known again")
	}
	for _, other := range []string{"", "{SSHA512}", "{SSHA512}!", text, "{ARGON2ID}" + text, "{SSHA512}" + text[4:], "{SSHA512}" + "AAAA" + text[4:]} {
		if verifyRandom(password, NewSecret(other)) {
			t.Errorf("%s is taken for the password's hash", other)
		}
	}
	if hashRandom(password).Reveal() == hash.Reveal() {
		t.Error("two hashes of one password are equal: no salt")
	}
}

// Made by doveadm pw -s ARGON2ID of Dovecot 2.4.1 (libsodium).
func TestVerifyDovecotHash(t *testing.T) {
	hash := NewSecret("{ARGON2ID}$argon2id$v=19$m=262144,t=3,p=1$Ag9kGo41UES3/A4Vfq0M6w$JzIxuCh1TJEv3dletHHlBmEqdk1xf0Fcb/cxqDqYYMc")
	if ok, err := VerifyPassword(NewSecret("correct horse"), hash); !ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
}

func TestVerifyPasswordRefusesDamage(t *testing.T) {
	for _, hash := range []string{
		"", "{SHA256}abc", "{ARGON2ID}", "{ARGON2ID}$argon2id$v=19$m=0$x$y", "{ARGON2ID}$argon2id$v=19$m=64,t=0,p=1$AAAA$AAAA",
		"{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$AAAA$", "{ARGON2ID}$argon2id$v=19$m=4000000000,t=1,p=1$AAAA$AAAA",
		"{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$!$AAAA",
	} {
		if ok, err := VerifyPassword(NewSecret("x"), NewSecret(hash)); ok || !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %t, %v", hash, ok, err)
		}
	}
}

func TestCheckPassword(t *testing.T) {
	for password, want := range map[string]string{
		"12345678": "", "pässwörd": "", "with spaces inside": "", strings.Repeat("x", 512): "",
		"1234567": "shorter", "äöüäöüä": "shorter", "": "shorter", strings.Repeat("x", 513): "longer",
		"nul\x00nul\x00": "control", "line\nline\n": "control", "tab\ttab\t": "control", "\xff\xfe\xff\xfe\xff\xfe\xff\xfe": "UTF-8",
	} {
		err := CheckPassword(NewSecret(password))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.20q: got %v, want %q", password, err, want)
		}
	}
}

func TestCheckHash(t *testing.T) {
	for hash, want := range map[string]string{
		"{SHA512-CRYPT}$6$salt$hash": "", "{blf-crypt}$2y$x": "", "{SSHA512.HEX}ab": "", "{PLAIN}x": "",
		"{CRYPT}$y$j9T$x$y": "", "{crypt}$7$x": "", "{CRYPT}$6$x$y": "", "{CRYPT}$2y$x": "", "{CRYPT}$sha1$x": "does not verify", "{CRYPT}$1$x": "does not verify", "{CRYPT}$y": "does not verify", "{CRYPT}": "does not verify",
		"{MD5-CRYPT}$1$x": "does not verify", "{CRYPT}x": "does not verify", "$1$x": "begin with", "": "begin with",
		"{SHA256}": "is empty", "{SHA256}" + strings.Repeat("x", 255): "longer",
	} {
		err := CheckHash(NewSecret(hash))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.20q: got %v, want %q", hash, err, want)
		}
	}
}

func TestGeneratePassword(t *testing.T) {
	form := regexp.MustCompile(`^([a-hjkmnp-tv-z2-9]{5}-){4}[a-hjkmnp-tv-z2-9]{5}$`)
	seen := map[string]bool{}
	letters := map[rune]int{}
	for range 2000 {
		password := GeneratePassword().Reveal()
		if !form.MatchString(password) || seen[password] {
			t.Fatalf("generated %q", password)
		}
		seen[password] = true
		for _, r := range password {
			letters[r]++
		}
	}
	for _, r := range generatedAlphabet {
		// 50,000 characters, 30 kinds: 1,667 of each, five standard deviations are 200.
		if letters[r] < 1450 || letters[r] > 1890 {
			t.Errorf("%q came %d times of 50000", r, letters[r])
		}
	}
}

func TestSecretShowsNothing(t *testing.T) {
	secret := NewSecret("hidden")
	type holder struct {
		Public  Secret
		private Secret
	}
	encoded, err := json.Marshal(map[string]any{"a": secret, "b": holder{secret, secret}})
	if err != nil {
		t.Fatal(err)
	}
	var h any = holder{secret, secret}
	for _, text := range []string{
		string(encoded), secret.String(), fmt.Sprint(secret, &secret, h, &h),
		fmt.Sprintf("%s %q %v %+v %#v %x %d", secret, secret, secret, secret, secret, secret, secret),
		fmt.Sprintf("%s %q %v %+v %#v %x %d", h, h, h, h, h, h, h),
	} {
		if strings.Contains(text, "hidden") || strings.Contains(text, fmt.Sprintf("%x", "hidden")) {
			t.Errorf("it shows in %s", text)
		}
	}
	if secret.Reveal() != "hidden" || !(Secret{}).IsZero() || secret.IsZero() {
		t.Error("the value is lost")
	}
}

func BenchmarkHashPassword(b *testing.B) {
	for b.Loop() {
		_, _ = HashPassword(NewSecret("correct horse"))
	}
}
