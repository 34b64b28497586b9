package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
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
	password, err := a.secret(probeSecret)
	if err != nil {
		return probe.Target{}, err
	}
	e, err := a.engine(ctx)
	if err != nil {
		return probe.Target{}, err
	}
	t := probe.Target{
		Stack: cfg.Name, Hostname: cfg.Hostname, Ports: cfg.Listen.Ports(),
		User: accounts.System{Hostname: cfg.Hostname}.ProbeAddress(), Password: probe.Secret(password.Reveal()), Confined: true,
		Database: a.queryDatabase,
		Queued:   queued(e, cfg),
	}
	for _, address := range cfg.Listen.Addresses {
		if address.Is4() || stack.HasIPv6() {
			t.Addresses = append(t.Addresses, address)
		}
	}
	if err := trust(&t, cfg); err != nil {
		return probe.Target{}, err
	}
	g, err := stack.NewGraph(stack.Catalog())
	if err != nil {
		return probe.Target{}, err
	}
	for _, edge := range g.Edges() {
		t.Sockets = append(t.Sockets, probe.SocketCheck{
			Consumer: edge.Consumer, Socket: edge.Provider + "/" + edge.Socket, Look: look(e, cfg, edge),
		})
	}
	return t, nil
}

// trust fills in what the served certificate must be.
func trust(t *probe.Target, cfg *config.Config) error {
	dir := layout(cfg).CADir()
	pem, err := certs.AuthorityPEM(dir)
	if err != nil {
		return fmt.Errorf("read certificate authority: %w", err)
	}
	t.Roots = x509.NewCertPool()
	if !t.Roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read certificate authority: %s holds no certificate", certs.AuthorityFile)
	}
	state, err := certs.Inspect(dir, certs.Names{Hostname: cfg.Hostname, Aliases: cfg.Aliases}, time.Now())
	if err != nil {
		return err
	}
	if state.Leaf != nil {
		t.Fingerprint = state.Leaf.Fingerprint
	}
	return nil
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

// look looks at a socket from inside its consumer's container.
func look(e stack.Engine, cfg *config.Config, edge stack.Edge) func(context.Context) (probe.SocketView, error) {
	return func(ctx context.Context) (view probe.SocketView, err error) {
		container := stack.ContainerName(cfg.Name, edge.Consumer)
		res, err := e.Exec(ctx, container, stack.ExecSpec{Command: []string{stack.SocketsCmd, edge.Path()}})
		if err != nil {
			return view, err
		}
		if err := json.Unmarshal(bytes.TrimSpace(res.Stdout), &view); err != nil {
			return view, fmt.Errorf("%s in %s: status %d, %q", stack.SocketsCmd, container, res.ExitCode, res.Stdout)
		}
		return view, nil
	}
}

// queued says whether Postfix still has a message.
func queued(e stack.Engine, cfg *config.Config) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, id string) (bool, error) {
		ids, err := stack.QueueIDs(ctx, e, stack.ContainerName(cfg.Name, "postfix"))
		return slices.Contains(ids, id), err
	}
}
