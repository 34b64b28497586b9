package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/certs"
	"mailstack/config"
	"mailstack/stack"
)

func newCertCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Show, renew or trust the TLS certificate",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertShowCmd(a), newCertRenewCmd(a), newCertTrustCmd(a))
	return cmd
}

func certNames(cfg *config.Config) certs.Names {
	return certs.Names{Hostname: cfg.Hostname, Aliases: cfg.Aliases}
}

func newCertShowCmd(a *app) *cobra.Command {
	var format string
	var served bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the certificate, its CA, and how long it is still valid",
		Long: "show reads the certificate on disk. With --served it also fetches the certificate\n" +
			"from every published port and compares: exit status 1 when one differs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			return a.certShow(cmd.Context(), format, served)
		},
	}
	addFormat(cmd, &format)
	cmd.Flags().BoolVar(&served, "served", false, "compare with what every published port serves")
	return cmd
}

// certReport is what `cert show` says, as scripts read it.
type certReport struct {
	certs.State
	DaysLeft  int          `json:"days_left"`
	ShareLeft float64      `json:"share_left"` // of the whole life, 0 to 1
	Usable    bool         `json:"usable"`
	Due       string       `json:"due"` // why the next run renews it; "": it does not
	Served    []servedPort `json:"served,omitempty"`
}

func (a *app) certShow(ctx context.Context, format string, served bool) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	now := time.Now()
	state, err := certs.Inspect(layout(cfg).CADir(), certNames(cfg), now)
	if err != nil {
		return err
	}
	report := certReport{State: state, DaysLeft: state.Days(now), ShareLeft: state.Share(now), Usable: state.Usable(now)}
	_, report.Due = state.Due(now)
	if served {
		report.Served = a.servedPorts(ctx, cfg, state)
	}
	if format == "json" {
		err = a.printJSON(report)
	} else {
		err = a.printCertificate(report)
	}
	if err != nil {
		return err
	}
	return report.verdict()
}

// verdict is the error that the command ends with.
func (r certReport) verdict() error {
	if len(r.Problems) > 0 {
		return r.Problems
	}
	if r.Leaf == nil {
		return hinted(errors.New("show certificate: there is none yet"), "mailstack up")
	}
	if !r.Usable {
		return hinted(fmt.Errorf("show certificate: %s", r.Due), "mailstack cert renew")
	}
	for _, port := range r.Served {
		if !port.Same {
			return hinted(errors.New("compare certificates: not every port serves the one on disk"), "mailstack up; then mailstack logs, if it stays so")
		}
	}
	return nil
}

// printCertificate prints one fact a line.
func (a *app) printCertificate(r certReport) error {
	rows := [][]string{{"file", r.File}}
	if r.Leaf != nil {
		rows = append(rows,
			[]string{"names", strings.Join(r.Leaf.Names, ", ")},
			[]string{"issuer", r.Leaf.Issuer},
			[]string{"fingerprint", "SHA-256 " + r.Leaf.Fingerprint},
			[]string{"valid", utc(r.Leaf.NotBefore) + " to " + utc(r.Leaf.NotAfter)},
			[]string{"left", fmt.Sprintf("%d days, %.0f %% of its life", r.DaysLeft, 100*r.ShareLeft)},
		)
	}
	if r.Due != "" {
		rows = append(rows, []string{"renewal", "due: " + r.Due})
	} else {
		rows = append(rows, []string{"renewal", "not due"})
	}
	if r.Authority != nil {
		rows = append(rows,
			[]string{"CA", filepath.Join(filepath.Dir(r.File), certs.AuthorityFile)},
			[]string{"CA subject", r.Authority.Subject},
			[]string{"CA fingerprint", "SHA-256 " + r.Authority.Fingerprint},
			[]string{"CA valid", utc(r.Authority.NotBefore) + " to " + utc(r.Authority.NotAfter)},
		)
	}
	for _, port := range r.Served {
		rows = append(rows, []string{"served", port.String()})
	}
	return a.printTable(rows)
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func newCertRenewCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "renew",
		Short: "Make a new certificate now and have it served",
		Long: "renew makes a new certificate even where the old one is still good, installs it\n" +
			"and reloads the services without dropping a session. Without being asked, `up`\n" +
			"and `maintain` renew when less than a third of the certificate's life is left.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.certRenew(cmd.Context())
		},
	}
}

func (a *app) certRenew(ctx context.Context) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	l := layout(cfg)
	if _, err := os.Stat(l.IDFile()); errors.Is(err, fs.ErrNotExist) {
		return hinted(fmt.Errorf("renew certificate: stack %s has never been up", cfg.Name), "mailstack up")
	} else if err != nil {
		return hinted(fmt.Errorf("renew certificate: %w", err), "run it as root: sudo mailstack …")
	}
	// Without the engine the new certificate could not be served: better none.
	if _, err := a.open(ctx); err != nil {
		return err
	}
	unlock, err := stack.Lock(l, "cert renew", time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	state, err := certs.Renew(ctx, l.CADir(), certNames(cfg), time.Now(), true)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, "made %s (%s)\n", state.File, state.Renewed)
	fmt.Fprintf(a.Stdout, "fingerprint SHA-256 %s, valid until %s\n", state.Leaf.Fingerprint, utc(state.Leaf.NotAfter))
	if err := a.installCertificates(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.Stdout, "installed; the services serve it")
	return err
}
