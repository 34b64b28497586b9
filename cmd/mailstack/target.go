package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"mailstack/accounts"
	"mailstack/certs"
	"mailstack/config"
	"mailstack/probe"
	"mailstack/stack"
)

// probeTarget tells the probe what there is to probe, from the configuration,
// the secrets and the engine.
func (a *app) probeTarget(ctx context.Context) (probe.Target, error) {
	cfg, err := a.config()
	if err != nil {
		return probe.Target{}, err
	}
	// What a person without rights may not read leaves the checks that need it
	// not run; the others are.
	password, err := a.secret(probeSecret)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return probe.Target{}, err
	}
	t := probe.Target{
		Stack: cfg.Name, Hostname: cfg.Hostname, Ports: cfg.Listen.Ports(),
		User: accounts.System{Hostname: cfg.Hostname}.ProbeAddress(), Password: probe.Secret(password.Reveal()), Confined: true,
		Database: a.queryDatabase,
	}
	for _, address := range cfg.Listen.Addresses {
		if address.Is4() || stack.HasIPv6() {
			t.Addresses = append(t.Addresses, address)
		}
	}
	leaf, err := trust(&t, cfg)
	if err != nil {
		return probe.Target{}, err
	}
	g, err := stack.NewGraph(stack.Catalog())
	if err != nil {
		return probe.Target{}, err
	}
	f := a.newFacts(ctx, cfg, g, leaf)
	for _, edge := range g.Edges() {
		t.Sockets = append(t.Sockets, probe.SocketCheck{
			Consumer: edge.Consumer, Socket: edge.Provider + "/" + edge.Socket, Look: f.look(edge),
		})
	}
	f.fill(ctx, &t)
	return t, nil
}

// trust fills in what the served certificate must be, and returns it where it
// is known.
func trust(t *probe.Target, cfg *config.Config) (*certs.Certificate, error) {
	dir := layout(cfg).CADir()
	pem, err := certs.AuthorityPEM(dir)
	if errors.Is(err, fs.ErrPermission) {
		t.Unverified = "the certificate authority cannot be read"
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	t.Roots = x509.NewCertPool()
	if !t.Roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authority: %s holds no certificate", certs.AuthorityFile)
	}
	state, err := certs.Inspect(dir, certs.Names{Hostname: cfg.Hostname, Aliases: cfg.Aliases}, time.Now())
	if err != nil {
		return nil, err
	}
	if state.Leaf != nil {
		t.Fingerprint = state.Leaf.Fingerprint
	}
	return state.Leaf, nil
}

// queryDatabase asks the database something over its socket on the host.
func (a *app) queryDatabase(ctx context.Context) error {
	db, done, err := a.database(ctx)
	if err != nil {
		return err
	}
	defer done()
	_, err = db.Count(ctx)
	return err
}
