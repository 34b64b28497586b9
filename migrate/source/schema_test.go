package source

import (
	"bytes"
	"context"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/dump/*.golden anew")

// fakeServer has databases whose dumps are in testdata/dump.
type fakeServer map[string]string // XML by database

func serverOf(t *testing.T, database, name string) fakeServer {
	t.Helper()
	text, err := os.ReadFile("testdata/dump/" + name + ".xml")
	if err != nil {
		t.Fatal(err)
	}
	return fakeServer{database: string(text)}
}

// Dump answers what a server has of it.
func (s fakeServer) Dump(_ context.Context, r Request) (io.ReadCloser, error) {
	if r.Database != "information_schema" {
		return io.NopCloser(strings.NewReader(s[r.Database])), nil
	}
	return io.NopCloser(bytes.NewReader(s.columns())), nil
}

// columns are read from the dumps.
func (s fakeServer) columns() []byte {
	var b bytes.Buffer
	b.WriteString(`<mysqldump><database name="information_schema"><table_data name="COLUMNS">`)
	for database, text := range s {
		found, err := readDump(strings.NewReader(strings.ReplaceAll(text, `xsi:nil="true"`, "")), nil)
		if err != nil {
			panic(err)
		}
		for table, rows := range found {
			for column := range rows[0] {
				b.WriteString("<row>")
				for name, value := range map[string]string{"TABLE_SCHEMA": database, "TABLE_NAME": table, "COLUMN_NAME": column} {
					fmt.Fprintf(&b, `<field name="%s">`, name)
					_ = xml.EscapeText(&b, []byte(value))
					b.WriteString("</field>")
				}
				b.WriteString("</row>\n")
			}
		}
	}
	b.WriteString(`</table_data></database></mysqldump>`)
	return b.Bytes()
}

// text shows all that was read, hashes included: they are made up.
func (l *Listing) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "schema %s, database %s\n", l.Schema, l.Database)
	for _, domain := range l.Domains {
		fmt.Fprintf(&b, "domain %s\n", domain)
	}
	for _, a := range l.Accounts {
		c := l.columns[a.Address]
		fmt.Fprintf(&b, "account %s\n\thash %s\n\tquota %d disabled %v\n\traw %q home %q maildir %q format %q\n",
			a.Address, string(a.Hash), a.QuotaBytes, a.Disabled, c.raw, c.home, c.maildir, c.format)
	}
	for _, a := range l.Aliases {
		off := map[bool]string{true: " (off)"}[a.Disabled]
		fmt.Fprintf(&b, "alias %s -> %s%s\n", a.Address, strings.Join(a.Targets, ", "), off)
	}
	for _, s := range l.Schemes {
		fmt.Fprintf(&b, "scheme %q %d refused %v\n", s.Scheme, s.Count, s.Refused)
	}
	for _, left := range l.Left {
		fmt.Fprintf(&b, "left %s\n", left)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "dump", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; got:\n%s", file, got)
	}
}

func TestSchemas(t *testing.T) {
	for _, test := range []struct{ name, database, schema, scheme string }{
		{"postfixadmin", "postfix", "postfixadmin", "MD5"},
		{"postfixadmin-prefix", "pa", "postfixadmin", "CRYPT"},
		{"ispmail", "mailserver", "ispmail", ""},
		{"ispmail-etch", "provider", "ispmail", "PLAIN-MD5"},
		{"iredmail", "vmail", "iredmail", "CRYPT"},
		{"vimbadmin", "vimbadmin", "vimbadmin", "BLF-CRYPT"},
		{"mailcow", "mailcow", "mailcow", ""},
		{"mailstack", "mail", "mailstack", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts := &Facts{Dovecot: Dovecot{DefaultScheme: test.scheme}}
			list, err := ReadAccounts(t.Context(), serverOf(t, test.database, test.name), facts, AccountOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if list.Schema != test.schema || list.Database != test.database {
				t.Errorf("read as %s of %s", list.Schema, list.Database)
			}
			golden(t, test.name, list.text())
			checkListing(t, list)
			noHash(t, list)
		})
	}
}

// checkListing holds for every directory, whatever it was read from: it can be
// made, one line after the other.
func checkListing(t *testing.T, l *Listing) {
	t.Helper()
	have := map[string]bool{}
	for _, domain := range l.Domains {
		for _, name := range systemNames {
			have[name+"@"+domain] = true
		}
	}
	for _, a := range l.Accounts {
		_, domain, _ := strings.Cut(a.Address, "@")
		if have[a.Address] && !slices.Contains(systemNames, strings.TrimSuffix(a.Address, "@"+domain)) || !slices.Contains(l.Domains, domain) || a.QuotaBytes < 0 {
			t.Errorf("account %+v cannot be made", a)
		}
		have[a.Address] = true
	}
	for _, a := range l.Aliases {
		_, domain, _ := strings.Cut(a.Address, "@")
		if !slices.Contains(l.Domains, domain) || len(a.Targets) == 0 {
			t.Errorf("alias %+v cannot be made", a)
		}
		for _, target := range a.Targets {
			local, domain, found := strings.Cut(target, "@")
			base, _, _ := strings.Cut(local, "+")
			if !found || !a.Disabled && slices.Contains(l.Domains, domain) && !have[base+"@"+domain] && !have["@"+domain] {
				t.Errorf("alias %s leads to %s, which nobody has at that moment", a.Address, target)
			}
		}
		if !a.Disabled {
			have[a.Address] = true
		}
	}
	for _, left := range l.Left {
		if strings.ContainsAny(left, "\n\r\x1b") {
			t.Errorf("not fit to be shown: %q", left)
		}
	}
}

// noHash fails where a hash of a server of tests is shown.
func noHash(t *testing.T, l *Listing) {
	t.Helper()
	for _, left := range l.Left {
		if strings.Contains(left, "$6$") {
			t.Errorf("a hash is shown: %q", left)
		}
	}
}

func TestChoose(t *testing.T) {
	two := serverOf(t, "postfix", "postfixadmin")
	two["copy"] = two["postfix"]
	for _, test := range []struct {
		name   string
		server fakeServer
		facts  Facts
		o      AccountOptions
		want   string // of the database, or the error
	}{
		{"two", two, Facts{}, AccountOptions{}, "several databases of the old server may hold the accounts: copy, postfix"},
		{"two, one used", two, Facts{SQL: []Connection{{Database: "postfix"}}}, AccountOptions{}, "postfix"},
		{"two, one named", two, Facts{SQL: []Connection{{Database: "postfix"}}}, AccountOptions{Database: "copy"}, "copy"},
		{"no such", two, Facts{}, AccountOptions{Database: "mail"}, `no database "mail"`},
		{"none", fakeServer{"wiki": "<x><table_data name=\"page\"><row><field name=\"id\">1</field></row></table_data></x>"}, Facts{}, AccountOptions{}, "has the tables of PostfixAdmin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			list, err := ReadAccounts(t.Context(), test.server, &test.facts, test.o)
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				return
			}
			if list.Database != test.want {
				t.Errorf("got database %s, want %q", list.Database, test.want)
			}
		})
	}
}
