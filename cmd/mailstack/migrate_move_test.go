package main

import (
	"errors"
	"testing"

	"mailstack/accounts"
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
	users := []movingUser{}
	for _, a := range m.old.list.Accounts {
		address, err := accounts.ParseAccount(a.Address)
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, movingUser{address: address})
	}
	byIMAP := leftBehind(m.mover, users, []string{"alice@example.org"})
	if len(byIMAP) != 1 || byIMAP[0].User != "bob@example.org" || byIMAP[0].whole() || (migratedReport{Mailboxes: byIMAP}).failed() == nil ||
		byIMAP[0].Error != "its mail was not moved: it is an alias; remove that here, or take the line out of the file (--users)" {
		t.Errorf("left behind by IMAP: %+v", byIMAP)
	}
	if r := (&migrate.Report{Mailboxes: list}); r.OK() {
		t.Error("all is said to hold")
	}
}
