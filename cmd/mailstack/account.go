package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mailstack/accounts"
)

func newAccountCmd(a *app) *cobra.Command { return accountCommands(newPeople(a)) }

func accountCommands(p *people) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Add, list, change and remove mailboxes and their logins",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.accountAdd(), p.accountList(), p.accountShow(), p.accountPasswd(), p.accountSet(), p.accountRemove())
	return cmd
}

func (p *people) accountAdd() *cobra.Command {
	var source passwordSource
	var quota string
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Add a mailbox with a login",
		Example: "  mailstack account add alice@example.org\n" +
			"  mailstack account add alice@example.org --generate --quota 2GiB",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := accounts.ParseAccount(args[0])
			if err != nil {
				return usageError(err)
			}
			if err := source.check(p.app); err != nil {
				return err
			}
			bytes, err := p.quotaOf(quota)
			if err != nil {
				return err
			}
			return p.addAccount(cmd.Context(), address, bytes, &source)
		},
	}
	source.addFlags(cmd)
	cmd.Flags().StringVar(&quota, "quota", "", "most that the mailbox may hold, a `SIZE` like 2GiB, or none (default as configured)")
	return cmd
}

// quotaOf is the quota of a new account, given or configured.
func (p *people) quotaOf(flag string) (bytes int64, err error) {
	if flag == "" {
		return p.quota()
	}
	return parseQuota(flag)
}

func (p *people) addAccount(ctx context.Context, address accounts.Address, quota int64, source *passwordSource) error {
	return p.with(ctx, func(db directory) error {
		if err := db.CheckFree(ctx, address); err != nil {
			return err
		}
		password, err := source.read(ctx, p.app)
		if err != nil {
			return err
		}
		hash, err := accounts.HashPassword(password)
		if err != nil {
			return err
		}
		if err := db.AddAccount(ctx, accounts.NewAccount{Address: address, Hash: hash, QuotaBytes: quota}); err != nil {
			return err
		}
		p.say("account %s added", bothAddress(address.String()))
		return source.show(p.app, password)
	})
}

func (p *people) accountList() *cobra.Command {
	var format, domain, after string
	var filter accounts.AccountFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkFormat(format); err != nil {
				return err
			}
			if filter.Limit < 0 {
				return usageError(fmt.Errorf("--limit %d: allowed is 0 (all) or more", filter.Limit))
			}
			if filter.Domain, err = parseDomainFlag(domain); err != nil {
				return err
			}
			if after != "" {
				if filter.After, err = accounts.ParseAddress(after); err != nil {
					return usageError(err)
				}
			}
			return p.with(cmd.Context(), func(db directory) error {
				list, err := db.ListAccounts(cmd.Context(), filter)
				if err != nil {
					return err
				}
				if format == "json" {
					return p.printJSON(list)
				}
				return p.printAccounts(list)
			})
		},
	}
	addFormat(cmd, &format)
	cmd.Flags().StringVar(&domain, "domain", "", "only those of this `DOMAIN`")
	cmd.Flags().IntVar(&filter.Limit, "limit", 0, "list no more than `N`; 0 is all")
	cmd.Flags().StringVar(&after, "after", "", "go on after this `ADDRESS`, the last of the list before")
	cmd.Flags().BoolVar(&filter.System, "all", false, "also the stack's own")
	return cmd
}

func (p *people) printAccounts(list []accounts.Account) error {
	if len(list) == 0 {
		p.say("there are no accounts: mailstack account add ADDRESS")
		return nil
	}
	rows := [][]string{{"ADDRESS", "QUOTA", "LOGIN", "CHANGED"}}
	for _, account := range list {
		rows = append(rows, []string{
			both(account.Address, account.Unicode), quotaText(account.QuotaBytes), loginText(account),
			account.Changed.Format(time.DateOnly),
		})
	}
	return p.printTable(rows)
}

func loginText(account accounts.Account) string {
	switch {
	case account.System:
		return "the stack's own"
	case account.Moving:
		return "being moved here"
	case account.Enabled:
		return "enabled"
	}
	return "disabled"
}

func (p *people) accountShow() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "show ADDRESS",
		Short: "Show an account",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			address, err := accounts.ParseAccount(args[0])
			if err != nil {
				return usageError(err)
			}
			return p.with(cmd.Context(), func(db directory) error {
				account, err := db.ShowAccount(cmd.Context(), address)
				if err != nil {
					return err
				}
				if format == "json" {
					return p.printJSON(account)
				}
				return p.printAccount(account)
			})
		},
	}
	addFormat(cmd, &format)
	return cmd
}

