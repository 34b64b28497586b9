package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"mailstack/certs"
)

type trustOptions struct {
	print, remove bool
	format        string
	root          string
}

func newCertTrustCmd(a *app) *cobra.Command {
	var opts trustOptions
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Make this system trust the stack's own CA",
		Long: "trust puts the certificate of the stack's own CA into the trust store of this\n" +
			"Debian or Ubuntu system, so that programs here accept the mail server's\n" +
			"certificate. The CA can vouch for the stack's own names only. For other machines\n" +
			"and telephones, --print writes it in PEM form; --format mobileconfig makes that a\n" +
			"profile for Apple's devices. Firefox, Thunderbird and Java keep stores of their\n" +
			"own: import the PEM file there. While a new CA is about to follow the old one,\n" +
			"all of these hold both.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := onlyOne(cmd, "print", "remove"); err != nil {
				return err
			}
			if !opts.print && cmd.Flags().Changed("format") {
				return usageError(errors.New("--format goes with --print"))
			}
			if opts.format != "pem" && opts.format != "mobileconfig" {
				return usageError(fmt.Errorf("--format %s: allowed are pem and mobileconfig", opts.format))
			}
			return a.certTrust(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVar(&opts.print, "print", false, "print the CA's certificate and change nothing")
	cmd.Flags().StringVar(&opts.format, "format", "pem", "`FORMAT` of --print: pem or mobileconfig")
	cmd.Flags().BoolVar(&opts.remove, "remove", false, "undo it")
	cmd.Flags().StringVar(&opts.root, "root", "/", "`DIR` of the system to change")
	_ = cmd.Flags().MarkHidden("root") // for tests; it fails only for a flag that is not there
	return cmd
}

func (a *app) certTrust(ctx context.Context, opts trustOptions) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	store := certs.TrustStore{Root: opts.root, Stack: cfg.Name}
	if !opts.print && opts.root == "/" && os.Geteuid() != 0 {
		return hinted(errors.New("change the system's trust store: that takes root"), "sudo mailstack cert trust")
	}
	if opts.remove {
		change, err := store.Remove(ctx)
		if err != nil {
			return err
		}
		return a.printChange(change, "removed", "was not there: nothing to do", "")
	}
	if cfg.TLS.Mode != "self-signed" {
		return fmt.Errorf("trust the CA: with tls.mode = %q the certificate is not of the stack's own authority", cfg.TLS.Mode)
	}
	authority, err := certs.AuthorityPEM(layout(cfg).CADir())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hinted(fmt.Errorf("stack %s has no CA yet: %w", cfg.Name, err), "mailstack up")
	case errors.Is(err, fs.ErrPermission):
		return hinted(err, "run it as root: sudo mailstack …")
	case err != nil:
		return err
	}
	if opts.print {
		if opts.format == "mobileconfig" {
			if authority, err = certs.Profile(cfg.Name, cfg.Hostname, authority); err != nil {
				return err
			}
		}
		_, err := a.Stdout.Write(authority)
		return err
	}
	change, err := store.Add(ctx, authority)
	if err != nil {
		return err
	}
	return a.printChange(change, "wrote", "is trusted already: nothing to do", "undo it with: mailstack cert trust --remove")
}

// printChange tells exactly what was done.
func (a *app) printChange(change certs.Change, verb, nothing, undo string) error {
	if change.Command == "" {
		_, err := fmt.Fprintf(a.Stdout, "%s %s\n", change.File, nothing)
		return err
	}
	fmt.Fprintf(a.Stdout, "%s %s\nran %s\n", verb, change.File, change.Command)
	if change.Output != "" {
		fmt.Fprintf(a.Stderr, "%s\n", change.Output)
	}
	if undo == "" {
		return nil
	}
	_, err := fmt.Fprintln(a.Stdout, undo)
	return err
}
