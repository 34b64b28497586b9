package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailstack/accounts"
	"mailstack/migrate"
	"mailstack/migrate/source"
)

// parseOnly puts --only into the form that addresses have.
func (f *rsyncFlags) parseOnly() error {
	var errs []error
	for i, text := range f.only {
		if domain, found := strings.CutPrefix(text, "@"); found {
			parsed, err := accounts.ParseDomain(domain)
			f.only[i] = "@" + parsed
			errs = append(errs, err)
			continue
		}
		parsed, err := accounts.ParseAccount(text)
		f.only[i] = parsed.String()
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	return nil
}

// choose leaves what --only names. A name that is nobody's is an error: whoever it
// was meant for would be left behind.
func (f rsyncFlags) choose(list *source.Listing) error {
	var errs []error
	for _, text := range f.only {
		one := rsyncFlags{only: []string{text}}
		if !slices.ContainsFunc(list.Accounts, func(a migrate.Account) bool { return one.selects(a.Address) }) &&
			!slices.ContainsFunc(list.Aliases, func(a migrate.Alias) bool { return one.selects(a.Address) }) {
			errs = append(errs, fmt.Errorf("--only %s: the old server has no such account", text))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	list.Accounts = slices.DeleteFunc(list.Accounts, func(a migrate.Account) bool { return !f.selects(a.Address) })
	list.Aliases = slices.DeleteFunc(list.Aliases, func(a migrate.Alias) bool { return !f.selects(a.Address) })
	return nil
}

// selects says whether an account or alias is among those to be moved.
func (f rsyncFlags) selects(address string) bool {
	return len(f.only) == 0 || slices.ContainsFunc(f.only, func(s string) bool {
		return s == address || strings.HasPrefix(s, "@") && strings.HasSuffix(address, s)
	})
}
