package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// PeerView is who a daemon takes a client for.
type PeerView struct {
	Peer    netip.Addr // invalid: not seen (yet)
	Gateway bool       // that is the gateway of the daemon's own network
}

// sourceAddresses are the addresses of this host at which the SMTP server can
// be reached: what it is published at, and for all addresses of a family also
// this host's own outward one.
func (t *Target) sourceAddresses() []netip.AddrPort {
	all := t.endpoints("smtp")
	port := t.Ports["smtp"]
	for _, published := range t.Addresses {
		for _, own := range t.Own {
			if published.IsUnspecified() && own.Is4() == published.Is4() {
				all = append(all, netip.AddrPortFrom(own, port))
			}
		}
	}
	return all
}

// checkSource connects from this host's addresses and reports which address the
// daemon saw. A connection to an address of the host's own comes from that same
// address, unless the engine puts another in its place.
func checkSource(ctx context.Context, t *Target, tr *Trace) error {
	addrs := t.sourceAddresses()
	views := make([]PeerView, len(addrs))
	errs := make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		at := tr.at(addr.String())
		step := at.begin("seen")
		wg.Go(func() {
			errs[i] = step(ctx, func() (err error) {
				views[i], err = seenAs(ctx, t, at.quiet(), addr)
				return err
			})
		})
	}
	wg.Wait()
	hidden := false
	for i, v := range views {
		if errs[i] != nil {
			continue
		}
		name := v.Peer.String()
		if v.Gateway {
			name += ", the bridge gateway"
			hidden = true
		}
		tr.note(fmt.Sprintf("%s is seen as %s", addrs[i].Addr(), name))
	}
	if hidden {
		tr.note("clients that come that way share one address: no limit, ban or trust may go by it")
	}
	return errors.Join(errs...)
}

// seenAs offers mail that is refused, to a recipient by whom the daemon's own
// report of the refusal can be found again.
func seenAs(ctx context.Context, t *Target, tr *Trace, addr netip.AddrPort) (PeerView, error) {
	began := time.Now()
	token := newMarker(began).token
	l, err := connect(ctx, t, tr, serviceOf("smtp"), addr, inClear)
	if err != nil {
		return PeerView{}, err
	}
	defer l.close()
	if err := refusedFor(l.session.(*smtpSession), "mailstack-probe-"+token+"@example.com"); err != nil {
		return PeerView{}, err
	}
	if err := l.leave(ctx); err != nil {
		return PeerView{}, err
	}
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		view, err := t.Logged(ctx, began, token)
		if err != nil && ctx.Err() == nil {
			return PeerView{}, unseen(err, "the daemon's log cannot be read: is it running? `mailstack status`")
		}
		if view.Peer.IsValid() {
			return view, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return PeerView{}, &Failure{Kind: KindTimeout, Advice: "the daemon has not logged the connection: does `mailstack logs postfix` show anything new?"}
		}
	}
}

// refusedFor has mail to an address refused at the address itself: what is
// refused before it is logged without it.
func refusedFor(s *smtpSession, to string) error {
	r, err := s.send("MAIL FROM:<>")
	switch {
	case err != nil:
		return err
	case !r.taken():
		return failf(KindNotRun, "no mail is taken now, so that no recipient can be refused: %s", r)
	}
	r, err = s.send("RCPT TO:<%s>", to)
	if err == nil && r.taken() {
		err = failf(KindInsecure, "open relay: mail to elsewhere is taken: %s", r)
	}
	return err
}
