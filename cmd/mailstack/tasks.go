package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/stack"
)

// tasks are the steps of a start that belong to other packages than stack.
func (a *app) tasks(cfg *config.Config, g *stack.Graph, id stack.Identity) []stack.Task {
	open := openAdmin(cfg, id)
	tasks := []stack.Task{a.certificateTask(cfg, g), a.databaseTask(cfg, g, id, open)}
	if len(signers(g)) > 0 {
		tasks = append(tasks, a.signingTask(cfg, g, func(ctx context.Context) ([]string, error) {
			db, err := open(ctx)
			if err != nil {
				return nil, err
			}
			defer db.Close()
			return domainNames(ctx, db)
		}))
	}
	return tasks
}

// openAdmin opens the account database with the secret that this up knows.
func openAdmin(cfg *config.Config, id stack.Identity) func(context.Context) (*accounts.DB, error) {
	return func(ctx context.Context) (*accounts.DB, error) {
		return accounts.Open(ctx, accounts.Options{
			Socket:   layout(cfg).Socket("mysql", "mysqld.sock"),
			Password: accounts.NewSecret(id.Secrets[stack.AdminSecret].Reveal()),
		})
	}
}

// domainNames lists all domains that mail may come from, the host's own too.
func domainNames(ctx context.Context, db *accounts.DB) ([]string, error) {
	if current, _, err := db.Version(ctx); err != nil || current == 0 {
		return nil, err
	}
	domains, err := db.ListDomains(ctx, true)
	var names []string
	for _, d := range domains {
		names = append(names, d.Name)
	}
	return names, err
}

const databaseTaskName = "database"

// databaseTask keeps schema, database users and the system's own addresses as
// they must be. The services that look things up start only afterwards.
func (a *app) databaseTask(cfg *config.Config, g *stack.Graph, id stack.Identity, open func(context.Context) (*accounts.DB, error)) stack.Task {
	t := stack.Task{Name: databaseTaskName, About: "schema, database users, system addresses", Needs: []string{"mysql"}}
	for _, e := range g.Edges() {
		if e.Provider == "mysql" {
			t.Before = append(t.Before, e.Consumer)
		}
	}
	services := accounts.Services{Dovecot: accounts.NewSecret(id.Secrets["dovecot"].Reveal()), Postfix: accounts.NewSecret(id.Secrets["postfix"].Reveal())}
	system := accounts.System{
		Hostname: cfg.Hostname, Postmaster: cfg.Postmaster,
		ProbePassword: accounts.NewSecret(id.Secrets[probeSecret].Reveal()),
	}
	first := firstAccount{cfg: cfg}
	t.Due = func(ctx context.Context) (string, error) {
		db, err := open(ctx)
		if err != nil {
			var notUp *accounts.NotUpError
			if errors.As(err, &notUp) {
				return "the database does not answer yet", nil
			}
			return "", err
		}
		defer db.Close()
		return databaseDue(ctx, db, services, system, first)
	}
	t.Do = func(ctx context.Context, log func(string)) error {
		db, err := open(ctx)
		if err != nil {
			return err
		}
		defer db.Close()
		if err := first.begin(ctx, db); err != nil {
			return err
		}
		applied, err := db.Migrate(ctx, services)
		if err != nil {
			return err
		}
		if len(applied) > 0 {
			log(strings.Join(applied, ", "))
		}
		if err := first.create(ctx, db); err != nil {
			return err
		}
		changed, err := db.EnsureSystem(ctx, system)
		if len(changed) > 0 {
			log(strings.Join(changed, ", "))
		}
		return err
	}
	return t
}

// databaseDue says what the database lacks.
func databaseDue(ctx context.Context, db *accounts.DB, services accounts.Services, system accounts.System, first firstAccount) (string, error) {
	current, latest, err := db.Version(ctx)
	if err != nil {
		return "", err
	}
	if current != latest {
		return fmt.Sprintf("schema version %d, this program knows %d", current, latest), nil
	}
	if ok, err := db.ServicesCurrent(ctx, services); err != nil || !ok {
		return "the services' database users are not as they must be", err
	}
	if ok, err := db.SystemCurrent(ctx, system); err != nil || !ok {
		return "the system's own addresses are not as they must be", err
	}
	if pending, err := first.pending(ctx, db); err != nil || pending {
		return "the first account is still to be made", err
	}
	return "", nil
}
