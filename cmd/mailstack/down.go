package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/stack"
)

func newDownCmd(a *app) *cobra.Command {
	var purge, yes bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop and remove the containers; the data stays",
		Long: "down stops and removes the stack's containers and networks. Mail, accounts, secrets\n" +
			"and certificates stay, and up brings the same stack back. --purge deletes them too,\n" +
			"for good; files that carry no mark of this stack are left alone.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if yes && !purge {
				return usageError(errors.New("--yes goes with --purge"))
			}
			return a.down(cmd.Context(), purge, yes)
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "delete all mail, accounts, secrets and certificates of the stack too (asks first)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before --purge")
	return cmd
}

func (a *app) down(ctx context.Context, purge, yes bool) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	l := layout(cfg)
	g, err := stack.NewGraph(stack.Catalog())
	if err != nil {
		return err
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(l.Dir); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(a.Stdout, "nothing to do: there is no stack in %s\n", l.Dir)
		return nil
	}
	unlock, err := stack.Lock(l, "down", time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	id, err := stack.ReadID(l)
	if err != nil {
		return err
	}
	if purge && !yes {
		if err := a.confirm("delete all mail and accounts of stack "+cfg.Name+" in "+l.Dir, cfg.Name); err != nil {
			return err
		}
	}
	removed, err := stack.Down(ctx, e, g, cfg.Name, id, func(line string) { fmt.Fprintln(a.Stderr, line) })
	if err != nil {
		return err
	}
	switch {
	case purge:
		if err := stack.Purge(l, stack.Volumes(g), id); err != nil {
			return err
		}
		if err := removeMaintenance(cfg); err != nil {
			return err
		}
		fmt.Fprintf(a.Stdout, "%s is down, its data is deleted\n", cfg.Name)
	case removed == 0:
		fmt.Fprintln(a.Stdout, "nothing to do")
	default:
		fmt.Fprintf(a.Stdout, "%s is down; its data stays in %s\n", cfg.Name, l.Dir)
	}
	return nil
}

// confirm asks a person to type a word before something cannot be undone.
func (a *app) confirm(what, word string) error {
	if !a.terminal() {
		return usageError(fmt.Errorf("%s: nobody to ask; say --yes", what))
	}
	fmt.Fprintf(a.Stderr, "This will %s.\nType %q to go on: ", what, word)
	answer, err := bufio.NewReader(a.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != word {
		return errors.New("nothing was changed")
	}
	return nil
}
