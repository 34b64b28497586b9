package main

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"mailstack/certs"
	"mailstack/certs/acme"
	"mailstack/config"
)

// acmeSource asks the configured authority for certificates. What it keeps is
// below the directory of certificates, which no container has mounted.
func acmeSource(cfg *config.Config) *acme.Source {
	t := cfg.TLS
	return acme.New(acme.Config{
		Dir:         filepath.Join(layout(cfg).CADir(), "acme"),
		Directory:   t.ACMEDirectory,
		CAFile:      t.ACMECAFile,
		Email:       t.ACMEEmail,
		EABKeyID:    t.ACMEEABKeyID,
		EABKeyFile:  t.ACMEEABHMACFile,
		Profile:     t.ACMEProfile,
		Challenge:   t.ACMEChallenge,
		HTTPAddress: t.ACMEHTTPAddress,
		Webroot:     t.ACMEWebroot,
		TLSAddress:  t.ACMETLSAddress,
		DNSProvider: t.ACMEDNSProvider,
		DNSEnvFile:  t.ACMEDNSEnvFile,
		Resolvers:   t.ACMEResolvers,
		UserAgent:   "mailstack/" + version,
	})
}

// byHand is a store for a person who wants a new certificate now.
func byHand(store certs.Store) certs.Store {
	if source, ok := store.Source.(*acme.Source); ok {
		store.Source = source.ByHand()
	}
	return store
}

// adviseRenewal asks the authority when it wants the certificate renewed, where
// it is one that says. Without an answer the certificate's dates count.
func (a *app) adviseRenewal(ctx context.Context, cfg *config.Config) {
	if err := certStore(cfg).Refresh(ctx, time.Now()); err != nil && ctx.Err() == nil {
		fmt.Fprintf(a.Stderr, "note: %v\n", err)
	}
}

// standIn says what is served while the authority has not given anything.
func standIn(cfg *config.Config) string {
	authority := cfg.TLS.ACMEDirectory
	if u, err := url.Parse(authority); err == nil && u.Host != "" {
		authority = u.Host
	}
	return fmt.Sprintf("a certificate of the stack's own authority stands in for one of %s: mail programs refuse it", authority)
}

// tellOfCertificate says why there is no new certificate, and what is served; or
// what of a good one somebody should know.
func (a *app) tellOfCertificate(cfg *config.Config) {
	err := a.certificateTrouble(cfg)
	state, unread := certStore(cfg).Inspect(time.Now())
	switch {
	case err == nil && unread == nil:
		for _, warning := range state.Warnings {
			fmt.Fprintf(a.Stderr, "note: %s\n", warning)
		}
	case err != nil:
		served := "what is served stays"
		if unread == nil && state.StandIn {
			served = standIn(cfg)
		}
		fmt.Fprintf(a.Stderr, "warning: certificate: %v; %s\n", err, served)
		printHint(a.Stderr, err)
	}
}
