package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailstack/accounts"
	"mailstack/probe"
)

// remoteFlags say which server to probe instead of the configured stack.
type remoteFlags struct {
	given         func() bool // whether there is a --target; nil: by host
	host          string
	name          string
	user, address string
	passwordStdin bool
	passwordFile  string
	ports         []string
	ca            string
	sendTo        string
}

func (f *remoteFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.given = func() bool { return flags.Changed("target") }
	flags.StringVarP(&f.host, "target", "H", "", "probe any mail server, `HOST`, by the network alone")
	flags.StringVar(&f.user, "user", "", "log in there as `USER`, whose mailbox takes the probe's messages")
	flags.StringVar(&f.address, "address", "", "the `ADDRESS` of that mailbox, if it is not USER")
	flags.BoolVar(&f.passwordStdin, "password-stdin", false, "read that user's password from standard input, one line")
	flags.StringVar(&f.passwordFile, "password-file", "", "read it from `FILE`, one line, which nobody but its owner can read")
	flags.StringSliceVar(&f.ports, "ports", nil, "`LISTENERS` there: imaps, or with a port imaps=1993 (default all standard ones)")
	flags.StringVar(&f.ca, "ca", "", "`FILE` with the authority of its certificate (default the system's)")
	flags.StringVar(&f.name, "server-name", "", "`NAME` in its certificate (default HOST)")
	flags.StringVar(&f.sendTo, "send-to", "", "also send a message from there to `ADDRESS`; the probe's own account of the configured stack is read too")
}

// check reports everything that is wrong with the flags.
func (f *remoteFlags) check() error {
	var errs []error
	if inner, ok := strings.CutPrefix(f.host, "["); ok { // an IPv6 address as in a URL
		f.host = strings.TrimSuffix(inner, "]")
	}
	if f.host == "" {
		if f.given != nil && f.given() { // a checker's variable that is not set, perhaps
			errs = append(errs, errors.New("--target: no host is named"))
		}
		for _, flag := range []struct {
			name string
			set  bool
		}{
			{"user", f.user != ""},
			{"address", f.address != ""},
			{"password-stdin", f.passwordStdin},
			{"password-file", f.passwordFile != ""},
			{"ports", f.ports != nil},
			{"ca", f.ca != ""},
			{"server-name", f.name != ""},
			{"send-to", f.sendTo != ""},
		} {
			if flag.set {
				errs = append(errs, fmt.Errorf("--%s: only with --target", flag.name))
			}
		}
		return errors.Join(errs...)
	}
	if f.passwordStdin && f.passwordFile != "" || (f.user != "") != (f.passwordStdin || f.passwordFile != "") {
		errs = append(errs, errors.New("--user: only together with one of --password-stdin and --password-file"))
	}
	if err := f.checkAddress(); err != nil {
		errs = append(errs, err)
	}
	if f.sendTo != "" && (f.user == "" || !isAddress(f.sendTo)) {
		errs = append(errs, fmt.Errorf("--send-to %q: needs --user, and is an address", f.sendTo))
	}
	_, err := f.listeners()
	return errors.Join(append(errs, err)...)
}

// checkAddress sees to it that there is an address to send to, and from.
func (f *remoteFlags) checkAddress() error {
	switch {
	case f.address != "" && f.user == "":
		return errors.New("--address: only together with --user")
	case f.address != "" && !isAddress(f.address):
		return fmt.Errorf("--address %q: not a mail address", f.address)
	case f.address == "" && f.user != "" && !isAddress(f.user):
		return fmt.Errorf("--user %q: not a mail address: add --address with that of its mailbox", f.user)
	}
	return nil
}

// isAddress says whether text can stand between <> in SMTP, as somebody's address.
func isAddress(text string) bool {
	at := strings.LastIndex(text, "@")
	return at > 0 && at < len(text)-1 && !strings.ContainsAny(text, "<> \t\r\n")
}

// listeners reads --ports.
func (f *remoteFlags) listeners() (map[string]uint16, error) {
	standard := probe.StandardPorts()
	if f.ports == nil {
		return standard, nil
	}
	ports := make(map[string]uint16)
	var errs []error
	if len(f.ports) == 0 { // nothing would be looked at, and all of it be well
		errs = append(errs, errors.New("--ports: no listener is named"))
	}
	for _, text := range f.ports {
		key, number, given := strings.Cut(text, "=")
		if standard[key] == 0 {
			var known []string
			for k := range standard {
				known = append(known, k)
			}
			slices.Sort(known)
			errs = append(errs, fmt.Errorf("--ports: no listener is called %q; there are %s", key, strings.Join(known, ", ")))
			continue
		}
		ports[key] = standard[key]
		if given {
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil || n == 0 {
				errs = append(errs, fmt.Errorf("--ports: %q is no port", text))
			}
			ports[key] = uint16(n)
		}
	}
	return ports, errors.Join(errs...)
}

