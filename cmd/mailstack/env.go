package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/docker"
	"mailstack/images"
	"mailstack/stack"
)

// probeSecret is the password of the probe's account. No service knows it.
const probeSecret = "probe"

// config finds and reads the configuration, once.
func (a *app) config() (*config.Config, error) {
	if a.cfg != nil {
		return a.cfg, nil
	}
	path, err := config.Find(a.configPath)
	if err != nil {
		return nil, usageError(err)
	}
	cfg, err := config.Load(path, limitJudges...)
	if err != nil {
		return nil, usageError(err)
	}
	a.cfg = cfg
	return a.cfg, nil
}

// graph is what the configuration makes of the services that there are.
func graph(cfg *config.Config) (*stack.Graph, error) {
	return stack.NewGraph(stack.Without(stack.Catalog(), cfg.Off()...))
}

// layout says where the configured stack is on this host.
func layout(cfg *config.Config) stack.Layout {
	paths := map[string]string{
		"mysql": cfg.Data.MySQL, stack.SocketVolume("mysql"): cfg.Data.MySQLSocket,
		"vmail": cfg.Data.Vmail, "queue": cfg.Data.Queue,
	}
	return stack.Layout{Dir: cfg.Data.Dir, Paths: paths}
}

// settings turns the configuration into what package stack wants to know.
func (a *app) settings(cfg *config.Config) (stack.Settings, error) {
	set := stack.Settings{
		Name: cfg.Name, Hostname: cfg.Hostname, Layout: layout(cfg),
		Ports: cfg.Listen.Ports(), MessageBytes: cfg.Limits.MessageBytes,
		WrongPasswords: cfg.Limits.WrongPasswords, SharedAddresses: cfg.Limits.SharedAddresses,
		Memory: map[string]int64{
			"mysql": cfg.Limits.MySQLMemory, "dovecot": cfg.Limits.DovecotMemory, "postfix": cfg.Limits.PostfixMemory,
			"filter": cfg.Limits.FilterMemory, "valkey": cfg.Limits.ValkeyMemory,
		},
		Filter: images.Filter{
			WhenDown: cfg.Filter.WhenDown, Mark: cfg.Filter.Mark, Greylist: cfg.Filter.Greylist, Reject: cfg.Filter.Reject,
			TrustedForwarders: cfg.Filter.TrustedForwarders,
		},
		Sending: images.Sending{
			MessagesPerHour: cfg.Limits.MessagesPerHour, MessagesPerDay: cfg.Limits.MessagesPerDay,
			RecipientsPerHour: cfg.Limits.RecipientsPerHour, RecipientsPerDay: cfg.Limits.RecipientsPerDay,
			SenderMessagesPerHour: cfg.Limits.SenderMessagesPerHour, Unlimited: cfg.Limits.UnlimitedSenders,
		},
		IP: cfg.Network.IP, Base: cfg.Images.Base, Mirror: cfg.Images.Mirror,
	}
	for _, address := range cfg.Listen.Addresses {
		if address.Is6() && !stack.HasIPv6() {
			fmt.Fprintf(a.Stderr, "mailstack: this host has no IPv6: not listening on %s\n", address)
			continue
		}
		set.Listen = append(set.Listen, address)
	}
	for _, text := range cfg.Network.Resolvers {
		resolver, err := netip.ParseAddr(text)
		if err != nil {
			return set, fmt.Errorf("network.resolvers: %w", err)
		}
		set.Resolvers = append(set.Resolvers, resolver)
	}
	var err error
	set.Relays, err = relays(cfg)
	return set, err
}

// secretNames lists the secrets of a stack.
func secretNames(g *stack.Graph) []string {
	names := []string{probeSecret}
	for _, s := range g.Services {
		names = append(names, s.Secrets...)
	}
	return names
}

// engine connects to Docker, once.
func (a *app) engine(ctx context.Context) (stack.Engine, error) {
	if a.eng != nil {
		return a.eng, nil
	}
	e, err := docker.Connect(ctx, docker.Options{})
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, func() { e.Close() })
	a.eng = e
	return e, nil
}

// secret reads one of the stack's secrets.
func (a *app) secret(name string) (accounts.Secret, error) {
	cfg, err := a.config()
	if err != nil {
		return accounts.Secret{}, err
	}
	s, err := stack.ReadSecret(layout(cfg), name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return accounts.Secret{}, hinted(fmt.Errorf("stack %s has never been up: %w", cfg.Name, err), "mailstack up")
	case errors.Is(err, fs.ErrPermission):
		return accounts.Secret{}, hinted(err, "run it as root: sudo mailstack …")
	case err != nil:
		return accounts.Secret{}, err
	}
	return accounts.NewSecret(s.Reveal()), nil
}

// database opens the account database over its socket on the host.
func (a *app) database(ctx context.Context) (*accounts.DB, func(), error) {
	cfg, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	password, err := a.secret(stack.AdminSecret)
	if err != nil {
		return nil, nil, err
	}
	db, err := accounts.Open(ctx, accounts.Options{
		Socket: layout(cfg).Socket("mysql", "mysqld.sock"), Password: password,
	})
	if err != nil {
		return nil, nil, err
	}
	return db, func() { db.Close() }, nil
}

// sessions ends what a changed account still has open.
func (a *app) sessions(ctx context.Context) (accounts.Sessions, error) {
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	e, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	return &dovecotSessions{engine: e, container: stack.ContainerName(cfg.Name, "dovecot")}, nil
}

// dovecotSessions ends sessions with the image's own command.
type dovecotSessions struct {
	engine    stack.Engine
	container string
}

// End flushes Dovecot's cache of the addresses and ends their sessions.
func (d *dovecotSessions) End(ctx context.Context, addresses []string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return stack.Run(ctx, d.engine, d.container, append([]string{stack.EndCmd}, addresses...)...)
}

// hintError adds advice to an error.
type hintError struct {
	error
	hint string
}

func (e hintError) Hint() string  { return e.hint }
func (e hintError) Unwrap() error { return e.error }

func hinted(err error, hint string) error { return hintError{err, hint} }

// retireMailbox moves the mail of a removed account aside.
func (a *app) retireMailbox(_ context.Context, address string) (movedTo string, err error) {
	cfg, err := a.config()
	if err != nil {
		return "", err
	}
	return stack.RetireMailbox(layout(cfg), address, time.Now())
}
