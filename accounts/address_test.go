package accounts

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Join([]string{label, label, label, strings.Repeat("a", 61)}, ".") // 253
	for _, test := range []struct {
		parse string // "" address, "account", "alias"
		in    string
		want  string // empty: refused
		why   string // part of the reason
	}{
		{"", "User@Example.ORG", "user@example.org", ""},
		{"", "a.b+c@example.org", "a.b+c@example.org", ""},
		{"", "!#$%&'*+-/=?^_`{|}~@example.org", "!#$%&'*+-/=?^_`{|}~@example.org", ""},
		{"", `"a b"@example.org`, `"a b"@example.org`, ""},
		{"", `"a@b"@example.org`, `"a@b"@example.org`, ""},
		{"", `"plain"@example.org`, "plain@example.org", ""},
		{"", `"q\"\\\z"@example.org`, `"q\"\\z"@example.org`, ""},
		{"", `""@example.org`, `""@example.org`, ""},
		{"", "u@bücher.example", "u@xn--bcher-kva.example", ""},
		{"", "u@XN--BCHER-KVA.example", "u@xn--bcher-kva.example", ""},
		{"", "u@straße.example", "u@xn--strae-oqa.example", ""},
		{"", "u@ｅｘａｍｐｌｅ。org", "u@example.org", ""},
		{"", "u@localhost", "u@localhost", ""},
		{"", "u@3com.example", "u@3com.example", ""},
		{"", strings.Repeat("u", 64) + "@example.org", strings.Repeat("u", 64) + "@example.org", ""},
		{"", strings.Repeat("u", 65) + "@example.org", "", "longer than 64"},
		{"", "u@" + label + ".org", "u@" + label + ".org", ""},
		{"", "u@a" + label + ".org", "", "longer than 63"},
		{"", "u@" + long, "", "longer than 254"},
		{"", "u@" + strings.Repeat("ü", 1<<20), "", "far too long"},
		{"alias", "@" + strings.Repeat("ü.", 1<<20), "", "far too long"},
		{"", "u@0\xff.example", "", "not valid UTF-8"},
		{"", "user", "", "local@domain"},
		{"", "", "", "local@domain"},
		{"", "@example.org", "", "nothing stands before"},
		{"", "u@", "", "domain is empty"},
		{"", "Some One <u@example.org>", "", "angle brackets"},
		{"", " u@example.org", "", "' '"},
		{"", "u@example.org ", "", "not a domain name"},
		{"", "u@exam ple.org", "", "not a domain name"},
		{"", "u@[192.0.2.1]", "", "address literal"},
		{"", "u@192.0.2.1", "", "IP address"},
		{"", "u@example.org.", "", "ends in a dot"},
		{"", "u@example..org", "", "empty label"},
		{"", "u@.example.org", "", "empty label"},
		{"", "u@-example.org", "", "not a domain name"},
		{"", "u@ex_ample.org", "", "not a domain name"},
		{"", "u@xn--zzzzzzz99999.example", "", "not a domain name"},
		{"", "ü@example.org", "", "SMTPUTF8"},
		{"", ".u@example.org", "", "begins or ends with a dot"},
		{"", "u.@example.org", "", "begins or ends with a dot"},
		{"", "u..v@example.org", "", "two dots"},
		{"", "u,v@example.org", "", "','"},
		{"", "u@v@example.org", "", "'@'"},
		{"", `"u@example.org`, "", "does not end"},
		{"", `"u"v@example.org`, "", "closing quote"},
		{"", "\"a\x00\"@example.org", "", "control character"},
		{"", "a\n@example.org", "", `'\n'`},

		{"account", "A.b-c_9@example.org", "a.b-c_9@example.org", ""},
		{"account", "u+tag@example.org", "", "leave out the +"},
		{"account", "-u@example.org", "", "hyphen"},
		{"account", "u#1@example.org", "", "'#'"},
		{"account", "u%x@example.org", "", "'%'"},
		{"account", "u!x@example.org", "", "'!'"},
		{"account", "u/../x@example.org", "", "two dots"},
		{"account", "u/x@example.org", "", "'/'"},
		{"account", "o'brien@example.org", "", `'\''`},
		{"account", `"a b"@example.org`, "", `'"'`},
		{"account", "@example.org", "", "nothing stands before"},

		{"alias", "o'brien@example.org", "o'brien@example.org", ""},
		{"alias", "@Example.org", "@example.org", ""},
		{"alias", "@", "", "domain is empty"},
		{"alias", "u+tag@example.org", "", "belongs to user@"},
		{"alias", "-u@example.org", "", "hyphen"},
		{"alias", "u#1@example.org", "", "'#'"},
		{"alias", "u%x@example.org", "", "'%'"},
		{"alias", `"a b"@example.org`, "", `'"'`},
	} {
		parse := map[string]func(string) (Address, error){"": ParseAddress, "account": ParseAccount, "alias": ParseAlias}[test.parse]
		got, err := parse(test.in)
		switch {
		case test.want == "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.why)):
			t.Errorf("%s %q: got %v, want a refusal with %q", test.parse, test.in, err, test.why)
		case test.want != "" && (err != nil || got.String() != test.want):
			t.Errorf("%s %q: got %s, %v, want %s", test.parse, test.in, got, err, test.want)
		}
	}
}

func TestBase(t *testing.T) {
	for in, want := range map[string]string{
		"u@a.example": "u@a.example", "u+x@a.example": "u@a.example", "u+x+y@a.example": "u@a.example", "+x@a.example": "+x@a.example",
	} {
		address, err := ParseAddress(in)
		if err != nil || address.Base().String() != want {
			t.Errorf("%s: got %s, %v, want %s", in, address.Base(), err, want)
		}
	}
}

func TestUnicodeDomain(t *testing.T) {
	for in, want := range map[string]string{
		"example.org": "example.org", "xn--bcher-kva.example": "bücher.example", "xn--strae-oqa.example": "straße.example",
	} {
		if got := UnicodeDomain(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// Whatever is accepted is safe to store: it parses to itself, fits its column,
// and is plain ASCII; an account's parts are safe as names of directories.
func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{
		"u@example.org", `"a\"b"@example.org`, "u@bücher.example", "u+x@a.b", "@example.org", "u@ｅ。org", "a..b@c", "u@xn--a", "u@ß.a\u00ad",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range []struct {
			name  string
			parse func(string) (Address, error)
		}{{"address", ParseAddress}, {"account", ParseAccount}, {"alias", ParseAlias}} {
			name, parse := kind.name, kind.parse
			address, err := parse(s)
			if err != nil {
				continue
			}
			text := address.String()
			again, err := parse(text)
			if err != nil || again != address {
				t.Errorf("%s %q is %q, which is %q, %v", name, s, text, again, err)
			}
			if len(text) > maxAddress || len(address.Local) > maxLocal || text != strings.ToLower(text) ||
				strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > 126 }) {
				t.Errorf("%s %q is %q", name, s, text)
			}
			if name != "account" {
				continue
			}
			for _, directory := range []string{address.Local, address.Domain} {
				if directory == "" || strings.HasPrefix(directory, ".") || strings.HasPrefix(directory, "-") ||
					strings.ContainsAny(directory, "/\\#%!*$+ ") || strings.Contains(directory, "..") {
					t.Errorf("account %q has directory %q", s, directory)
				}
			}
		}
	})
}
