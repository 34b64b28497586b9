package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mailstack/accounts"
	"mailstack/migrate"
)

// mostGone is how many of the waiting accounts may be gone on the old server, and
// at least a tenth of them: more is a list of accounts that is not what it was.
const mostGone = 3

// followGone ends the wait of accounts that are gone on the old server: nobody would
// ever open them. Their addresses are refused from now on, as they are there. The
// copy of their mail is set aside as that of any removed account. Who is in use here
// is left alone, and so is who waits for another server.
func (m *rsyncMigration) followGone(ctx context.Context, migration *migrate.Migration) error {
	held := migration.Held()
	var gone []accounts.Address
	for _, text := range held {
		address, err := accounts.ParseAccount(text)
		if err != nil {
			return err
		}
		if m.old.everybody[text] || !m.flags.rsync.selects(text) {
			continue
		}
		account, err := m.mover.db.ShowAccount(ctx, address)
		switch {
		case errors.Is(err, accounts.ErrNotFound), err == nil && !account.Moving:
			err = migration.Forget(text)
		case err == nil && !slices.Contains(m.old.list.Domains, address.Domain):
			m.mover.tell("account %s waits, and its domain is gone on the old server: if it is not to come, mailstack account remove %s", text, text)
		case err == nil:
			gone = append(gone, address)
		}
		if err != nil {
			return err
		}
	}
	if limit := max(mostGone, len(held)/10); len(gone) > limit {
		return hinted(fmt.Errorf("follow the old server: %d of the %d accounts that wait here are gone there, and more than %d are not taken for removed: nothing was changed",
			len(gone), len(held), limit), "look there; if they were removed, remove them here: mailstack account remove "+gone[0].String()+" …")
	}
	for _, address := range gone {
		if err := m.endWait(ctx, migration, address); err != nil {
			return err
		}
	}
	return nil
}

// endWait removes an account that waits.
func (m *rsyncMigration) endWait(ctx context.Context, migration *migrate.Migration, address accounts.Address) error {
	err := m.mover.db.RemoveAccount(ctx, address)
	if errors.Is(err, accounts.ErrInUse) {
		m.mover.tell("account %s is gone on the old server, and goes on waiting here: %v", address, err)
		return nil
	}
	if err != nil {
		return err
	}
	movedTo, err := m.retireMailbox(ctx, address.String())
	if err != nil {
		return fmt.Errorf("set the mail of %s aside: %w", address, err)
	}
	kept := ""
	if movedTo != "" {
		kept = "; the copy of its mail is kept in " + movedTo
	}
	m.mover.tell("account %s is gone on the old server, and removed here, where it waited%s", address, kept)
	return migration.Forget(address.String())
}

// lead is where an alias leads, or one of the places.
type lead struct{ alias, target string }

// followAliases takes away what an earlier run has brought and what is gone on the
// old server, and remembers what this run brings.
func (m *rsyncMigration) followAliases(ctx context.Context, migration *migrate.Migration) error {
	here, err := m.aliasesHere(ctx)
	if err != nil {
		return err
	}
	wanted := map[string][]string{}
	for _, alias := range m.old.list.Aliases {
		if !alias.Disabled {
			wanted[alias.Address] = alias.Targets
		}
	}
	var gone []lead
	made := migration.Aliases()
	for _, alias := range slices.Sorted(maps.Keys(made)) {
		for _, target := range made[alias] {
			if m.flags.rsync.selects(alias) && !slices.Contains(wanted[alias], target) {
				gone = append(gone, lead{alias, target})
			}
		}
	}
	stay, err := m.removeLeads(ctx, gone)
	if err != nil {
		return err
	}
	for _, l := range gone {
		if !slices.Contains(stay, l) {
			made[l.alias] = slices.DeleteFunc(slices.Clone(made[l.alias]), func(t string) bool { return t == l.target })
		}
	}
	for alias, targets := range wanted {
		for _, target := range targets {
			if !slices.Contains(here[alias], target) && !slices.Contains(made[alias], target) {
				made[alias] = append(slices.Clone(made[alias]), target)
			}
		}
	}
	maps.DeleteFunc(made, func(_ string, targets []string) bool { return len(targets) == 0 })
	return migration.SetAliases(made)
}

// removeLeads removes what aliases led to. One that others lead to can go only after
// them, so what cannot go is tried again after the others; what stays is returned,
// and tried by the next run.
func (m *rsyncMigration) removeLeads(ctx context.Context, gone []lead) (stay []lead, err error) {
	for len(gone) > 0 {
		var why []error
		stay = nil
		for _, l := range gone {
			switch err := m.removeLead(ctx, l); {
			case errors.Is(err, accounts.ErrInUse):
				stay, why = append(stay, l), append(why, err)
			case err != nil:
				return nil, err
			}
		}
		if len(stay) == len(gone) {
			for i, l := range stay {
				m.mover.tell("alias %s -> %s is gone on the old server, and stays here: %s", l.alias, l.target, strings.ReplaceAll(why[i].Error(), "\n", "; "))
			}
			return stay, nil
		}
		gone = stay
	}
	return nil, nil
}

func (m *rsyncMigration) removeLead(ctx context.Context, l lead) error {
	alias, err := accounts.ParseAlias(l.alias)
	if err != nil {
		return err
	}
	target, err := accounts.ParseAddress(l.target)
	if err != nil {
		return err
	}
	switch err = m.mover.db.RemoveAlias(ctx, alias, target); {
	case errors.Is(err, accounts.ErrNotFound):
		return nil // somebody has removed it here
	case err == nil:
		m.mover.tell("alias %s -> %s is gone on the old server, and removed here", l.alias, l.target)
	}
	return err
}

// aliasesHere are the targets of all aliases but the stack's own.
func (m *rsyncMigration) aliasesHere(ctx context.Context) (map[string][]string, error) {
	list, err := m.mover.db.ListAliases(ctx, accounts.AliasFilter{})
	here := map[string][]string{}
	for _, alias := range list {
		here[alias.Address] = alias.Targets
	}
	return here, err
}
