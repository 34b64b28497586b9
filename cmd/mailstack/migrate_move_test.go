package main

import (
	"errors"
	"testing"

	"mailstack/migrate"
	"mailstack/migrate/source"
)

// TestLeftBehind: mail that stays on the old server as its address is somebody's here
// keeps a run from being whole; of who was moved by an earlier run nothing stays.
func TestLeftBehind(t *testing.T) {
	m := &rsyncMigration{
		old: &oldHost{list: &source.Listing{Directory: migrate.Directory{Accounts: []migrate.Account{
			{Address: "alice@example.org"}, {Address: "bob@example.org"}, {Address: "carol@example.org"},
		}}}},
		mover: &mover{left: map[string]error{"alice@example.org": errors.New("it is in use"), "bob@example.org": errors.New("it is an alias")}},
	}
	list := m.leftBehind([]string{"alice@example.org"})
	if len(list) != 1 || list[0].Address != "bob@example.org" ||
		list[0].Problem != "its mail was not moved: it is an alias; remove that here, or name the accounts to be moved (--only)" {
		t.Errorf("left behind: %+v", list)
	}
	if r := (&migrate.Report{Mailboxes: list}); r.OK() {
		t.Error("all is said to hold")
	}
}
