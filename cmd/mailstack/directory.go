package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mailstack/accounts"
	"mailstack/config"
)

// directory is what the commands about domains, accounts and aliases need of
// the account database.
type directory interface {
	AddDomain(ctx context.Context, name string) error
	ListDomains(ctx context.Context, system bool) ([]accounts.Domain, error)
	RemoveDomain(ctx context.Context, name string) error

	CheckFree(ctx context.Context, address accounts.Address) error
	AddAccount(ctx context.Context, account accounts.NewAccount) error
	ListAccounts(ctx context.Context, filter accounts.AccountFilter) ([]accounts.Account, error)
	ShowAccount(ctx context.Context, address accounts.Address) (accounts.AccountDetail, error)
	SetPassword(ctx context.Context, address accounts.Address, hash accounts.Secret) error
	SetAccount(ctx context.Context, address accounts.Address, change accounts.AccountChange) (changed bool, err error)
	RemoveAccount(ctx context.Context, address accounts.Address) error

	AddAlias(ctx context.Context, address accounts.Address, targets ...accounts.Address) error
	ListAliases(ctx context.Context, filter accounts.AliasFilter) ([]accounts.Alias, error)
	RemoveAlias(ctx context.Context, address accounts.Address, targets ...accounts.Address) error
	Dangling(ctx context.Context) ([]accounts.Alias, error)

	Pending(ctx context.Context) ([]string, error)
	FinishPending(ctx context.Context, sessions accounts.Sessions) (done int, err error)
}

var _ directory = (*accounts.DB)(nil)

// people is what the commands about domains, accounts and aliases work with.
type people struct {
	*app
	open     func(ctx context.Context) (directory, func(), error)
	sessions func(ctx context.Context) (accounts.Sessions, error)
	retire   func(ctx context.Context, address string) (movedTo string, err error)
	quota    func() (bytes int64, err error) // of an account that is given none
	sign     func(ctx context.Context) error
}

func newPeople(a *app) *people {
	return &people{
		app: a,
		open: func(ctx context.Context) (directory, func(), error) {
			return a.database(ctx)
		},
		sessions: a.sessions,
		retire:   a.retireMailbox,
		quota: func() (int64, error) {
			cfg, err := a.config()
			if err != nil {
				return 0, err
			}
			return cfg.Limits.QuotaBytes, nil
		},
		sign: a.sign,
	}
}

// with runs a command on the database. Whatever becomes of it, sessions that
// are to be ended, this command's or an earlier one's, are ended afterwards.
func (p *people) with(ctx context.Context, command func(db directory) error) error {
	db, done, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	err = command(db)
	p.finish(ctx, db)
	return err
}

// finish ends the sessions of changed accounts. What cannot be done now is
// written down already, so it is a warning and no more.
func (p *people) finish(ctx context.Context, db directory) {
	pending, err := db.Pending(ctx)
	if err != nil || len(pending) == 0 {
		return // a database that does not answer is the command's own error
	}
	sessions, err := p.sessions(ctx)
	if err == nil {
		_, err = db.FinishPending(ctx, sessions)
	}
	if err != nil {
		who := pending[0]
		if len(pending) > 1 {
			who = fmt.Sprintf("%s and %d more", who, len(pending)-1)
		}
		p.warn("logins and sessions of %s are not ended yet: %v; the next command or mailstack maintain does it", who, err)
	}
}

func (p *people) warn(format string, args ...any) {
	fmt.Fprintf(p.Stderr, "warning: "+format+"\n", args...)
}

// say tells a person what was done; scripts go by the exit code, and stdout is
// kept for what they read.
func (p *people) say(format string, args ...any) {
	fmt.Fprintf(p.Stderr, format+"\n", args...)
}

// parseAll parses every argument and reports all that are wrong.
func parseAll(args []string, parse func(string) (accounts.Address, error)) ([]accounts.Address, error) {
	list := make([]accounts.Address, 0, len(args))
	var problems []error
	for _, arg := range args {
		address, err := parse(arg)
		problems = append(problems, err)
		list = append(list, address)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, usageError(err)
	}
	return list, nil
}

// parseDomainFlag takes the value of --domain; empty is every domain.
func parseDomainFlag(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	domain, err := accounts.ParseDomain(value)
	if err != nil {
		return "", usageError(err)
	}
	return domain, nil
}

// both shows a name as mail uses it and, where it differs, as people write it.
func both(stored, unicode string) string {
	if stored == unicode {
		return stored
	}
	return stored + " (" + unicode + ")"
}

// bothAddress is both of an address.
func bothAddress(address string) string {
	at := strings.LastIndexByte(address, '@')
	return both(address, address[:at+1]+accounts.UnicodeDomain(address[at+1:]))
}

// parseQuota reads a size as mailstack.toml has it, or "none".
func parseQuota(text string) (bytes int64, err error) {
	if text == "none" {
		return 0, nil
	}
	bytes, err = config.ParseSize(text)
	if err != nil {
		return 0, usageError(fmt.Errorf("--quota: %w, or none", err))
	}
	return bytes, nil
}

// quotaText shows a quota.
func quotaText(bytes int64) string {
	if bytes == 0 {
		return "none"
	}
	return bytesText(bytes)
}
