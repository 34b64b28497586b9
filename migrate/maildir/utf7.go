package maildir

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Modified UTF-7, in which folders are named on the disk (RFC 3501, section
// 5.1.3): printable ASCII stands for itself, & for the beginning of UTF-16 in a
// base64 of its own.
var base64UTF7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

func printableASCII(c byte) bool { return c >= 0x20 && c < 0x7f }

// DecodeUTF7 returns the Unicode of a name in modified UTF-7. A name that is
// not, or that spells a character in a second way, is an error, as it is for
// Dovecot (imap_utf7_to_utf8).
func DecodeUTF7(name string) (string, error) {
	var out strings.Builder
	for rest := name; rest != ""; {
		c := rest[0]
		if !printableASCII(c) {
			return "", fmt.Errorf("decode folder name %q: octet %#02x", name, c)
		}
		if rest = rest[1:]; c != '&' {
			out.WriteByte(c)
			continue
		}
		encoded, after, found := strings.Cut(rest, "-")
		if !found {
			return "", fmt.Errorf("decode folder name %q: & without -", name)
		}
		if rest = after; encoded == "" {
			out.WriteByte('&')
			continue
		}
		// Two runs side by side would be one.
		if strings.HasPrefix(rest, "&") && !strings.HasPrefix(rest, "&-") {
			return "", fmt.Errorf("decode folder name %q: needless shift", name)
		}
		text, err := decodeRun(encoded)
		if err != nil {
			return "", fmt.Errorf("decode folder name %q: %w", name, err)
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

func decodeRun(encoded string) (string, error) {
	octets, err := base64UTF7.DecodeString(encoded)
	// Package base64 passes over ends of lines, which are no part of it here.
	if err != nil || len(octets)%2 != 0 || strings.ContainsAny(encoded, "\r\n") {
		return "", fmt.Errorf("%q is not UTF-16 in base64", encoded)
	}
	units := make([]uint16, len(octets)/2)
	for i := range units {
		units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
	}
	var out strings.Builder
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i++; i == len(units) {
				return "", fmt.Errorf("%q ends in half a character", encoded)
			}
			r = utf16.DecodeRune(r, rune(units[i]))
		}
		if r == utf8.RuneError || r == 0 || r < utf8.RuneSelf && printableASCII(byte(r)) {
			return "", fmt.Errorf("%q holds what is never encoded", encoded)
		}
		out.WriteRune(r)
	}
	return out.String(), nil
}

// EncodeUTF7 returns a name in modified UTF-7. Octets that are not UTF-8 are
// taken for Latin-1, so that no name is lost.
func EncodeUTF7(name string) string {
	var out strings.Builder
	var run []uint16
	flush := func() {
		if len(run) == 0 {
			return
		}
		octets := make([]byte, 0, 2*len(run))
		for _, unit := range run {
			octets = append(octets, byte(unit>>8), byte(unit))
		}
		out.WriteByte('&')
		out.WriteString(base64UTF7.EncodeToString(octets))
		out.WriteByte('-')
		run = run[:0]
	}
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && size == 1 {
			r = rune(name[i])
		}
		i += size
		switch {
		case r == '&':
			flush()
			out.WriteString("&-")
		case r < utf8.RuneSelf && printableASCII(byte(r)):
			flush()
			out.WriteByte(byte(r))
		default:
			run = utf16.AppendRune(run, r)
		}
	}
	flush()
	return out.String()
}
