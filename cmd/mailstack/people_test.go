package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"mailstack/accounts"
)

// desk runs one command line against a fakeDirectory.
type desk struct {
	db             *fakeDirectory
	sessions       fakeSessions
	stdin          string
	stdout, stderr bytes.Buffer
}

func (d *desk) run(t *testing.T, line ...string) error {
	t.Helper()
	if d.db == nil {
		d.db = &fakeDirectory{}
	}
	d.stdout.Reset()
	d.stderr.Reset()
	a := &app{Stdin: strings.NewReader(d.stdin), Stdout: &d.stdout, Stderr: &d.stderr}
	p := &people{
		app:      a,
		open:     func(context.Context) (directory, func(), error) { return d.db, func() {}, nil },
		sessions: func(context.Context) (accounts.Sessions, error) { return d.sessions, nil },
		retire: func(_ context.Context, address string) (string, error) {
			return "/removed/" + address, d.db.do("retire", address)
		},
		quota: func() (int64, error) { return 7, nil },
		sign:  func(context.Context) error { return d.db.do("sign") },
	}
	root := &cobra.Command{Use: "mailstack", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(domainCommands(p), accountCommands(p), aliasCommands(p))
	markUsageErrors(root)
	root.SetArgs(line)
	return root.ExecuteContext(t.Context())
}

func (d *desk) wantCalls(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(d.db.calls, want) {
		t.Errorf("calls %q, want %q", d.db.calls, want)
	}
}

func TestAccountAddGenerates(t *testing.T) {
	var d desk
	if err := d.run(t, "account", "add", "Alice@Example.org", "--generate"); err != nil {
		t.Fatal(err)
	}
	d.wantCalls(t, "check alice@example.org", "add account alice@example.org")
	password := strings.TrimSuffix(d.stdout.String(), "\n")
	if ok, err := accounts.VerifyPassword(accounts.NewSecret(password), d.db.hash); !ok || err != nil {
		t.Errorf("stdout is %q, which is not the password that was set (%v)", d.stdout.String(), err)
	}
	if strings.Contains(d.stderr.String(), password) || d.stderr.String() != "account alice@example.org added\n" {
		t.Errorf("stderr is %q", d.stderr.String())
	}
	if d.db.quota != 7 {
		t.Errorf("quota is %d, want the configured one", d.db.quota)
	}
}

func TestPasswordStdin(t *testing.T) {
	for _, test := range []struct {
		stdin, password, err string
	}{
		{"correct horse\n", "correct horse", ""},
		{"correct horse\r\n", "correct horse", ""},
		{"no line end", "no line end", ""},
		{" spaces stay \n", " spaces stay ", ""},
		{"", "", "no first line"},
		{"\n", "", "no first line"},
		{"first line\nsecond line\n", "", "more than one line"},
		{"short\n", "", "shorter than 8"},
		{"nul\x00inside\n", "", "control character"},
		{strings.Repeat("x", 10000), "", "read password"},
	} {
		d := desk{stdin: test.stdin}
		err := d.run(t, "account", "add", "a@example.org", "--password-stdin", "--quota", "2GiB")
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%.20q: got %v, want %q", test.stdin, err, test.err)
			}
			d.wantCalls(t, "check a@example.org")
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.stdin, err)
			continue
		}
		if ok, _ := accounts.VerifyPassword(accounts.NewSecret(test.password), d.db.hash); !ok {
			t.Errorf("%q: another password was set", test.stdin)
		}
		if d.stdout.Len() > 0 || d.db.quota != 2<<30 {
			t.Errorf("%q: stdout %q, quota %d", test.stdin, d.stdout.String(), d.db.quota)
		}
	}
}

