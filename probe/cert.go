package probe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// certFamily is the family of the checks of served certificates. They are
// called by the listener, whose name stays when its port is changed; the port's
// number selects one too.
const certFamily = "cert"

// checkCert looks at the certificate that a listener serves, at every address.
// The handshake verifies nothing, so that each fault has words of its own.
func checkCert(s service) Func {
	return func(ctx context.Context, t *Target, tr *Trace) error {
		addrs := t.endpoints(s.key)
		errs := make([]error, len(addrs)+1)
		left := make([]lifetime, len(addrs))
		var wg sync.WaitGroup
		for i, addr := range addrs {
			wg.Go(func() { left[i], errs[i] = inspect(ctx, t, tr, s, addr) })
		}
		floor := tr.begin("protocol floor")
		wg.Go(func() {
			errs[len(addrs)] = floor(ctx, func() error { return refuseOldTLS(ctx, t, tr.quiet(), s, addrs[0]) })
		})
		wg.Wait()
		left = slices.DeleteFunc(left, func(l lifetime) bool { return l.leaf == nil })
		if len(left) > 0 {
			slices.SortFunc(left, func(a, b lifetime) int { return a.leaf.NotAfter.Compare(b.leaf.NotAfter) })
			for _, v := range left[0].values() {
				tr.measure(v)
			}
		}
		return errors.Join(errs...)
	}
}

// inspect looks at what is served at one address.
func inspect(ctx context.Context, t *Target, tr *Trace, s service, addr netip.AddrPort) (lifetime, error) {
	look := *t
	look.adjust = anyCertificate
	l, err := connect(ctx, &look, tr, s, addr, withTLS)
	if err != nil {
		return lifetime{}, err
	}
	defer l.close()
	chain := l.state.PeerCertificates
	leaf := lifetime{chain[0], time.Now(), t.renewal("`mailstack maintain` renews it, and its output says why it could not")}
	tr.served(addr.String(), fingerprintOf(chain[0]))
	errs := judgeChain(t, chain, leaf.now)
	for i, err := range errs {
		errs[i] = classify(ctx, addr.String(), "", err)
	}
	return leaf, errors.Join(append(errs, l.leave(ctx))...)
}

// anyCertificate makes a handshake succeed whatever is served.
func anyCertificate(c *tls.Config) { c.InsecureSkipVerify = true }

func fingerprintOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// judgeChain returns everything that is wrong with a served chain.
func judgeChain(t *Target, chain []*x509.Certificate, now time.Time) []error {
	leaf := chain[0]
	var errs []error
	when := now
	switch {
	case now.After(leaf.NotAfter):
		errs = append(errs, &Failure{
			Kind: KindTLS, Step: "lifetime", Detail: "expired on " + leaf.NotAfter.UTC().Format(time.RFC3339),
			Advice: t.renewal("`mailstack maintain` renews it"),
		})
		when = leaf.NotAfter
	case now.Before(leaf.NotBefore):
		errs = append(errs, &Failure{
			Kind: KindTLS, Step: "lifetime", Detail: "not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339),
			Advice: "compare this host's clock: `date -u`",
		})
		when = leaf.NotBefore
	}
	if err := leaf.VerifyHostname(t.Hostname); err != nil {
		errs = append(errs, &Failure{Kind: KindTLS, Step: "name", Detail: printable(err.Error()), Err: err})
	}
	if err := verifyChain(t, chain, when); err != nil {
		errs = append(errs, err)
	}
	if t.StandIn != "" {
		errs = append(errs, &Failure{
			Kind: KindTLS, Step: "authority", Detail: t.StandIn,
			Advice: "`mailstack maintain` tries again to get the right one, and says why it could not",
		})
	}
	if err := compareFingerprint(leaf, t.Fingerprint, t.Twin); err != nil {
		errs = append(errs, err)
	}
	return errs
}

