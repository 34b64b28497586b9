package main

import (
	"fmt"
	"strings"
	"time"

	"mailstack/config"
)

// showClientSettings prints what a person types into a mail program.
func (a *app) showClientSettings(cfg *config.Config) {
	p := func(format string, args ...any) { fmt.Fprintf(a.Stdout, format, args...) }
	p("\nSettings for mail programs\n  server     %s%s\n  user name  the whole address\n", cfg.Hostname, reachedAt(cfg))
	l := cfg.Listen
	for _, s := range []struct {
		what string
		port uint16
		tls  string
	}{
		{"IMAP", l.IMAPS, "TLS"},
		{"IMAP", l.IMAP, "STARTTLS"},
		{"POP3", l.POP3S, "TLS"},
		{"POP3", l.POP3, "STARTTLS"},
		{"sending", l.Submissions, "TLS"},
		{"sending", l.Submission, "STARTTLS"},
		{"filters", l.ManageSieve, "STARTTLS (ManageSieve)"},
	} {
		if s.port != 0 {
			p("  %-9s  port %-5d %s\n", s.what, s.port, s.tls)
		}
	}
	if words := whomToTrust(cfg); words != "" {
		p("  trust      %s\n", words)
	}
}

// whomToTrust says what mail programs must be told about the certificate;
// empty: nothing.
func whomToTrust(cfg *config.Config) string {
	set, err := certStore(cfg).Served()
	switch {
	case err != nil || set.Mode() == "self-signed":
		return "`mailstack cert trust` on this host, `mailstack cert trust --print` for others:\n" +
			"             the certificate is signed by this stack's own authority"
	case set.Known(time.Now()):
		return ""
	}
	return "this system does not know the authority of the certificate, " + set.Main[0].Leaf().Issuer
}

// reachedAt says where the name leads on a loopback stack, which no DNS knows.
func reachedAt(cfg *config.Config) string {
	if !cfg.Loopback() {
		return ""
	}
	var addresses []string
	for _, a := range cfg.Listen.Addresses {
		addresses = append(addresses, a.String())
	}
	return " (" + strings.Join(addresses, ", ") + ")"
}
