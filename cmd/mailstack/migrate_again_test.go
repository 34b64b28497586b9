package main

import (
	"slices"
	"strings"
	"testing"

	"mailstack/migrate"
	"mailstack/migrate/source"
)

// TestChanges: all that decides who may log in and where mail goes is compared, and
// nothing of it is printed.
func TestChanges(t *testing.T) {
	listing := func(accounts []migrate.Account, aliases ...migrate.Alias) *source.Listing {
		return &source.Listing{Directory: migrate.Directory{Domains: []string{"example.org"}, Accounts: accounts, Aliases: aliases}}
	}
	was := listing([]migrate.Account{
		{Address: "a@example.org", Hash: "{X}one", Store: migrate.Store{Maildir: "/a"}},
		{Address: "b@example.org", Hash: "{X}one"},
		{Address: "c@example.org", Hash: "{X}one", Disabled: true},
		{Address: "d@example.org", Hash: "{X}one"},
	}, migrate.Alias{Address: "x@example.org", Targets: []string{"a@example.org"}}, migrate.Alias{Address: "y@example.org", Targets: []string{"a@example.org"}})
	is := listing([]migrate.Account{
		{Address: "a@example.org", Hash: "{X}one"}, // where its mail is has not been looked at
		{Address: "b@example.org", Hash: "{X}secret", QuotaBytes: 5},
		{Address: "c@example.org", Hash: "{X}one"},
		{Address: "e@example.org", Hash: "{X}secret"},
	}, migrate.Alias{Address: "x@example.org", Targets: []string{"b@example.org"}}, migrate.Alias{Address: "z@example.org", Targets: []string{"a@example.org"}})
	is.Domains = append(is.Domains, "example.net")
	changed, lines := changes(was, is)
	want := []string{
		"account b@example.org (password, quota)", "account c@example.org (enabled)", "account e@example.org (new)", "account d@example.org (gone)",
		"domain example.net (new)", "alias x@example.org", "alias z@example.org", "alias y@example.org (gone)",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("changed: %q, want %q", lines, want)
	}
	var addresses []string
	for _, a := range changed {
		addresses = append(addresses, a.Address)
	}
	if got := strings.Join(addresses, " "); got != "b@example.org c@example.org e@example.org" {
		t.Errorf("accounts to be brought again: %s", got)
	}
	if _, lines := changes(was, was); len(lines) > 0 {
		t.Errorf("the same differs: %q", lines)
	}
}
