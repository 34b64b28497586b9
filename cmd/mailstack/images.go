package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/images"
	"mailstack/stack"
)

func newImagesCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Say what the containers are made of",
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "sbom SERVICE",
		Short: "Print the software bill of materials of a service",
		Long: "sbom prints all packages of a running service's image, with their versions, as a\n" +
			"CycloneDX 1.5 document, which programs that look for vulnerabilities read.",
		Example: "  mailstack images sbom dovecot > dovecot.cdx.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.sbom(cmd.Context(), args[0])
		},
	})
	return cmd
}

// sbomTimeout bounds the question to a container, which takes a tenth of a second.
const sbomTimeout = 30 * time.Second

func (a *app) sbom(ctx context.Context, service string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	g, err := graph(cfg)
	if err != nil {
		return err
	}
	if _, known := g.Service(service); !known {
		return usageError(fmt.Errorf("no service %q: `mailstack status` lists them", service))
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sbomTimeout)
	defer cancel()
	name := stack.ContainerName(cfg.Name, service)
	c, err := e.Container(ctx, name)
	if errors.Is(err, stack.ErrNotFound) || err == nil && c.State != "running" {
		return hinted(fmt.Errorf("read packages of %s: container %s does not run", service, name), "mailstack up")
	}
	if err != nil {
		return err
	}
	r, err := e.Exec(ctx, name, stack.ExecSpec{Command: images.PackageQuery})
	if err != nil {
		return fmt.Errorf("read packages of %s: %w", service, err)
	}
	if r.ExitCode != 0 {
		return fmt.Errorf("read packages of %s: dpkg-query ended with %d: %s", service, r.ExitCode, strings.TrimSpace(string(r.Stderr)))
	}
	packages, err := images.ParsePackages(string(r.Stdout))
	if err != nil {
		return fmt.Errorf("%s: %w", service, err)
	}
	document, err := images.SBOM(c.Image, packages)
	if err != nil {
		return err
	}
	_, err = a.Stdout.Write(document)
	return err
}