func TestUsageErrorsTouchNothing(t *testing.T) {
	for _, test := range []struct {
		line string
		want string
	}{
		{"account add", "accepts 1 arg"},
		{"account add nobody --generate", "local@domain"},
		{"account add a+b@example.org --generate", "leave out the +"},
		{"account add a@example.org", "--password-stdin or --generate"},
		{"account add a@example.org --generate --password-stdin", "exclude each other"},
		{"account add a@example.org --generate --quota 2G", `--quota: "2G"`},
		{"account add a@example.org --generate --quota 99999999TiB", "too large"},
		{"account add a@example.org --generate --quota -1", `--quota: "-1"`},
		{"account passwd a@example.org", "no terminal"},
		{"account set a@example.org", "nothing to change"},
		{"account set a@example.org --enable --disable", "exclude each other"},
		{"account list --format yaml", "--format yaml"},
		{"account list --limit -1", "--limit -1"},
		{"account list --domain a..b", "empty label"},
		{"account list --after b", "local@domain"},
		{"alias add a@example.org", "at least 2 arg"},
		{"alias add a@example.org b c@d@", "\"b\": an address is written local@domain\n"},
		{"domain add [192.0.2.1]", "address literal"},
		{"domain remove .", "leave it out"},
	} {
		var d desk
		err := d.run(t, strings.Fields(test.line)...)
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != exitUsage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want a usage error with %q", test.line, err, test.want)
		}
		d.wantCalls(t)
	}
}

func TestRefusalChangesNothing(t *testing.T) {
	refusal := &accounts.Error{Kind: accounts.ErrExists, Text: "exists already"}
	d := desk{db: &fakeDirectory{refusal: refusal}, stdin: "correct horse\n"}
	for _, line := range []string{
		"account add a@example.org --password-stdin", "domain add example.org", "alias add a@example.org b@example.net",
	} {
		if err := d.run(t, strings.Fields(line)...); !errors.Is(err, accounts.ErrExists) {
			t.Errorf("%s: got %v", line, err)
		}
		if d.stdout.Len()+d.stderr.Len() > 0 {
			t.Errorf("%s: said %q", line, d.stderr.String())
		}
	}
	d.wantCalls(t, "check a@example.org", "add domain example.org", "add alias a@example.org b@example.net")
}

func TestPasswdEndsSessions(t *testing.T) {
	alice := []accounts.Account{{Address: "alice@example.org"}}
	d := desk{db: &fakeDirectory{accounts: alice}, stdin: "correct horse\n"}
	if err := d.run(t, "account", "passwd", "alice@example.org", "--password-stdin"); err != nil {
		t.Fatal(err)
	}
	d.wantCalls(t, "set password alice@example.org", "finished alice@example.org")

	// Dovecot away: the change stands, and a warning says what is left.
	d = desk{db: &fakeDirectory{accounts: alice}, stdin: "correct horse\n", sessions: fakeSessions{errors.New("dovecot is away")}}
	if err := d.run(t, "account", "passwd", "alice@example.org", "--password-stdin"); err != nil {
		t.Fatal(err)
	}
	d.wantCalls(t, "set password alice@example.org")
	if !strings.Contains(d.stderr.String(), "warning: logins and sessions of alice@example.org are not ended yet: dovecot is away; the next command or mailstack maintain does it") {
		t.Errorf("stderr is %q", d.stderr.String())
	}

	// The next command, whatever it is and however it ends, does it.
	d.sessions.err = nil
	if err := d.run(t, "account", "show", "nobody@example.org"); !errors.Is(err, accounts.ErrNotFound) {
		t.Fatal(err)
	}
	d.wantCalls(t, "set password alice@example.org", "finished alice@example.org")
}

func TestAccountSet(t *testing.T) {
	var d desk
	if err := d.run(t, "account", "set", "a@example.org", "--quota", "none", "--disable"); err != nil {
		t.Fatal(err)
	}
	if d.db.change.QuotaBytes == nil || *d.db.change.QuotaBytes != 0 || d.db.change.Enabled == nil || *d.db.change.Enabled {
		t.Errorf("changed %+v", d.db.change)
	}
}

