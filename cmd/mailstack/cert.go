package main

import (
	"cmp"
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

func newCertShowCmd(a *app) *cobra.Command {
	var format string
	var served, tlsa bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the certificate, its CA, and how long it is still valid",
		Long: "show reads the certificate on disk. With --served it also fetches the certificate\n" +
			"from every published port and compares: exit status 1 when one differs. With\n" +
			"--tlsa it prints the DNS records of DANE instead, for the key that is served and\n" +
			"for the one that will follow: publish both, and a renewal finds its record there.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(checkFormat(format), onlyOne(cmd, "served", "tlsa")); err != nil {
				return err
			}
			if tlsa {
				return a.certTLSA(format)
			}
			return a.certShow(cmd.Context(), format, served)
		},
	}
	addFormat(cmd, &format)
	cmd.Flags().BoolVar(&served, "served", false, "compare with what every published port serves")
	cmd.Flags().BoolVar(&tlsa, "tlsa", false, "print the TLSA records of this and of the next key")
	return cmd
}

// certState is what there is on disk; that there is no certificate is an error.
func (a *app) certState(cfg *config.Config) (certs.State, error) {
	state, err := certStore(cfg).Inspect(time.Now())
	if err == nil && state.Leaf == nil {
		if err = state.Problems.Err(); err == nil {
			err = errNoCertificate
		}
	}
	return state, err
}

var errNoCertificate = hinted(errors.New("show certificate: there is none yet"), "mailstack up")

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
	now, store := time.Now(), certStore(cfg)
	state, err := store.Inspect(now)
	if err != nil {
		return err
	}
	report := certReport{State: state, DaysLeft: state.Days(now), ShareLeft: state.Share(now), Usable: state.Usable(now)}
	_, report.Due = state.Due()
	if served && state.Leaf != nil {
		set, err := store.Served()
		if err != nil {
			return err
		}
		report.Served = a.servedPorts(ctx, cfg, set)
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
		return errNoCertificate
	}
	if !r.Usable {
		return hinted(fmt.Errorf("show certificate: %s", r.Due), "mailstack cert renew")
	}
	for _, port := range r.Served {
		if !port.Same {
			return hinted(errors.New("compare certificates: not every port serves the one on disk"), "mailstack maintain; then mailstack logs, if it stays so")
		}
	}
	return nil
}

// printCertificate prints one fact a line.
func (a *app) printCertificate(r certReport) error {
	rows := [][]string{{"mode", r.Mode}, {"file", r.File}}
	if r.Leaf != nil {
		rows = append(rows,
			[]string{"names", strings.Join(r.Leaf.Names, ", ")},
			[]string{"issuer", r.Leaf.Issuer},
			[]string{"fingerprint", "SHA-256 " + r.Leaf.Fingerprint},
			[]string{"valid", utc(r.Leaf.NotBefore) + " to " + utc(r.Leaf.NotAfter)},
			[]string{"left", fmt.Sprintf("%d days, %.0f %% of its life", r.DaysLeft, 100*r.ShareLeft)},
		)
	}
	for _, e := range r.Extra {
		rows = append(rows, []string{"further names", fmt.Sprintf("%s, until %s, from %s", strings.Join(e.Names, ", "), utc(e.Certificate.NotAfter), e.File)})
	}
	if r.Twin != nil {
		rows = append(rows, []string{"RSA twin", "SHA-256 " + r.Twin.Fingerprint})
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
	if r.NextAuthority != nil {
		rows = append(rows,
			[]string{"next CA", r.NextAuthority.Subject},
			[]string{"next CA fingerprint", "SHA-256 " + r.NextAuthority.Fingerprint},
			[]string{"next CA valid", utc(r.NextAuthority.NotBefore) + " to " + utc(r.NextAuthority.NotAfter)},
		)
	}
	if r.StandIn {
		rows = append(rows, []string{"warning", "the stack's own CA stands in: nothing of the mode is there yet"})
	}
	for _, warning := range r.Warnings {
		rows = append(rows, []string{"warning", warning})
	}
	for _, port := range r.Served {
		rows = append(rows, []string{"served", port.String()})
	}
	return a.printTable(rows)
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func newCertRenewCmd(a *app) *cobra.Command {
	var rollover bool
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Make a new certificate now and have it served",
		Long: "renew makes a new certificate even where the old one is still good, or takes the\n" +
			"files of mode \"files\" as they are now, installs it, reloads the services without\n" +
			"dropping a session, and looks whether every port serves it; if one does not, the\n" +
			"old certificate is put back. Without being asked, `up` and `maintain` renew when\n" +
			"less than a third of the certificate's life is left.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rollover {
				return a.certRenew(cmd.Context(), certs.Rollover)
			}
			return a.certRenew(cmd.Context(), certs.Anyway)
		},
	}
	cmd.Flags().BoolVar(&rollover, "rollover", false, "take the next keys although keys are reused")
	return cmd
}

func (a *app) certRenew(ctx context.Context, ask certs.Ask) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	if ask == certs.Rollover && cfg.TLS.Mode == "files" {
		return hinted(errors.New(`take the next key: with tls.mode = "files" the keys are yours`), "put the next key and its certificate into the files, then mailstack cert renew")
	}
	if err := beenUp(cfg, "renew certificate"); err != nil {
		return err
	}
	l, store := layout(cfg), byHand(certStore(cfg))
	// Without the engine the new certificate could not be served: better none.
	t, err := a.open(ctx)
	if err != nil {
		return err
	}
	unlock, err := stack.Lock(l, "cert renew", time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	state, err := store.Renew(ctx, time.Now(), ask)
	if err != nil {
		return err
	}
	if err := a.installRenewed(ctx, t, state); err != nil {
		return err
	}
	return state.Refused()
}

// beenUp is an error where a stack was never started, which could serve nothing
// that it was given now.
func beenUp(cfg *config.Config, doing string) error {
	_, err := os.Stat(layout(cfg).IDFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hinted(fmt.Errorf("%s: stack %s has never been up", doing, cfg.Name), "mailstack up")
	case err != nil:
		return hinted(fmt.Errorf("%s: %w", doing, err), "run it as root: sudo mailstack …")
	}
	return nil
}

// installRenewed has a renewed certificate served, and tells.
func (a *app) installRenewed(ctx context.Context, t *target, state certs.State) error {
	leaf := state.Leaf
	if state.Pending != nil {
		leaf = state.Pending
	}
	if state.Renewed == "" {
		fmt.Fprintln(a.Stdout, "there is nothing newer than what is served")
	} else {
		fmt.Fprintf(a.Stdout, "made %s (%s)\n", state.File, state.Renewed)
	}
	fmt.Fprintf(a.Stdout, "fingerprint SHA-256 %s, valid until %s\n", leaf.Fingerprint, utc(leaf.NotAfter))
	served, err := a.installCertificates(ctx, t)
	if err != nil {
		return err
	}
	said := "installed; the services serve it"
	if !served {
		said = "installed; the services serve it when they run: mailstack up"
	}
	_, err = fmt.Fprintln(a.Stdout, said)
	return err
}
