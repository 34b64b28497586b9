package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailstack/migrate"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// aliasesOf builds a directory with accounts a@, b@ and aliases, "x -> y, z".
func aliasesOf(lines ...string) *Listing {
	b := newBuilder("test", "PLAIN")
	b.domain("here.example", true)
	b.account("a@here.example", "x1", 0, true, columns{})
	b.account("b@here.example", "x1", 0, true, columns{})
	full := func(s string) string {
		if s = strings.TrimSpace(s); strings.HasSuffix(s, "@") {
			return s + "here.example"
		}
		return strings.Replace(s, "@.", "@here.example", 1)
	}
	for _, line := range lines {
		address, targets, _ := strings.Cut(line, "->")
		address, off := strings.CutPrefix(address, "off ")
		var list []string
		for target := range strings.SplitSeq(targets, ",") {
			list = append(list, full(target))
		}
		b.alias(full(address), list, !off)
	}
	return b.finish()
}

func TestAliases(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []string
		want  string // in order
		left  []string
	}{
		{"plain", []string{"i@ -> a@, x@far.example"}, "i -> a x@far.example", nil},
		{"rows", []string{"i@ -> b@", "i@ -> a@", "i@ -> b@"}, "i -> b a", nil},
		{"after its targets", []string{"i@ -> z@", "z@ -> m@", "m@ -> a@"}, "m -> a; z -> m; i -> z", nil},
		{"sub-address", []string{"i@ -> a+x@"}, "i -> a+x", nil},
		{"dangling", []string{"i@ -> nobody@, a@"}, "i -> a", []string{"i@here.example -> nobody@here.example: nobody has"}},
		{"dangling in a row", []string{"i@ -> j@", "j@ -> k@", "k@ -> nobody@"}, "", []string{"alias i@here.example: it leads to nobody"}},
		{"to the catch-all", []string{"i@ -> nobody@", "@. -> a@"}, "@ -> a; i -> nobody", nil},
		{"catch-all to itself", []string{"@. -> nobody@"}, "", []string{"leads back", "alias @here.example: it leads to nobody"}},
		{"falls to the catch-all", []string{"i@ -> j@", "j@ -> gone@", "@. -> b@"}, "@ -> b; j -> gone; i -> j", nil},
		{"itself", []string{"i@ -> i@, a@"}, "i -> a", []string{"leads back"}},
		{"circle", []string{"i@ -> j@", "j@ -> k@", "k@ -> i@, a@"}, "k -> a; j -> k; i -> j", []string{"k@here.example -> i@here.example: it leads back"}},
		{"circle of two without a way out", []string{"i@ -> j@", "j@ -> i@"}, "", []string{"leads back", "leads to nobody"}},
		{"system names", []string{"i@ -> postmaster@, Abuse@"}, "i -> postmaster abuse", nil},
		{"off", []string{"off i@ -> nobody@, a@", "j@ -> i@, b@"}, "j -> b; i -> a (off)", []string{"j@here.example -> i@here.example: nobody has"}},
		{"account's own", []string{"a@ -> a@"}, "", nil},
		{"forward and copy", []string{"a@ -> a@, x@far.example, y@far.example"}, "", []string{`(require "copy"; redirect :copy "x@far.example"; redirect :copy "y@far.example";)`}},
		{"forward", []string{"a@ -> b@"}, "", []string{`(redirect "b@here.example";)`}},
		{"off forward", []string{"off a@ -> b@"}, "", nil},
		{"odd targets", []string{"i@ -> root, :include:/etc/x, /dev/null, \"|cmd\", a@b@c, a@"}, "i -> a", []string{"without a domain", "leads to a file", "leads to a file", "feeds a program", "a@b@c"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			list := aliasesOf(test.lines...)
			var got []string
			for _, alias := range list.Aliases {
				text := alias.Address + " -> " + strings.Join(alias.Targets, " ")
				if alias.Disabled {
					text += " (off)"
				}
				got = append(got, strings.ReplaceAll(strings.ReplaceAll(text, "@here.example ", " "), "@here.example", ""))
			}
			want := strings.ReplaceAll(test.want, "@ ->", " ->")
			if strings.Join(got, "; ") != want {
				t.Errorf("got %q, want %q; left %q", strings.Join(got, "; "), want, list.Left)
			}
			for _, left := range test.left {
				if !slices.ContainsFunc(list.Left, func(l string) bool { return strings.Contains(l, left) }) {
					t.Errorf("nothing left says %q: %q", left, list.Left)
				}
			}
			if len(test.left) == 0 && len(list.Left) > 0 {
				t.Errorf("left: %q", list.Left)
			}
			checkListing(t, list)
			noHash(t, list)
		})
	}
}

// A hostile table of aliases ends, and soon.
func TestEndlessAliases(t *testing.T) {
	b := newBuilder("test", "")
	b.domain("x.example", true)
	const n = 20000
	for i := range n {
		b.alias(fmt.Sprintf("a%05d@x.example", i), []string{fmt.Sprintf("a%05d@x.example", i+1), fmt.Sprintf("a%05d@x.example", (i+7919)%n)}, true)
	}
	checkListing(t, b.finish())
}

