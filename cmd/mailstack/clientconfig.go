package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/accounts"
	"mailstack/certs"
	"mailstack/clientconfig"
	"mailstack/config"
	"mailstack/stack"
)

func newClientConfigCmd(a *app) *cobra.Command {
	var out, kind string
	kinds := strings.Join(clientconfig.Kinds, ", ")
	cmd := &cobra.Command{
		Use:   "clientconfig [DOMAIN...]",
		Short: "Make the files by which mail programs find their settings",
		Long: "clientconfig makes, for each domain (default all), what mail programs look for on\n" +
			"the web, and other mail servers too: autoconfig (Thunderbird and its like),\n" +
			"autodiscover (Outlook), mobileconfig (a profile for Apple's devices), and the\n" +
			"MTA-STS policy. With --out it writes them below DIR, in a directory for each\n" +
			"name that a web server has to serve (autoconfig.DOMAIN, autodiscover.DOMAIN,\n" +
			"mta-sts.DOMAIN), as they are to be found there; run it again when ports, names\n" +
			"or the kind of certificate change. With --print it prints one of one domain.",
		Example: "  mailstack clientconfig --out /srv/mailstack\n  mailstack clientconfig example.org --print autoconfig",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch err := onlyOne(cmd, "out", "print"); {
			case err != nil:
				return err
			case out == "" && kind == "":
				return usageError(errors.New("one of --out and --print is needed"))
			case kind != "" && !slices.Contains(clientconfig.Kinds, kind):
				return usageError(fmt.Errorf("--print %q: not one of %s", kind, kinds))
			case kind != "" && len(args) != 1:
				return usageError(errors.New("--print: needs one domain"))
			case kind != "":
				return a.printClientConfig(args[0], kind)
			}
			return a.writeClientConfig(cmd.Context(), out, args)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the files below `DIR`")
	cmd.Flags().StringVar(&kind, "print", "", "print one `FILE`: "+kinds)
	return cmd
}

// clientServer is what mail programs and other mail servers are told of the
// server; its domain is to be filled in.
func clientServer(cfg *config.Config) (clientconfig.Server, error) {
	s := clientconfig.Server{Hostname: cfg.Hostname, Stack: cfg.Name, Ports: cfg.Listen.Ports()}
	set, err := certStore(cfg).Served()
	switch {
	case errors.Is(err, certs.ErrNone) || errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return s, fmt.Errorf("read certificate: %w", err)
	case set.Mode() != "self-signed":
		s.Known = set.Known(time.Now())
		return s, nil
	}
	if s.Authority, err = certs.AuthorityPEM(layout(cfg).CADir()); err != nil {
		return s, fmt.Errorf("read certificate authority: %w", err)
	}
	return s, nil
}

func (a *app) printClientConfig(name, kind string) error {
	domain, err := accounts.ParseDomain(name)
	if err != nil {
		return usageError(err)
	}
	server, err := a.servedServer()
	if err != nil {
		return err
	}
	server.Domain = domain
	file, err := clientconfig.Make(kind, server)
	if err != nil {
		return err
	}
	_, err = a.Stdout.Write(file.Content)
	return err
}

// servedServer is clientServer where there is a certificate: what is said of it
// must not be wrong as soon as there is.
func (a *app) servedServer() (clientconfig.Server, error) {
	cfg, err := a.config()
	if err != nil {
		return clientconfig.Server{}, err
	}
	if err := beenUp(cfg, "make files for mail programs"); err != nil {
		return clientconfig.Server{}, err
	}
	return clientServer(cfg)
}

func (a *app) writeClientConfig(ctx context.Context, out string, names []string) error {
	server, err := a.servedServer()
	if err != nil {
		return err
	}
	var domains []string
	var problems []error
	for _, name := range names {
		domain, err := accounts.ParseDomain(name)
		problems = append(problems, err)
		domains = append(domains, domain)
	}
	if err := errors.Join(problems...); err != nil {
		return usageError(err)
	}
	if len(names) == 0 {
		if domains, err = a.hostedDomains(ctx); err != nil {
			return err
		}
	}
	for _, domain := range domains {
		server.Domain = domain
		for _, kind := range clientconfig.Kinds {
			file, err := clientconfig.Make(kind, server)
			if err != nil {
				return err
			}
			path := filepath.Join(out, file.Host, filepath.FromSlash(file.Path))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return fmt.Errorf("write %s: %w", path, err)
			}
			if err := stack.WriteFile(path, file.Content, stack.Owner{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o644}); err != nil {
				return fmt.Errorf("write %s: %w", path, err)
			}
			fmt.Fprintln(a.Stdout, path)
		}
	}
	return nil
}
