package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"mailstack/accounts"
	"mailstack/certs"
	"mailstack/config"
	"mailstack/dns"
	"mailstack/probe"
	"mailstack/stack"
)

// facts is what the probe learns about a stack from this host rather than by
// the mail protocols. The engine is asked for when the first check needs it: an
// engine that is away leaves the others as they are.
type facts struct {
	cfg    *config.Config
	graph  *stack.Graph
	leaf   *certs.Certificate // on disk; nil: not known
	engine func() (stack.Engine, error)
	rights func(ctx context.Context) ([]string, error)
	// unclaimed are those of the addresses that are no account's, and accounts
	// how many there are.
	unclaimed func(ctx context.Context, addresses []string) (none []string, inhabited bool, err error)
	looks     singleflight.Group // by consumer; "dns"
	dns       func(ctx context.Context) (dns.Report, error)
}

func (a *app) newFacts(ctx context.Context, cfg *config.Config, g *stack.Graph, leaf *certs.Certificate) *facts {
	return &facts{
		cfg: cfg, graph: g, leaf: leaf,
		engine: sync.OnceValues(func() (stack.Engine, error) { return a.engine(ctx) }),
		rights: a.databaseRights, unclaimed: a.unclaimed,
		dns: func(ctx context.Context) (dns.Report, error) { return a.recentDNS(ctx, cfg) },
	}
}

// fill hands the functions to the probe.
func (f *facts) fill(ctx context.Context, t *probe.Target) {
	t.Queued, t.Queue, t.Disks, t.Containers = f.queued, f.queue, f.disks, f.containers
	t.Clock, t.Logged, t.Rights, t.Mailboxes = f.clock, f.logged, f.rights, f.mailboxes
	if !f.cfg.Loopback() {
		t.Records = f.records
	}
	t.Own = outwardAddresses(ctx)
}

func (f *facts) container(service string) string { return stack.ContainerName(f.cfg.Name, service) }

// exec runs a command in a service's container; that it fails is an error.
func (f *facts) exec(ctx context.Context, service string, command ...string) ([]byte, error) {
	e, err := f.engine()
	if err != nil {
		return nil, err
	}
	res, err := e.Exec(ctx, f.container(service), stack.ExecSpec{Command: command})
	if err == nil && res.ExitCode != 0 {
		err = fmt.Errorf("%s in %s: status %d, %q", command[0], f.container(service), res.ExitCode, bytes.TrimSpace(res.Stderr))
	}
	return res.Stdout, err
}

// queued says where in Postfix's queue a message waits, and for what.
func (f *facts) queued(ctx context.Context, id string) (probe.QueuedMessage, error) {
	entries, err := f.entries(ctx)
	return queuedMessage(entries, id), err
}

func queuedMessage(entries []stack.Queued, id string) probe.QueuedMessage {
	for _, e := range entries {
		if e.ID != id {
			continue
		}
		waits := probe.QueuedMessage{Queue: e.Queue}
		for _, to := range e.Recipients {
			waits.Reason = cmp.Or(waits.Reason, to.Delay)
		}
		return waits
	}
	return probe.QueuedMessage{}
}

func (f *facts) queue(ctx context.Context) (probe.QueueState, error) {
	entries, err := f.entries(ctx)
	return queueState(entries, f.cfg.Relay, time.Now()), err
}

func queueState(entries []stack.Queued, relay config.Relay, now time.Time) probe.QueueState {
	q := probe.QueueState{Messages: len(entries)}
	for _, e := range entries {
		switch e.Queue {
		case "deferred":
			q.Deferred++
		case "hold":
			q.Held++
		}
		q.Oldest = max(q.Oldest, now.Sub(time.Unix(e.Arrival, 0)))
	}
	for _, w := range waitingFor(entries, relay) {
		q.Smarthosts = append(q.Smarthosts, probe.SmarthostState(w))
	}
	return q
}

func (f *facts) disks(context.Context) ([]probe.DiskState, error) {
	var all []probe.DiskState
	for _, d := range stack.Disks(layout(f.cfg), f.graph) {
		all = append(all, probe.DiskState{Volumes: d.Volumes, FreeBytes: d.FreeBytes, TotalBytes: d.TotalBytes})
	}
	if all != nil {
		return append(all, f.lost(all)...), nil
	}
	if _, err := os.Stat(layout(f.cfg).Volume("vmail")); errors.Is(err, fs.ErrPermission) {
		return nil, hinted(err, "run it as root: sudo mailstack …")
	}
	return nil, errors.New("no volume can be read")
}

