package main

import (
	"context"
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
	own := accounts.System{Hostname: cfg.Hostname, ProbePassword: password}
	t := probe.Target{
		Stack: cfg.Name, Hostname: cfg.Hostname, Ports: cfg.Listen.Ports(),
		User: own.ProbeAddress(), Recipient: own.ProbeRecipient(), Password: probe.Secret(password.Reveal()), Confined: true,
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
	g, err := graph(cfg)
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
	store := certStore(cfg)
	set, err := store.Served()
	switch {
	case errors.Is(err, fs.ErrPermission):
		t.Unverified = "the certificate authority cannot be read"
		return nil, nil
	case errors.Is(err, certs.ErrNone) || errors.Is(err, fs.ErrNotExist):
		return nil, hinted(fmt.Errorf("read certificate: %w", err), "mailstack up")
	case err != nil:
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	if t.Roots, err = set.Roots(store.Dir); err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	if state, err := store.Inspect(time.Now()); err == nil && state.StandIn {
		t.StandIn = standIn(cfg)
	}
	leaf := set.Main[0].Leaf()
	t.Fingerprint = leaf.Fingerprint
	if len(set.Main) > 1 {
		t.Twin = set.Main[1].Leaf().Fingerprint
	}
	return &leaf, nil
}

// queryDatabase asks the database something over its socket on the host.
func (a *app) queryDatabase(ctx context.Context) error {
	db, done, err := a.database(ctx)
	if err != nil {
		return err
	}
	defer done()
	_, err = db.Inhabited(ctx)
	return err
}
