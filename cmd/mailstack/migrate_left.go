package main

import (
	"fmt"
	"slices"

	"mailstack/migrate"
	"mailstack/migrate/imapcopy"
)

// leftAlone says why the mail of an address stays on the old server, "" where it does
// not: somebody has the address here whom no earlier run from there has brought.
func (m *mover) leftAlone(address string, opened []string, advice string) string {
	why := m.left[address]
	if why == nil || slices.Contains(opened, address) {
		return ""
	}
	return fmt.Sprintf("its mail was not moved: %v; remove that here, or %s", why, advice)
}

// leftBehind are the accounts of the old host whose mail stays there.
func (m *rsyncMigration) leftBehind(opened []string) (list []migrate.Result) {
	for _, a := range m.old.list.Accounts {
		if why := m.mover.leftAlone(a.Address, opened, "name the accounts to be moved (--only)"); why != "" {
			list = append(list, migrate.Result{Address: a.Address, Problem: why})
		}
	}
	return list
}

// leftBehind are the users of the file whose mail stays on the old server.
func leftBehind(mover *mover, users []movingUser, opened []string) (list []migratedMailbox) {
	for _, u := range users {
		if why := mover.leftAlone(u.address.String(), opened, "take the line out of the file (--users)"); why != "" {
			list = append(list, migratedMailbox{Result: imapcopy.Result{User: u.address.String()}, Error: why})
		}
	}
	return list
}
