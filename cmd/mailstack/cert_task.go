package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mailstack/certs"
	"mailstack/config"
	"mailstack/images"
	"mailstack/stack"
)

// certStore is what the configuration says of certificates.
func certStore(cfg *config.Config) certs.Store {
	store := certs.Store{
		Dir:   layout(cfg).CADir(),
		Names: certs.Names{Hostname: cfg.Hostname, Aliases: cfg.CertificateNames()[1:]},
		Key:   cfg.TLS.Key, Twin: cfg.TLS.RSATwin, Reuse: cfg.TLS.ReuseKey, Extra: cfg.TLS.Extra,
	}
	switch cfg.TLS.Mode {
	case "acme":
		store.Source = acmeSource(cfg)
	case "files":
		store.Source = certs.Files(cfg.TLS.CertFile, cfg.TLS.KeyFile)
	default:
		store.Source = certs.LocalCA(store.Dir)
	}
	return store
}

const certificateTaskName = "certificate"

// certificateTask keeps the certificate valid and where its services read it.
// That it cannot be renewed fails only where there is none to go on with: what
// is served is worth more than what could not be had, and a.renewal tells.
func (a *app) certificateTask(cfg *config.Config, g *stack.Graph) stack.Task {
	store, l := certStore(cfg), layout(cfg)
	t := stack.Task{Name: certificateTaskName, About: "the TLS certificate of " + cfg.Hostname, Reload: true, Before: tlsServices(g)}
	t.Due = func(context.Context) (string, error) {
		state, err := store.Inspect(time.Now())
		if err != nil {
			return "", err
		}
		if due, cause := state.Due(); due {
			return cause, nil
		}
		return notInstalled(l, store, t.Before)
	}
	t.Do = func(ctx context.Context, log func(string)) error {
		if err := a.renewDue(ctx, store, log); err != nil {
			return err
		}
		set, err := store.Newest()
		if err != nil {
			return err
		}
		return install(l, set, t.Before)
	}
	return t
}

// renewDue renews what is due, once in a run.
func (a *app) renewDue(ctx context.Context, store certs.Store, log func(string)) error {
	if a.renewal != nil {
		return nil // tried already
	}
	state, err := store.Renew(ctx, time.Now(), certs.IfDue)
	if err != nil && (!state.Usable(time.Now()) || ctx.Err() != nil) {
		return err
	}
	if err != nil {
		a.renewal = err
		log(err.Error())
	}
	if state.Renewed != "" {
		log(state.Renewed)
	}
	return nil
}

// tlsServices are the services that serve the certificate.
func tlsServices(g *stack.Graph) []string {
	var names []string
	for _, s := range g.Services {
		if s.TLS {
			names = append(names, s.Name)
		}
	}
	return names
}

// certFiles are what a service reads of a set.
func certFiles(service string, set *certs.Set) ([]certs.File, error) {
	var c images.Certificates
	for _, pair := range set.Main {
		content, err := pair.PEM()
		if err != nil {
			return nil, err
		}
		c.Main = append(c.Main, images.Certificate{Names: set.Names(), PEM: content})
	}
	for _, e := range set.Extra {
		content, err := e.PEM()
		if err != nil {
			return nil, err
		}
		c.Extra = append(c.Extra, images.Certificate{Names: e.Names, PEM: content})
	}
	rendered, err := images.RenderCertificates(service, c)
	files := make([]certs.File, len(rendered))
	for i, f := range rendered {
		files[i] = certs.File{Name: strings.TrimPrefix(f.Path, "tls/"), Content: f.Data}
	}
	return files, err
}

// everyDirectory calls do with the directory of each service and what belongs
// there.
func everyDirectory(l stack.Layout, set *certs.Set, services []string, do func(service, dir string, files []certs.File) error) error {
	for _, service := range services {
		files, err := certFiles(service, set)
		if err != nil {
			return err
		}
		if err := do(service, l.RunDir(service, "tls"), files); err != nil {
			return err
		}
	}
	return nil
}

// install gives a set to the services. What they read before stays beside it
// until it is proven that they have taken the new one.
func install(l stack.Layout, set *certs.Set, services []string) error {
	return everyDirectory(l, set, services, func(_, dir string, files []certs.File) error {
		_, err := certs.Install(dir, files)
		return err
	})
}

// tidy removes what the services no longer read.
func tidy(l stack.Layout, set *certs.Set, services []string) error {
	return everyDirectory(l, set, services, func(_, dir string, files []certs.File) error { return certs.Tidy(dir, files) })
}

// notInstalled names a service that has another certificate than the current.
func notInstalled(l stack.Layout, store certs.Store, services []string) (cause string, err error) {
	set, err := store.Newest()
	if err != nil {
		return "", err
	}
	lacking := map[string]bool{}
	err = everyDirectory(l, set, services, func(service, dir string, files []certs.File) error {
		whole, err := certs.Installed(dir, files)
		if !whole {
			lacking[service] = true
		}
		return err
	})
	if err != nil || len(lacking) == 0 {
		return "", err
	}
	return fmt.Sprintf("%s does not have the current one", strings.Join(slices.Sorted(maps.Keys(lacking)), ", ")), nil
}
