package main

import (
	"strings"

	"github.com/spf13/cobra"

	"mailstack/accounts"
)

func newAliasCmd(a *app) *cobra.Command { return aliasCommands(newPeople(a)) }

func aliasCommands(p *people) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alias",
		Short: "Add, list and remove addresses whose mail goes to others",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.aliasAdd(), p.aliasList(), p.aliasRemove())
	return cmd
}

func (p *people) aliasAdd() *cobra.Command {
	return &cobra.Command{
		Use:   "add ADDRESS TARGET...",
		Short: "Hand the mail of an address on to one or more others",
		Long: "Hand the mail of an address on to one or more others, here or elsewhere, in\n" +
			"addition to those it goes to already. The address @DOMAIN stands for everything\n" +
			"in the domain that is nobody's. Accounts that get an alias's mail may send as it.",
		Example: "  mailstack alias add info@example.org alice@example.org bob@example.net\n" +
			"  mailstack alias add @example.org alice@example.org",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, targets, err := parseAliasArgs(args)
			if err != nil {
				return err
			}
			return p.with(cmd.Context(), func(db directory) error {
				if err := db.AddAlias(cmd.Context(), address, targets...); err != nil {
					return err
				}
				for _, target := range targets {
					p.say("alias %s -> %s added", bothAddress(address.String()), bothAddress(target.String()))
				}
				return nil
			})
		},
	}
}

// parseAliasArgs takes an alias and its targets.
func parseAliasArgs(args []string) (address accounts.Address, targets []accounts.Address, err error) {
	first := true
	list, err := parseAll(args, func(s string) (accounts.Address, error) {
		if first {
			first = false
			return accounts.ParseAlias(s)
		}
		return accounts.ParseAddress(s)
	})
	if err != nil {
		return accounts.Address{}, nil, err
	}
	return list[0], list[1:], nil
}

func (p *people) aliasList() *cobra.Command {
	var format, domain string
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the aliases",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			domain, err := parseDomainFlag(domain)
			if err != nil {
				return err
			}
			return p.with(cmd.Context(), func(db directory) error {
				list, err := db.ListAliases(cmd.Context(), accounts.AliasFilter{Domain: domain, System: all})
				if err != nil {
					return err
				}
				if format == "json" {
					return p.printJSON(list)
				}
				return p.printAliases(list)
			})
		},
	}
	addFormat(cmd, &format)
	cmd.Flags().StringVar(&domain, "domain", "", "only those of this `DOMAIN`")
	cmd.Flags().BoolVar(&all, "all", false, "also the stack's own: postmaster, abuse, root")
	return cmd
}

func (p *people) printAliases(list []accounts.Alias) error {
	if len(list) == 0 {
		p.say("there are no aliases: mailstack alias add ADDRESS TARGET")
		return nil
	}
	rows := [][]string{{"ADDRESS", "GOES TO"}}
	for _, alias := range list {
		targets := make([]string, 0, len(alias.Targets))
		for _, target := range alias.Targets {
			targets = append(targets, bothAddress(target))
		}
		rows = append(rows, []string{bothAddress(alias.Address), strings.Join(targets, ", ")})
	}
	return p.printTable(rows)
}

func (p *people) aliasRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove ADDRESS [TARGET...]",
		Short: "Remove an alias, or only some of its targets",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, targets, err := parseAliasArgs(args)
			if err != nil {
				return err
			}
			return p.with(cmd.Context(), func(db directory) error {
				if err := db.RemoveAlias(cmd.Context(), address, targets...); err != nil {
					return err
				}
				for _, target := range targets {
					p.say("alias %s -> %s removed", bothAddress(address.String()), bothAddress(target.String()))
				}
				if len(targets) == 0 {
					p.say("alias %s removed", bothAddress(address.String()))
				}
				return nil
			})
		},
	}
}
