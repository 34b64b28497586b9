package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailstack/accounts"
	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"
)

// catchUp reads the accounts of the old server again, now that nobody uses it any
// more, and follows what has changed there since this run read them: who changed a
// password in that time would have the old one here. The migration to go on with is
// returned: another one, where the accounts are others.
//
// A database that was stopped with the rest cannot be read. That is said, and no
// reason to keep the mail from moving.
func (m *rsyncMigration) catchUp(ctx context.Context, migration *migrate.Migration) (*migrate.Migration, error) {
	if m.flags.rsync.datadir != "" {
		return migration, nil // that one had been stopped before
	}
	now := &oldHost{host: m.old.host, facts: m.old.facts}
	err := now.read(ctx, m.flags.rsync, now.running)
	if ctx.Err() != nil {
		return migration, ctx.Err()
	}
	if err != nil {
		m.mover.tell("! what has changed in accounts and aliases there since %s is not here, as they cannot be read again: %s",
			m.old.when.Local().Format(time.TimeOnly), remote.Visible(strings.ReplaceAll(err.Error(), "\n", "; ")))
		return migration, nil
	}
	changed, lines := changes(m.old.list, now.list)
	if len(lines) == 0 {
		return migration, nil
	}
	for _, line := range lines {
		m.mover.tell("changed on the old server since this run began: %s", line)
	}
	return m.followChanges(ctx, migration, now, changed)
}

// changes compares two readings of who has mail there. lines say what is another now,
// changed are the accounts among it that are there.
func changes(was, is *source.Listing) (changed []migrate.Account, lines []string) {
	known := map[string]migrate.Account{}
	for _, a := range was.Accounts {
		known[a.Address] = a
	}
	for _, a := range is.Accounts {
		before, there := known[a.Address]
		delete(known, a.Address)
		var what []string
		for word, differs := range map[string]bool{
			"new": !there, "password": there && a.Hash != before.Hash, "quota": there && a.QuotaBytes != before.QuotaBytes,
			"disabled": there && a.Disabled && !before.Disabled, "enabled": there && !a.Disabled && before.Disabled,
		} {
			if differs {
				what = append(what, word)
			}
		}
		if len(what) > 0 {
			slices.Sort(what)
			changed = append(changed, a)
			lines = append(lines, fmt.Sprintf("account %s (%s)", a.Address, strings.Join(what, ", ")))
		}
	}
	for _, a := range was.Accounts {
		if _, gone := known[a.Address]; gone {
			lines = append(lines, fmt.Sprintf("account %s (gone)", a.Address))
		}
	}
	for _, domain := range is.Domains {
		if !slices.Contains(was.Domains, domain) {
			lines = append(lines, fmt.Sprintf("domain %s (new)", domain))
		}
	}
	return changed, append(lines, aliasChanges(was, is)...)
}

func aliasChanges(was, is *source.Listing) (lines []string) {
	known := map[string]migrate.Alias{}
	for _, a := range was.Aliases {
		known[a.Address] = a
	}
	for _, a := range is.Aliases {
		before, there := known[a.Address]
		delete(known, a.Address)
		if !there || a.Disabled != before.Disabled || !slices.Equal(a.Targets, before.Targets) {
			lines = append(lines, "alias "+a.Address)
		}
	}
	for _, a := range was.Aliases {
		if _, gone := known[a.Address]; gone {
			lines = append(lines, "alias "+a.Address+" (gone)")
		}
	}
	return lines
}

// followChanges makes accounts and aliases what they are now.
func (m *rsyncMigration) followChanges(ctx context.Context, migration *migrate.Migration, now *oldHost, changed []migrate.Account) (*migrate.Migration, error) {
	if err := m.locateNew(ctx, now); err != nil {
		return migration, err
	}
	m.old.list, m.old.everybody = now.list, now.everybody
	if err := m.domains(ctx); err != nil {
		return migration, err
	}
	held, err := m.hold(ctx, changed)
	if err != nil {
		return migration, err
	}
	before := m.selected()
	for _, address := range held {
		if !slices.Contains(m.moving, address) {
			m.moving = append(m.moving, address)
		}
	}
	m.moving = slices.DeleteFunc(m.moving, func(a accounts.Address) bool {
		return !slices.ContainsFunc(now.list.Accounts, func(there migrate.Account) bool { return there.Address == a.String() })
	})
	if err := m.follow(ctx, migration); err != nil {
		return migration, err
	}
	if len(before) == len(m.selected()) && len(m.moving) == len(before) {
		return migration, nil
	}
	migration.Close()
	return m.openMigration()
}

// locateNew gives each account its store: the one it had, or where that of a new one is.
func (m *rsyncMigration) locateNew(ctx context.Context, now *oldHost) error {
	stores := map[string]migrate.Store{}
	for _, a := range m.old.list.Accounts {
		stores[a.Address] = a.Store
	}
	fresh := *now.list
	fresh.Accounts = slices.DeleteFunc(slices.Clone(now.list.Accounts), func(a migrate.Account) bool {
		_, known := stores[a.Address]
		return known
	})
	if len(fresh.Accounts) > 0 {
		seen, err := source.Locate(ctx, now.host, now.facts, &fresh, source.LocateOptions{Layout: m.flags.rsync.layout})
		if err != nil {
			return err
		}
		for _, a := range fresh.Accounts {
			if s := seen.ByAddress[a.Address]; s.State != source.Found && s.State != source.Absent {
				return hinted(fmt.Errorf("move mail of %s, which is new on the old server: %s", a.Address, remote.Visible(s.Problem)),
					"run the same command again, which says before it begins what cannot be copied")
			}
			stores[a.Address] = a.Store
		}
	}
	for i, a := range now.list.Accounts {
		now.list.Accounts[i].Store = stores[a.Address]
	}
	return nil
}
