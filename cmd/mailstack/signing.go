package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/dkim"
	"mailstack/stack"
)

// signers are the services that sign mail.
func signers(g *stack.Graph) []string {
	var names []string
	for _, s := range g.Services {
		if s.Signs {
			names = append(names, s.Name)
		}
	}
	return names
}

const signingTaskName = "signing keys"

// signingTask keeps keys for every domain, and lets the signers have the active
// ones.
func (a *app) signingTask(cfg *config.Config, g *stack.Graph, domains func(context.Context) ([]string, error)) stack.Task {
	l, services := layout(cfg), signers(g)
	t := stack.Task{
		Name: signingTaskName, About: "keys for DKIM", After: databaseTaskName,
		Needs: []string{"mysql"}, Before: services, Reload: true,
	}
	t.Due = func(ctx context.Context) (string, error) {
		names, err := domains(ctx)
		var notUp *accounts.NotUpError
		switch {
		case errors.As(err, &notUp):
			return "", nil // then its start is a cause
		case err != nil:
			return "", err
		}
		keys, missing, err := readKeys(l, names)
		switch {
		case err != nil:
			return "", err
		case len(missing) > 0:
			return "no keys yet for " + strings.Join(missing, ", "), nil
		}
		for _, service := range services {
			if why, err := keysStale(l.RunDir(service, "signing"), keys); why != "" || err != nil {
				return why, err
			}
		}
		return "", nil
	}
	t.Do = func(ctx context.Context, log func(string)) error {
		names, err := domains(ctx)
		if err != nil {
			return err
		}
		keys, err := ensureKeys(l, names, log)
		if err != nil {
			return err
		}
		for _, service := range services {
			if err := installKeys(l.RunDir(service, "signing"), keys); err != nil {
				return err
			}
		}
		return nil
	}
	return t
}

func keyFile(l stack.Layout, domain string) string {
	return filepath.Join(l.SigningDir(), domain+".json")
}

// readKeys reads the keys of domains; missing are those that have none.
func readKeys(l stack.Layout, names []string) (keys []dkim.Domain, missing []string, err error) {
	var errs []error
	for _, name := range names {
		data, err := os.ReadFile(keyFile(l, name))
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read keys of %s: %w", name, err))
			continue
		}
		d, err := dkim.Unmarshal(name, data)
		if err != nil {
			errs = append(errs, hinted(err, "put "+keyFile(l, name)+" back from a backup, or remove it: then new keys are made, and their records must be published"))
			continue
		}
		keys = append(keys, d)
	}
	return keys, missing, errors.Join(errs...)
}

// ensureKeys is readKeys, and makes what is missing.
func ensureKeys(l stack.Layout, names []string, log func(string)) ([]dkim.Domain, error) {
	keys, missing, err := readKeys(l, names)
	if err != nil {
		return nil, err
	}
	for _, name := range missing {
		d, err := dkim.New(name, time.Now())
		if err != nil {
			return nil, err
		}
		if err := writeKeys(l, d); err != nil {
			return nil, err
		}
		log("made keys for " + name)
		keys = append(keys, d)
	}
	slices.SortFunc(keys, func(a, b dkim.Domain) int { return strings.Compare(a.Name, b.Name) })
	return keys, nil
}

// writeKeys keeps a domain's keys where no container sees them.
func writeKeys(l stack.Layout, d dkim.Domain) error {
	data, err := d.Marshal()
	if err != nil {
		return err
	}
	err = os.Mkdir(l.SigningDir(), 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = stack.WriteFile(keyFile(l, d.Name), data, stack.Owner{Mode: 0o600})
	}
	if err != nil {
		return fmt.Errorf("write keys of %s: %w", d.Name, err)
	}
	return nil
}

// keysStale says why a signer's directory is not what the keys make of it.
func keysStale(dir string, keys []dkim.Domain) (string, error) {
	wanted := map[string]bool{}
	for _, f := range dkim.SignerFiles(keys, stack.SigningDir) {
		wanted[f.Name] = true
		data, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read signing keys: %w", err)
		}
		if err != nil || !bytes.Equal(data, f.Data) {
			return "the signer does not have the current ones", nil
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read signing keys: %w", err)
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			return "the signer has one that is no longer used", nil
		}
	}
	return "", nil
}

// installKeys puts the active keys into a signer's directory, and takes out all
// others.
func installKeys(dir string, keys []dkim.Domain) error {
	wanted := map[string]bool{}
	for _, f := range dkim.SignerFiles(keys, stack.SigningDir) {
		wanted[f.Name] = true
		owner := stack.Owner{GID: stack.UIDRspamd, Mode: 0o440}
		if err := stack.WriteFile(filepath.Join(dir, f.Name), f.Data, owner); err != nil {
			return fmt.Errorf("install signing keys: %w", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("install signing keys: %w", err)
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove an old signing key: %w", err)
			}
		}
	}
	return nil
}

// sign makes keys for the domains that have none, and lets the signers have those of
// just the domains that there are, at once.
func (a *app) sign(ctx context.Context) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	g, err := graph(cfg)
	if err != nil || len(signers(g)) == 0 {
		return err
	}
	t, err := a.open(ctx)
	if err != nil {
		return err
	}
	unlock, err := stack.Lock(t.set.Layout, signingTaskName, time.Now())
	if err != nil {
		return err
	}
	defer unlock()
	_, err = a.settleSigning(ctx, t)
	return err
}

// settleSigning does what the plan would about signing keys and nothing else, and
// says what that was; "" where there was nothing to do. The lock is taken.
func (a *app) settleSigning(ctx context.Context, t *target) (said string, err error) {
	d, o, err := a.snapshot(ctx, t)
	if err != nil {
		return "", err
	}
	cause := o.TasksDue[signingTaskName]
	for _, service := range signers(t.graph) {
		if cause == "" && o.ReloadDue[service] {
			cause = service + " has not taken them yet"
		}
	}
	if cause == "" {
		return "", nil
	}
	x := &stack.Executor{Engine: t.engine, Desired: d, Reporter: silent{}, ReadyTimeout: readyTimeout, Now: time.Now}
	if err := x.Apply(ctx, stack.TaskPlan(d, o, signingTaskName, cause)); err != nil {
		return "", err
	}
	return "done: " + cause, nil
}