func TestMapping(t *testing.T) {
	const file = `
database = "shop"
scheme = "sha256"
[accounts]
table = "Users"
local = "login"
domain = "site"
password = "pw"
quota = "mb"
quota_unit = "MiB"
active = "ok"
home = "dir"
[domains]
table = "sites"
id = "id"
name = "host"
[aliases]
table = "forward"
address = "src"
targets = "dst"
`
	m, err := ParseMapping("map.toml", strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	table := func(name string, columns []string, rows ...[]string) string {
		text := `<table_data name="` + name + `">`
		for _, row := range rows {
			text += "<row>"
			for i, value := range row {
				text += `<field name="` + columns[i] + `">` + value + `</field>`
			}
			text += "</row>"
		}
		return text + "</table_data>"
	}
	server := fakeServer{"shop": "<x>" +
		table("users", []string{"login", "site", "pw", "mb", "ok", "dir"}, []string{"alice", "1", strings.Repeat("ab", 32), "5", "yes", "/home/alice"}, []string{"bob", "1", "", "-", "n", ""}) +
		table("sites", []string{"id", "host"}, []string{"1", "example.org"}) +
		table("forward", []string{"src", "dst"}, []string{"info@example.org", "alice@example.org"}) + "</x>"}
	list, err := ReadAccounts(t.Context(), server, &Facts{}, AccountOptions{Mapping: m})
	if err != nil {
		t.Fatal(err)
	}
	want := &Listing{Directory: migrate.Directory{
		Schema: "map", Domains: []string{"example.org"},
		Accounts: []migrate.Account{
			{Address: "alice@example.org", Hash: migrate.Secret("{SHA256}" + strings.Repeat("ab", 32)), QuotaBytes: 5 << 20},
			{Address: "bob@example.org", Disabled: true},
		},
		Aliases: []migrate.Alias{{Address: "info@example.org", Targets: []string{"alice@example.org"}}},
		Left:    []string{"password of bob@example.org: no password is stored; it needs a new one (mailstack account passwd)"},
	}, Database: "shop", Schemes: []SchemeCount{{"", 1, true}, {"SHA256", 1, false}}}
	if diff := cmp.Diff(want, list, cmpopts.IgnoreUnexported(Listing{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	m.Accounts.Quota = "quota"
	m.Aliases.Table = "aliases"
	_, err = ReadAccounts(t.Context(), server, &Facts{}, AccountOptions{Mapping: m})
	if err == nil || !strings.Contains(err.Error(), "database shop lacks table aliases, column users.quota") {
		t.Errorf("a mapping that does not fit: %v", err)
	}
}

func TestBadMappings(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"", "accounts.table is missing"},
		{"[accounts]\ntable = \"u\"\naddress = \"a\"\n", "accounts.password is missing"},
		{"[accounts]\ntable = \"u\"\npassword = \"p\"\n", "accounts needs either address or local and domain"},
		{"[accounts]\ntable = \"u\"\npassword = \"p\"\nlocal = \"l\"\n", "accounts needs either"},
		{"[accounts]\ntable = \"u\"\npassword = \"p\"\naddress = \"a\"\nlocal = \"l\"\ndomain = \"d\"\n", "accounts needs either"},
		{"[accounts]\ntable = \"u\"\npassword = \"p\"\naddress = \"a\"\nquota_unit = \"MB\"\n", `"MB" is not bytes`},
		{"[accounts]\ntable = \"u\"\npassword = \"p\"\naddress = \"a\"\ncolour = \"c\"\n", "unknown key accounts.colour"},
		{"[accounts]\ntable = \"u\"\npassword = \"p\"\naddress = \"a\"\n[aliases]\ntable = \"l\"\n", "aliases.targets is missing"},
		{"[accounts]\ntable = \"u\"\npassword = \"p\"\naddress = \"a\"\n[domains]\ntable = \"d\"\n", "domains.name is missing"},
		{"[accounts]\ntable = \"u\"\npassword = \"p\"\naddress = \"a\"\n[alias_domains]\ntable = \"d\"\n", "alias_domains.from is missing"},
		{"[accounts\n", "end table name"},
		{"database = 5\n", "database"},
		{strings.Repeat("#", maxMapFile+1), "larger than"},
	} {
		_, err := ParseMapping("map.toml", strings.NewReader(test.file))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "read map.toml: ") {
			t.Errorf("%.80q: %v, want %q", test.file, err, test.want)
		}
	}
}

func TestFiles(t *testing.T) {
	list := parseFiles(map[string]string{
		"postfix-accounts.cf": "# comment\n\nalice@example.org|{SHA512-CRYPT}$6$s$h\nbob@example.org|{SHA512-CRYPT}$6$s$h|userdb_mail=maildir:/mail/bob userdb_quota_storage_size=2G\nnonsense\nevil@../../x|h\n",
		"dovecot-quotas.cf":   "Alice@example.org:5G\n",
		"postfix-virtual.cf":  "info@example.org alice@example.org,bob@example.org\n@shop.example alice@example.org\npostmaster root\n",
		"postfix-regexp.cf":   "/^test[0-9]+@example.org/ alice@example.org\n",
		"postfix-aliases.cf":  "root: alice@example.org\n",
	}, "")
	golden(t, "docker-mailserver", list.text())
	checkListing(t, list)
	for text, want := range map[string]int64{"": 0, "5G": 5 << 30, "100M": 100 << 20, "10k": 10 << 10, "1T": 1 << 40, "7": 7, "7B": 7, "x": 0, "999999999999999999T": 0, "-1": 0, "5GB": 5 << 30} {
		if got := dovecotSize(text); got != want {
			t.Errorf("size %q: %d, want %d", text, got, want)
		}
	}
}
