package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mailstack/accounts"
)

func newDomainCmd(a *app) *cobra.Command { return domainCommands(newPeople(a)) }

func domainCommands(p *people) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "domain",
		Short: "Add, list and remove the domains that mail is taken in for",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.domainAdd(), p.domainList(), p.domainRemove())
	return cmd
}

func (p *people) domainAdd() *cobra.Command {
	return &cobra.Command{
		Use:   "add DOMAIN",
		Short: "Take in mail for a domain",
		Long: "Take in mail for a domain. Its postmaster, abuse and root go to the configured\n" +
			"postmaster at once; everything else needs accounts or aliases.",
		Example: "  mailstack domain add example.org\n  mailstack domain add bücher.example",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			domain, err := accounts.ParseDomain(args[0])
			if err != nil {
				return usageError(err)
			}
			ctx := cmd.Context()
			return p.with(ctx, func(db directory) error {
				if err := db.AddDomain(ctx, domain); err != nil {
					return err
				}
				p.say("domain %s added", both(domain, accounts.UnicodeDomain(domain)))
				p.signDomains(ctx)
				return p.warnDangling(ctx, db, domain)
			})
		},
	}
}

// signDomains lets the mail of just the domains that there are be signed. What
// cannot be done now the next up or maintenance run does.
func (p *people) signDomains(ctx context.Context) {
	if err := p.sign(ctx); err != nil {
		p.warn(unsigned, err)
	}
}

const unsigned = "who signs mail does not know of it before the next `mailstack up` or `mailstack maintain`: %v"

// warnDangling names aliases into a domain whose targets are nobody's yet.
func (p *people) warnDangling(ctx context.Context, db directory, domain string) error {
	list, err := db.Dangling(ctx)
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for _, alias := range list {
		for _, target := range alias.Targets {
			if !strings.HasSuffix(target, "@"+domain) || told[target] {
				continue
			}
			told[target] = true
			p.warn("%s delivers to %s, which does not exist yet: mailstack account add %s", alias.Address, target, target)
		}
	}
	return nil
}

func (p *people) domainList() *cobra.Command {
	var format string
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the domains",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			return p.with(cmd.Context(), func(db directory) error {
				list, err := db.ListDomains(cmd.Context(), all)
				if err != nil {
					return err
				}
				if format == "json" {
					return p.printJSON(list)
				}
				return p.printDomains(list)
			})
		},
	}
	addFormat(cmd, &format)
	cmd.Flags().BoolVar(&all, "all", false, "also the stack's own")
	return cmd
}

func (p *people) printDomains(list []accounts.Domain) error {
	if len(list) == 0 {
		p.say("there are no domains yet: mailstack domain add DOMAIN")
		return nil
	}
	rows := [][]string{{"DOMAIN", "ACCOUNTS", "ALIASES", "CATCH-ALL"}}
	for _, d := range list {
		name, catchAll := both(d.Name, d.Unicode), "no"
		if d.System {
			name += " [host name]"
		}
		if d.CatchAll {
			catchAll = "yes"
		}
		rows = append(rows, []string{name, fmt.Sprint(d.Accounts), fmt.Sprint(d.Aliases), catchAll})
	}
	return p.printTable(rows)
}

func (p *people) domainRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove DOMAIN",
		Short: "Take in no more mail for a domain; it must have no accounts and aliases",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			domain, err := accounts.ParseDomain(args[0])
			if err != nil {
				return usageError(err)
			}
			return p.with(cmd.Context(), func(db directory) error {
				if err := db.RemoveDomain(cmd.Context(), domain); err != nil {
					return err
				}
				p.say("domain %s removed", both(domain, accounts.UnicodeDomain(domain)))
				p.signDomains(cmd.Context())
				return nil
			})
		},
	}
}
