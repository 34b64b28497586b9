package main

import (
	"context"
	"errors"

	"mailstack/accounts"
	"mailstack/migrate"
)

// aliases makes those of the old server that are not here, as far as their
// targets are. An alias may lead to another one: what cannot be made is tried
// again after the others.
func (m *rsyncMigration) aliases(ctx context.Context) error {
	defer m.mover.signDomains(ctx)
	left := m.old.list.Aliases
	for {
		var again []migrate.Alias
		var why []error
		for _, alias := range left {
			if alias.Disabled {
				m.mover.tell("alias %s is disabled there and is left out", alias.Address)
				continue
			}
			err := m.alias(ctx, alias)
			if errors.Is(err, accounts.ErrNotFound) || errors.Is(err, accounts.ErrExists) || errors.Is(err, accounts.ErrInvalid) {
				again, why = append(again, alias), append(why, err)
			} else if err != nil {
				return err
			}
		}
		if len(again) == len(left) || len(again) == 0 {
			for i, alias := range again {
				m.mover.tell("alias %s is not carried over: %v", alias.Address, why[i])
			}
			return nil
		}
		left = again
	}
}

// alias adds the targets that are missing.
func (m *rsyncMigration) alias(ctx context.Context, alias migrate.Alias) error {
	address, err := accounts.ParseAlias(alias.Address)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	list, err := m.mover.db.ListAliases(ctx, accounts.AliasFilter{Domain: address.Domain})
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.Address == address.String() && !a.System {
			for _, target := range a.Targets {
				have[target] = true
			}
		}
	}
	var missing []accounts.Address
	for _, text := range alias.Targets {
		target, err := accounts.ParseAddress(text)
		if err != nil {
			return err
		}
		if !have[target.String()] {
			missing = append(missing, target)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := m.mover.domain(ctx, address.Domain); err != nil {
		return err
	}
	return m.mover.db.AddAlias(ctx, address, missing...)
}
