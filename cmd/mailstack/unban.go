package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/accounts"
	"mailstack/stack"
)

func newUnbanCmd(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "unban [ACCOUNT|ADDRESS...]",
		Short: "Let an account or an address try passwords, or send, again",
		Long: "unban ends at once that an account or an IP address is held back, and forgets the\n" +
			"wrong passwords that were tried there, and what the account has sent. `mailstack\n" +
			"status` shows who is held back or has sent as much as it may. Of an IPv6 address it\n" +
			"is the network of 64 bits.",
		Example: "  mailstack unban alice@example.org 192.0.2.7",
		RunE: func(cmd *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return usageError(errors.New("name accounts and addresses, or use --all"))
			}
			for _, name := range names {
				if !holdable(name) {
					return usageError(fmt.Errorf("%q is not an account or an IP address", name))
				}
			}
			return a.unban(cmd.Context(), names)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that are held back")
	return cmd
}

// holdable says whether something can be held back: an account, an IPv4 address,
// an IPv6 address or its network.
func holdable(name string) bool {
	if strings.Contains(name, "@") {
		return true
	}
	if prefix, err := netip.ParsePrefix(name); err == nil {
		return prefix.Bits() == 64 && prefix.Addr().Is6()
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// unban releases those named, or all; who is not held back is an error, told when
// the others are released.
func (a *app) unban(ctx context.Context, names []string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	container, sender := stack.ContainerName(cfg.Name, "dovecot"), stack.ContainerName(cfg.Name, "postfix")
	if len(names) == 0 {
		list, err := a.heldBack(ctx, e, container)
		if err != nil {
			return err
		}
		for _, h := range list {
			names = append(names, h.Name())
		}
		limited, err := stack.ListLimited(ctx, e, sender)
		if err != nil {
			return err
		}
		for _, l := range limited {
			if !slices.Contains(names, l.Account) {
				names = append(names, l.Account)
			}
		}
	}
	var errs []error
	for _, name := range names {
		if address, err := accounts.ParseAddress(name); err == nil {
			name = address.String()
		}
		was, err := stack.Release(ctx, e, container, name)
		if err == nil && strings.Contains(name, "@") {
			var limited bool
			limited, err = stack.Unlimit(ctx, e, sender, name)
			was = was || limited
		}
		switch {
		case err != nil:
			return hinted(fmt.Errorf("unban %s: %w", name, err), "mailstack status shows whether Dovecot and Postfix run")
		case !was:
			errs = append(errs, fmt.Errorf("unban %s: it is not held back", name))
		default:
			fmt.Fprintf(a.Stderr, "%s is not held back any more\n", name)
		}
	}
	return errors.Join(errs...)
}

func (a *app) heldBack(ctx context.Context, e stack.Engine, container string) ([]stack.HeldBack, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, err := stack.ListHeldBack(ctx, e, container)
	if err != nil {
		return nil, fmt.Errorf("ask who is held back: %w", err)
	}
	slices.SortFunc(list, func(x, y stack.HeldBack) int {
		return cmp.Or(cmp.Compare(y.Refused, x.Refused), cmp.Compare(x.Name(), y.Name()))
	})
	return list, nil
}

// addHeldBack is no problem by itself: the internet guesses every day.
func (s *status) addHeldBack(ctx context.Context, a *app, e stack.Engine, c stack.Container) {
	if c.State != "running" {
		return
	}
	list, err := a.heldBack(ctx, e, c.Name)
	if err != nil {
		s.critical("%v", err)
		return
	}
	s.HeldBack = list
}

// addLimited is a problem: people do not send so much, so whoever does has perhaps
// got hold of a password.
func (s *status) addLimited(ctx context.Context, e stack.Engine, c stack.Container) {
	if c.State != "running" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, err := stack.ListLimited(ctx, e, c.Name)
	if err != nil {
		s.critical("ask who has sent too much: %v", err)
		return
	}
	s.Limited = list
	for _, l := range list {
		s.warning("%s has sent as much as it may (%s): if that was not its owner, mailstack account passwd %[1]s", l.Account, l.Limit)
	}
}