func (p *people) printAccount(account accounts.AccountDetail) error {
	rows := [][]string{
		{"address", both(account.Address, account.Unicode)},
		{"login", loginText(account.Account)},
		{"quota", quotaText(account.QuotaBytes)},
		{"password", account.Scheme},
		{"created", account.Created.Format(time.RFC3339)},
		{"changed", account.Changed.Format(time.RFC3339)},
	}
	for i, alias := range account.Aliases {
		heading := "aliases"
		if i > 0 {
			heading = ""
		}
		rows = append(rows, []string{heading, bothAddress(alias)})
	}
	return p.printTable(rows)
}

func (p *people) accountPasswd() *cobra.Command {
	var source passwordSource
	cmd := &cobra.Command{
		Use:   "passwd ADDRESS",
		Short: "Give an account a new password; the old one ends at once, with all its sessions",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := accounts.ParseAccount(args[0])
			if err != nil {
				return usageError(err)
			}
			if err := source.check(p.app); err != nil {
				return err
			}
			return p.setPassword(cmd.Context(), address, &source)
		},
	}
	source.addFlags(cmd)
	return cmd
}

func (p *people) setPassword(ctx context.Context, address accounts.Address, source *passwordSource) error {
	return p.with(ctx, func(db directory) error {
		// Nobody types a password twice to learn that there is no such account.
		if _, err := db.ShowAccount(ctx, address); err != nil {
			return err
		}
		password, err := source.read(ctx, p.app)
		if err != nil {
			return err
		}
		hash, err := accounts.HashPassword(password)
		if err != nil {
			return err
		}
		if err := db.SetPassword(ctx, address, hash); err != nil {
			return err
		}
		p.say("account %s has a new password", bothAddress(address.String()))
		return source.show(p.app, password)
	})
}

func (p *people) accountSet() *cobra.Command {
	var quota string
	var enable, disable bool
	cmd := &cobra.Command{
		Use:   "set ADDRESS",
		Short: "Change an account's quota, disable or enable it",
		Long: "Change an account's quota, disable or enable it. A disabled account cannot log\n" +
			"in nor send, and its sessions end at once; its mail is still taken in and kept.",
		Example: "  mailstack account set alice@example.org --quota 2GiB\n" +
			"  mailstack account set alice@example.org --disable",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := accounts.ParseAccount(args[0])
			if err != nil {
				return usageError(err)
			}
			change, err := parseChange(quota, enable, disable)
			if err != nil {
				return err
			}
			return p.with(cmd.Context(), func(db directory) error {
				changed, err := db.SetAccount(cmd.Context(), address, change)
				if err != nil {
					return err
				}
				if !changed {
					p.say("nothing to do: account %s is like that", bothAddress(address.String()))
					return nil
				}
				p.say("account %s changed", bothAddress(address.String()))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&quota, "quota", "", "most that the mailbox may hold, a `SIZE` like 2GiB, or none")
	cmd.Flags().BoolVar(&enable, "enable", false, "let it log in and send")
	cmd.Flags().BoolVar(&disable, "disable", false, "let it neither log in nor send")
	return cmd
}

func parseChange(quota string, enable, disable bool) (change accounts.AccountChange, err error) {
	switch {
	case enable && disable:
		return change, usageError(errors.New("--enable and --disable exclude each other"))
	case enable || disable:
		change.Enabled = &enable
	case quota == "":
		return change, usageError(errors.New("nothing to change: use --quota, --enable or --disable"))
	}
	if quota != "" {
		bytes, err := parseQuota(quota)
		if err != nil {
			return change, err
		}
		change.QuotaBytes = &bytes
	}
	return change, nil
}

func (p *people) accountRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove ADDRESS",
		Short: "Remove an account; its mail is set aside, not deleted",
		Long: "Remove an account: its sessions end, and mail for the address is refused from now\n" +
			"on. The mail it has is set aside, so that a later owner of the address does not get it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := accounts.ParseAccount(args[0])
			if err != nil {
				return usageError(err)
			}
			return p.removeAccount(cmd.Context(), address, yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (p *people) removeAccount(ctx context.Context, address accounts.Address, yes bool) error {
	err := p.with(ctx, func(db directory) error {
		if _, err := db.ShowAccount(ctx, address); err != nil {
			return err
		}
		if !yes {
			if err := p.confirm("remove account "+address.String(), address.String()); err != nil {
				return err
			}
		}
		return db.RemoveAccount(ctx, address)
	})
	if err != nil {
		return err
	}
	p.say("account %s removed", bothAddress(address.String()))
	// Only now: the sessions that could still write to the mailbox have ended.
	movedTo, err := p.retire(ctx, address.String())
	switch {
	case err != nil:
		return fmt.Errorf("set its mail aside (it is where it was, and whoever gets the address next gets it too): %w", err)
	case movedTo != "":
		p.say("its mail is kept in %s", movedTo)
	}
	return nil
}