// lost are the volumes of which nothing is known.
func (f *facts) lost(known []probe.DiskState) (all []probe.DiskState) {
	for _, v := range stack.Volumes(f.graph) {
		if v.Target == "" || slices.ContainsFunc(known, func(d probe.DiskState) bool { return slices.Contains(d.Volumes, v.Name) }) {
			continue
		}
		_, err := os.Stat(layout(f.cfg).Volume(v.Name))
		all = append(all, probe.DiskState{Volumes: []string{v.Name}, Err: cmp.Or(err, errors.New("its file system says nothing"))})
	}
	return all
}

// records compares the DNS with what is needed, once for all checks that ask at
// the same time.
func (f *facts) records(ctx context.Context) (dns.Report, error) {
	report, err, _ := f.looks.Do("dns", func() (any, error) { return f.dns(ctx) })
	if err != nil {
		return dns.Report{}, err
	}
	return report.(dns.Report), nil
}

// mailboxes compares the mail store with the accounts. The probe's own mailbox
// stays behind where the host's name has changed.
func (f *facts) mailboxes(ctx context.Context) (probe.MailboxState, error) {
	all, err := stack.Mailboxes(layout(f.cfg))
	if errors.Is(err, fs.ErrPermission) {
		err = hinted(err, "run it as root: sudo mailstack …")
	}
	if err != nil {
		return probe.MailboxState{}, err
	}
	all = slices.DeleteFunc(all, func(a string) bool { return strings.HasPrefix(a, accounts.ProbeLocal+"@") })
	var m probe.MailboxState
	m.Unclaimed, m.Inhabited, err = f.unclaimed(ctx, all)
	return m, err
}

func (a *app) unclaimed(ctx context.Context, addresses []string) (none []string, inhabited bool, err error) {
	db, done, err := a.database(ctx)
	if err != nil {
		return nil, false, err
	}
	defer done()
	if none, err = db.Unclaimed(ctx, addresses); err != nil {
		return nil, false, err
	}
	inhabited, err = db.Inhabited(ctx)
	return none, inhabited, err
}

func (f *facts) containers(ctx context.Context) ([]probe.ContainerState, error) {
	there, err := f.all(ctx)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]stack.Container)
	for _, c := range there {
		byName[c.Name] = c
	}
	var all []probe.ContainerState
	for _, s := range f.graph.Services {
		c, ok := byName[f.container(s.Name)]
		state := probe.ContainerState{
			Service: s.Name, State: c.State, Condition: c.Condition(), Health: c.HealthStatus, HealthOutput: c.HealthOutput,
			Restarts: c.RestartCount, Up: time.Since(c.StartedAt),
		}
		if !ok {
			state.State = "missing"
		}
		for _, l := range s.Listeners {
			state.Listens = append(state.Listens, l.Key)
		}
		all = append(all, state)
	}
	return all, nil
}

// clock asks the kernel what it knows about its clock. The certificate is the
// witness of a moment that has passed.
func (f *facts) clock(context.Context) (probe.ClockState, error) {
	var x unix.Timex
	state, err := unix.Adjtimex(&x)
	if err != nil {
		return probe.ClockState{}, fmt.Errorf("read clock: %w", err)
	}
	c := probe.ClockState{
		Now:          time.Now(),
		Synchronised: state != unix.TIME_ERROR && x.Status&unix.STA_UNSYNC == 0,
		MaxError:     time.Duration(x.Maxerror) * time.Microsecond,
	}
	if f.leaf != nil {
		c.NotBefore, c.Witness = f.leaf.NotBefore, "the certificate on disk was made then"
	}
	return c, nil
}

// outwardAddresses are the addresses that this host has towards the world, at
// most one of each family. A datagram socket is connected and nothing is sent;
// the addresses are those for documentation (RFC 5737, RFC 3849).
func outwardAddresses(ctx context.Context) []netip.Addr {
	var own []netip.Addr
	for _, remote := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "udp", remote)
		if err != nil {
			continue // no way out in this family
		}
		if local, ok := conn.LocalAddr().(*net.UDPAddr); ok && !local.IP.IsLinkLocalUnicast() {
			own = append(own, local.AddrPort().Addr().Unmap())
		}
		conn.Close()
	}
	return own
}

// databaseRights says what is wrong with who may do what in the database.
func (a *app) databaseRights(ctx context.Context) ([]string, error) {
	var services accounts.Services
	for name, into := range map[string]*accounts.Secret{"dovecot": &services.Dovecot, "postfix": &services.Postfix} {
		secret, err := a.secret(name)
		if err != nil {
			return nil, err
		}
		*into = secret
	}
	db, done, err := a.database(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return db.RightsProblems(ctx, services)
}
