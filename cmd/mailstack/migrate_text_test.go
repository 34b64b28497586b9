package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"mailstack/migrate"
	"mailstack/migrate/imapcopy"
	"mailstack/migrate/maildir"
	"mailstack/migrate/source"
)

// TestNothingATerminalObeys: whatever another host names or says, a terminal shows
// it and does nothing else.
func TestNothingATerminalObeys(t *testing.T) {
	const evil = "\x1b]0;pwned\x07\u009b31m\u202egnp.exe\r\nmailstack: all is well\x9b"
	var out bytes.Buffer
	a := &app{Stdout: &out, Stderr: &out}
	address := "bob@example.org"
	old := &oldHost{
		list: &source.Listing{Directory: migrate.Directory{
			Accounts: []migrate.Account{{Address: address, Store: migrate.Store{Maildir: "/" + evil}}, {Address: "eve@example.org"}},
			Aliases:  []migrate.Alias{{Address: "info@example.org", Targets: []string{evil}}},
		}},
		stores: &source.Stores{ByAddress: map[string]source.Seen{"eve@example.org": {Problem: evil}}},
	}
	moved := &migrate.Report{Warnings: []string{evil}, Mailboxes: []migrate.Result{{
		Address: address, Problem: evil, Notes: []string{evil}, Login: []string{evil}, Differences: []maildir.Difference{{Detail: evil}},
	}}}
	copied := migratedReport{Mailboxes: []migratedMailbox{{
		Result: imapcopy.Result{User: address, Left: []string{evil}, Different: []string{evil}}, Error: evil,
	}}}
	for name, show := range map[string]func() error{
		"mapping":     func() error { return a.printMapping(migrateFlags{}, old) },
		"report":      func() error { return (&rsyncMigration{app: a}).printReport(moved) },
		"IMAP report": func() error { return (&imapMigration{app: a}).print(copied) },
		"error":       func() error { reportError(t.Context(), nil, &out, errors.New(evil)); return nil },
	} {
		out.Reset()
		if err := show(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if text := out.String(); strings.ContainsAny(text, "\x1b\x07\r\u009b\u202e") || !utf8.ValidString(text) ||
			!strings.Contains(text, "pwned") {
			t.Errorf("%s: %q", name, text)
		}
	}
}