func TestAccountRemove(t *testing.T) {
	d := desk{db: &fakeDirectory{accounts: []accounts.Account{{Address: "alice@example.org"}}}}
	if err := d.run(t, "account", "remove", "alice@example.org"); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("without a terminal and --yes: %v", err)
	}
	d.wantCalls(t)
	if err := d.run(t, "account", "remove", "alice@example.org", "--yes"); err != nil {
		t.Fatal(err)
	}
	// The mailbox is moved when nobody can write to it any more.
	d.wantCalls(t, "remove account alice@example.org", "finished alice@example.org", "retire alice@example.org")
	if want := "account alice@example.org removed\nits mail is kept in /removed/alice@example.org\n"; d.stderr.String() != want {
		t.Errorf("stderr is %q, want %q", d.stderr.String(), want)
	}
}

func TestDomainAddWarnsOfAliases(t *testing.T) {
	d := desk{db: &fakeDirectory{dangling: []accounts.Alias{
		{Address: "info@other.example", Targets: []string{"me@example.org"}},
		{Address: "more@other.example", Targets: []string{"me@example.org", "x@third.example"}},
	}}}
	if err := d.run(t, "domain", "add", "Example.org"); err != nil {
		t.Fatal(err)
	}
	want := "domain example.org added\n" +
		"warning: info@other.example delivers to me@example.org, which does not exist yet: mailstack account add me@example.org\n"
	if d.stderr.String() != want {
		t.Errorf("stderr is\n%s\nwant\n%s", d.stderr.String(), want)
	}
}

func TestAliasCommands(t *testing.T) {
	var d desk
	for _, line := range []string{
		"alias add @Bücher.example U+x@a.example", "alias remove info@a.example", "alias remove info@a.example b@c.example",
	} {
		if err := d.run(t, strings.Fields(line)...); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	d.wantCalls(t, "add alias @xn--bcher-kva.example u+x@a.example", "remove alias info@a.example",
		"remove alias info@a.example b@c.example")
}

func TestLists(t *testing.T) {
	db := &fakeDirectory{
		domains: []accounts.Domain{
			{Name: "example.org", Unicode: "example.org", Accounts: 12, CatchAll: true},
			{Name: "xn--bcher-kva.example", Unicode: "bücher.example", Aliases: 3},
		},
		accounts: []accounts.Account{
			{Address: "alice@example.org", Unicode: "alice@example.org", Enabled: true, QuotaBytes: 2 << 30},
			{Address: "bob@xn--bcher-kva.example", Unicode: "bob@bücher.example"},
		},
		aliases: []accounts.Alias{{Address: "@xn--bcher-kva.example", Targets: []string{"alice@example.org", "x@outside.example"}}},
	}
	for _, test := range []struct{ line, want string }{
		{"domain list", `
DOMAIN                                  ACCOUNTS  ALIASES  CATCH-ALL
example.org                             12        0        yes
xn--bcher-kva.example (bücher.example)  0         3        no
`},
		{"account list", `
ADDRESS                                         QUOTA    LOGIN     CHANGED
alice@example.org                               2.0 GiB  enabled   0001-01-01
bob@xn--bcher-kva.example (bob@bücher.example)  none     disabled  0001-01-01
`},
		{"alias list", `
ADDRESS                                   GOES TO
@xn--bcher-kva.example (@bücher.example)  alice@example.org, x@outside.example
`},
		{"alias list --format json", `
[
  {
    "address": "@xn--bcher-kva.example",
    "targets": [
      "alice@example.org",
      "x@outside.example"
    ],
    "domain": "",
    "system": false
  }
]
`},
	} {
		d := desk{db: db}
		if err := d.run(t, strings.Fields(test.line)...); err != nil {
			t.Errorf("%s: %v", test.line, err)
		}
		if got := "\n" + d.stdout.String(); got != test.want {
			t.Errorf("%s: got%s\nwant%s", test.line, got, test.want)
		}
	}
	for _, line := range []string{"domain list", "account list", "alias list"} {
		var d desk
		if err := d.run(t, strings.Fields(line)...); err != nil || d.stdout.Len() > 0 || d.stderr.Len() == 0 {
			t.Errorf("%s of nothing: %v, stdout %q, stderr %q", line, err, d.stdout.String(), d.stderr.String())
		}
	}
}
