package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/dkim"
	"mailstack/dns"
)

func newDKIMCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dkim",
		Short: "Show and change the keys that domains sign their mail with",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDKIMShowCmd(a), newDKIMRotateCmd(a))
	return cmd
}

func newDKIMShowCmd(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "show [DOMAIN]",
		Short: "Show the keys of one domain or of all, and the records to publish",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			return a.dkimShow(cmd.Context(), format, args)
		},
	}
	addFormat(cmd, &format)
	return cmd
}

// shownKey is a key as dkim show tells it.
type shownKey struct {
	Domain   string     `json:"domain"`
	Selector string     `json:"selector"`
	Type     string     `json:"type"`
	State    dkim.State `json:"state"`
	Since    time.Time  `json:"since"`
	Until    time.Time  `json:"until,omitzero"` // of a retiring one: its record is needed so long
	Name     string     `json:"name"`           // of the TXT record
	Value    string     `json:"value"`          // its text, whole
}

// record says how long the record is needed, where that is not for good.
func (k shownKey) record() string {
	switch k.State {
	case dkim.Next:
		return ", signs when every name server has the record (mailstack dkim rotate)"
	case dkim.Retiring:
		return ", the record is needed until " + k.Until.Format(time.DateOnly)
	case dkim.Retired:
		return ", the record may be removed"
	}
	return ""
}

func (a *app) dkimShow(ctx context.Context, format string, args []string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	var names []string
	if len(args) > 0 {
		domain, err := accounts.ParseDomain(args[0])
		if err != nil {
			return usageError(err)
		}
		names = []string{domain}
	} else if names, err = a.hostedDomains(ctx); err != nil {
		return err
	}
	keys, missing, err := readKeys(layout(cfg), names)
	if err != nil {
		return err
	}
	if len(args) > 0 && len(missing) > 0 {
		return hinted(fmt.Errorf("show keys of %s: it has none", names[0]),
			"with `enabled = true` in [filter], `mailstack up` makes keys for every domain")
	}
	all := []shownKey{}
	for _, d := range keys {
		for _, k := range d.Keys {
			name, value := dns.SigningRecord(d.Name, signingKey(k))
			shown := shownKey{Domain: d.Name, Selector: k.Selector, Type: k.Type, State: k.State, Since: k.Changed, Name: name, Value: value}
			if k.State == dkim.Retiring {
				shown.Until = k.Until()
			}
			all = append(all, shown)
		}
	}
	if format == "json" {
		return a.printJSON(all)
	}
	for _, k := range all {
		fmt.Fprintf(a.Stdout, "%s  %s since %s%s\n  %s  TXT  %s\n", k.Selector, k.State, k.Since.Format(time.DateOnly), k.record(), k.Name, k.Value)
	}
	return nil
}

// signingKey is a key as package dns knows it.
func signingKey(k dkim.Key) dns.SigningKey {
	return dns.SigningKey{Selector: k.Selector, Type: k.Type, PublicKey: k.PublicKey(), State: string(k.State), Until: k.Until()}
}

// dnsDomains are domains with the keys that the stack signs with.
func dnsDomains(cfg *config.Config, names []string) ([]dns.Domain, error) {
	keys, _, err := readKeys(layout(cfg), names)
	if err != nil {
		return nil, err
	}
	signing := map[string][]dns.SigningKey{}
	for _, d := range keys {
		for _, k := range d.Keys {
			signing[d.Name] = append(signing[d.Name], signingKey(k))
		}
	}
	var domains []dns.Domain
	for _, name := range names {
		domains = append(domains, dns.Domain{Name: name, Signing: signing[name]})
	}
	return domains, nil
}
