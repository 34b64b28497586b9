package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"mailstack/config"
	"mailstack/e2e/lab"
	"mailstack/stack"
)

// Services of a stack, in the order in which they start; those with a network of their
// own; and those that begin connections to other hosts over it.
var (
	services = lab.Services(config.Default())
	bridged  = lab.ServicesWith(config.Default(), func(s stack.Service) bool { return s.Bridge })
	callers  = lab.ServicesWith(config.Default(), func(s stack.Service) bool { return s.Outbound })
)

// arena is the stack under fire: on small disks, with accounts whose mail is
// known.
type arena struct {
	*lab.Stack
	disks    map[string]*disk // by volume, or one for everything
	dataDir  string           // data.dir
	tls      *tls.Config
	password string   // of every account
	sender   string   // whose mail goes in by submission
	plain    []string // accounts that get mail
	team     string   // an alias for all of plain
	sieved   string   // an account whose script files some of its mail
	readers  []string // accounts whose mail is moved, flagged and deleted
	findings *findings
	ledger   *ledger
	cutAt    time.Time // the last power cut
	limit    int       // MiB, limits.message_size as configured last
	rebuilt  []string  // images that were made for this one alone
}

// newArena brings everything up, with three volumes on disks of their own unless
// the ground is another one.
func newArena(ctx context.Context, binary string, on ground, f *findings, progress io.Writer) (_ *arena, err error) {
	l, err := lab.New(ctx, binary, "chaos", progress)
	if err != nil {
		return nil, err
	}
	a := &arena{Stack: l, disks: map[string]*disk{}, dataDir: l.Data(), password: "pw-" + rand.Text(), findings: f, limit: 50}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.remove())
		}
	}()
	if a.ledger, err = openLedger(filepath.Join(l.Dir, "ledger")); err != nil {
		return nil, err
	}
	if on == ownEngine {
		if err := a.moveToOwnEngine(ctx, progress); err != nil {
			return nil, err
		}
	}
	if on == oneDisk {
		a.dataDir = filepath.Join(l.Dir, "disk-"+everything, "data")
		err = a.mount(ctx, everything, "data.dir", a.dataDir)
	} else {
		for _, volume := range []string{"mysql", "queue", "vmail"} {
			err = errors.Join(err, a.mount(ctx, volume, "data."+volume, filepath.Join(l.Dir, "disk-"+volume, "volume")))
		}
	}
	if err != nil {
		return nil, err
	}
	if err := l.Up(ctx); err != nil {
		return nil, err
	}
	return a, a.populate(ctx)
}

// moveToOwnEngine starts an engine with the images of a stack that is up on the
// machine's for as long as it takes to copy them.
func (a *arena) moveToOwnEngine(ctx context.Context, progress io.Writer) error {
	donor, err := lab.New(ctx, a.Binary, "chaos", progress)
	if err != nil {
		return err
	}
	if a.Engine, err = lab.NewEngine(ctx); err == nil {
		_, err = donor.Run(ctx, nil, "up", "--no-probe")
	}
	var images []string
	if err == nil {
		images, err = donor.Images(ctx)
	}
	if err == nil {
		err = a.Engine.LoadImages(ctx, images)
	}
	return errors.Join(err, donor.Remove(context.WithoutCancel(ctx)))
}

// mount makes a disk and configures a path on it.
func (a *arena) mount(ctx context.Context, name, key, path string) error {
	d, err := newDisk(ctx, filepath.Join(a.Dir, "disk-"+name), diskSizes[name])
	if err != nil {
		return err
	}
	a.disks[name] = d
	return a.Set(key, fmt.Sprintf("%q", path))
}

// populate makes the accounts.
func (a *arena) populate(ctx context.Context) error {
	ca, err := a.Run(ctx, nil, "cert", "trust", "--print")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca))
	a.tls = &tls.Config{RootCAs: pool, ServerName: a.Hostname}
	at := "@" + a.Hostname
	a.sender, a.team, a.sieved = "sender"+at, "team"+at, "sieved"+at
	a.plain = []string{"anna" + at, "bert" + at, "cleo" + at}
	a.readers = []string{"dora" + at, "emil" + at}
	for _, account := range append(a.accounts(), a.sender) {
		if err := a.AddAccount(ctx, account, a.password); err != nil {
			return err
		}
	}
	if _, err := a.Run(ctx, nil, append([]string{"alias", "add", a.team}, a.plain...)...); err != nil {
		return err
	}
	return a.installSieve(ctx)
}

// accounts are those that get mail.
func (a *arena) accounts() []string {
	return append(append([]string{a.sieved}, a.plain...), a.readers...)
}

// remove takes everything away, also after the run's context has ended.
func (a *arena) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	err := a.Down(ctx)
	if err != nil && a.Engine == nil { // a broken disk, perhaps: whatever runs goes anyway
		_, force := a.Docker(ctx, append([]string{"rm", "-f", "-v"}, a.containers(services...)...)...)
		err = errors.Join(err, force)
		for _, network := range a.containers(bridged...) {
			_, force := a.Docker(ctx, "network", "rm", network)
			err = errors.Join(err, force)
		}
	}
	if a.Engine != nil {
		err = errors.Join(err, a.Engine.Remove(ctx))
	} else if len(a.rebuilt) > 0 {
		_, removed := a.Docker(ctx, append([]string{"image", "rm"}, a.rebuilt...)...)
		err = errors.Join(err, removed)
	}
	for _, d := range a.disks {
		err = errors.Join(err, d.remove(ctx))
	}
	if a.ledger != nil {
		err = errors.Join(err, a.ledger.close())
	}
	return errors.Join(err, os.RemoveAll(a.Dir))
}

// dial opens a connection to a listener, with TLS where it begins with TLS. It
// is closed when ctx ends, which ends whatever waits for an answer on it.
func (a *arena) dial(ctx context.Context, listener string) (net.Conn, error) {
	conn, err := a.Dial(ctx, listener)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	switch listener {
	case "imaps", "pop3s", "submissions":
		client := tls.Client(conn, a.tls)
		if err := client.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return client, nil
	}
	return conn, nil
}

// containers are those of the services.
func (a *arena) containers(services ...string) []string {
	names := make([]string, len(services))
	for i, service := range services {
		names[i] = a.Container(service)
	}
	return names
}