// remoteReport probes any server. Who types the password takes as long as that
// takes; what else has to be read has the time of the run.
func (a *app) remoteReport(ctx context.Context, f probeFlags) (probe.Report, error) {
	began, limit := time.Now(), f.timeout
	typed := f.remote.passwordStdin && isTerminal(a.Stdin)
	if typed {
		limit = 0
	}
	t, err := inTime(ctx, limit, func() (probe.Target, error) { return a.remoteTarget(ctx, f.remote) })
	switch {
	case errors.Is(err, errHung):
		return probe.Stopped(f.remote.host, "preparation", probe.KindTimeout, "the password or a file cannot be read",
			"standard input has to end behind the password; else a disk of this host hangs"), nil
	case err != nil:
		return probe.Report{}, err
	case typed:
		began = time.Now()
	}
	o := f.options()
	o.Timeout = remaining(f.timeout, began)
	return probeRemote(ctx, t, f.remote.host, o, f.retries), nil
}

// probeRemote looks a server up and probes it, all within o.Timeout. A name that
// cannot be found is looked up again as often as a check that fails is run again.
func probeRemote(ctx context.Context, t probe.Target, host string, o probe.Options, retries int) probe.Report {
	began := time.Now()
	lookup, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	found := probe.ResolveRetrying(lookup, &t, host, net.DefaultResolver, retries)
	if found.Status != probe.OK {
		r := probe.Report{Stack: t.Stack, Duration: time.Since(began)}
		return r.With(found).InsteadOf(probe.Pending(t, o))
	}
	whole := len(o.Only) == 0
	o.Only = slices.DeleteFunc(slices.Clone(o.Only), func(name string) bool { return name == found.Name })
	if !whole && len(o.Only) == 0 {
		return probe.Report{Stack: t.Stack, Duration: time.Since(began)}.With(found)
	}
	o.Timeout = remaining(o.Timeout, began)
	r := probe.RunRetrying(ctx, t, o, retries)
	if !whole || slices.Contains(o.Skip, found.Name) {
		return r
	}
	return r.With(found)
}

// remoteTarget is what the flags say about a server.
func (a *app) remoteTarget(ctx context.Context, f remoteFlags) (probe.Target, error) {
	t := probe.Target{Stack: f.host, Hostname: f.host, User: f.user, Address: f.address, Foreign: true}
	if f.name != "" {
		t.Hostname = f.name
	}
	var err error
	if t.Ports, err = f.listeners(); err != nil {
		return t, err
	}
	if t.Roots, err = authorities(f.ca); err != nil {
		return t, err
	}
	if f.passwordStdin {
		password, err := readPasswordLine(a.Stdin)
		if err != nil {
			return t, err
		}
		t.Password = probe.Secret(password.Reveal())
	}
	if f.passwordFile != "" {
		password, _, err := readPasswordFile(f.passwordFile)
		if err != nil {
			return t, fmt.Errorf("read password: %w", err)
		}
		t.Password = probe.Secret(password)
	}
	if f.sendTo != "" {
		t.Elsewhere = &probe.Elsewhere{Address: f.sendTo, Mailbox: a.mailboxOf(ctx, f.sendTo)}
		if box := t.Elsewhere.Mailbox; box != nil {
			t.Elsewhere.Address = box.Recipient
		}
	}
	return t, nil
}

// mailboxOf is the configured stack, if the address is its probe's account.
// Without such a stack there is nothing to say: nobody promised one.
func (a *app) mailboxOf(ctx context.Context, address string) *probe.Target {
	cfg, err := a.config()
	if err != nil || !strings.EqualFold(accounts.System{Hostname: cfg.Hostname}.ProbeAddress(), address) {
		return nil
	}
	t, err := a.probeTarget(ctx)
	if err != nil || t.Password == "" {
		return nil
	}
	return &t
}

// authorities reads certificates in PEM form; nil, the system's, for no file.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authority: %s holds no certificate", file)
	}
	return pool, nil
}