func verifyChain(t *Target, chain []*x509.Certificate, when time.Time) error {
	if t.Unverified != "" {
		return &Failure{Kind: KindNotRun, Step: "chain", Detail: t.Unverified, settled: true, Advice: "run it with the rights to read the certificate authority, as root"}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: t.Roots, Intermediates: between, CurrentTime: when})
	if err != nil {
		return &Failure{Kind: KindTLS, Step: "chain", Detail: printable(err.Error()), Err: err}
	}
	return nil
}

// lifetime is how long a certificate still has to live.
type lifetime struct {
	leaf   *x509.Certificate
	now    time.Time
	advice string // what to do when that is little
}

// renewal is advice about a certificate that has to be renewed: own, if this
// program renews it.
func (t *Target) renewal(own string) string {
	if t.Foreign {
		return "renew it; what does so by itself has failed, and its log says why"
	}
	return own
}

// values judge what is left by the lifetime's length, never by a number of
// days: what is plenty for a certificate of six days is late for one of a year.
// Renewal is due at a third and may take a day to come.
func (l lifetime) values() []Value {
	whole := max(time.Second, l.leaf.NotAfter.Sub(l.leaf.NotBefore)) // servers serve anything
	left := l.leaf.NotAfter.Sub(l.now)
	const day = 24 * time.Hour
	share := func(d time.Duration) float64 { return math.Round(1e4*d.Hours()/whole.Hours()) / 100 }
	warning, critical := AtLeast(share(whole/3-day)), AtLeast(share(whole/6))
	if left < 0 { // a failure already
		warning, critical = Range{}, Range{}
	}
	return []Value{
		{
			Name: "left", Unit: "%", Amount: share(left), Warning: warning, Critical: critical,
			Text:   fmt.Sprintf("%.1f of %.1f days left, until %s", left.Hours()/24, whole.Hours()/24, l.leaf.NotAfter.UTC().Format(time.RFC3339)),
			Advice: l.advice,
		},
		{Name: "expiry", Unit: "timestamp", Amount: float64(l.leaf.NotAfter.Unix())},
	}
}

// refuseOldTLS: what is older than TLS 1.2 is not spoken (RFC 8996).
func refuseOldTLS(ctx context.Context, t *Target, tr *Trace, s service, addr netip.AddrPort) error {
	old := *t
	old.adjust = func(c *tls.Config) {
		anyCertificate(c)
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			c.CipherSuites = append(c.CipherSuites, suite.ID)
		}
	}
	l, err := connect(ctx, &old, tr, s, addr, withTLS)
	if l == nil {
		if isKind(err, KindTLS) || isKind(err, KindClosed) {
			return nil
		}
		// Anything else has nothing to do with the protocol's version, and is
		// met again, and reported, by the look at the certificate.
		if isKind(err, KindTimeout) || isKind(err, KindInterrupted) {
			return err
		}
		return nil
	}
	defer l.close()
	return errors.Join(
		failf(KindInsecure, "%s is spoken", tls.VersionName(l.state.Version)),
		l.leave(ctx),
	)
}

// differing adds a failure to every result whose port serves another
// certificate than most. With a known fingerprint each port has been compared
// with that already.
func differing(t *Target, runs []outcome) {
	if t.Fingerprint != "" {
		return
	}
	count := make(map[string]int)
	for _, r := range runs {
		for _, print := range r.served {
			count[print]++
		}
	}
	usual := ""
	for print, n := range count {
		if n > count[usual] || n == count[usual] && print < usual {
			usual = print
		}
	}
	for i, r := range runs {
		for addr, print := range r.served {
			if print != usual {
				runs[i].err = errors.Join(r.err, &Failure{
					Kind: KindDiffers, Addr: addr,
					Detail: fmt.Sprintf("%.16s… here, %.16s… at %d of %d", print, usual, count[usual], total(count)),
				})
			}
		}
	}
}

func total(count map[string]int) int {
	sum := 0
	for _, n := range count {
		sum += n
	}
	return sum
}
