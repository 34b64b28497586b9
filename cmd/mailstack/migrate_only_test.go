package main

import (
	"slices"
	"strings"
	"testing"

	"mailstack/migrate"
	"mailstack/migrate/source"
)

// TestOnly: who is named is moved, however the name is written, and a name that is
// nobody's is told before anything begins.
func TestOnly(t *testing.T) {
	for _, test := range []struct {
		only []string
		want []string // accounts and aliases that are left
		says string
	}{
		{nil, []string{"alice@example.org", "bob@example.org", "carol@xn--mller-kva.example", "info@example.org"}, ""},
		{[]string{"Alice@Example.ORG"}, []string{"alice@example.org"}, ""},
		{[]string{"@Example.org"}, []string{"alice@example.org", "bob@example.org", "info@example.org"}, ""},
		{[]string{"@m\u00fcller.example", "bob@example.org"}, []string{"bob@example.org", "carol@xn--mller-kva.example"}, ""},
		{[]string{"bob@example.org", "bbo@example.org"}, nil, "--only bbo@example.org: the old server has no such account"},
		{[]string{"@ample.org"}, nil, "--only @ample.org: the old server has no such account"},
		{[]string{"example.org"}, nil, "--only: "},
		{[]string{""}, nil, "--only: "},
	} {
		f := rsyncFlags{only: slices.Clone(test.only)}
		list := &source.Listing{Directory: migrate.Directory{
			Accounts: []migrate.Account{{Address: "alice@example.org"}, {Address: "bob@example.org"}, {Address: "carol@xn--mller-kva.example"}},
			Aliases:  []migrate.Alias{{Address: "info@example.org"}},
		}}
		err := f.parseOnly()
		if err == nil {
			err = f.choose(list)
		}
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("--only %q: %v, want %q", test.only, err, test.says)
			}
			continue
		}
		var got []string
		for _, a := range list.Accounts {
			got = append(got, a.Address)
		}
		for _, a := range list.Aliases {
			got = append(got, a.Address)
		}
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("--only %q leaves %q, %v, want %q", test.only, got, err, test.want)
		}
	}
}
