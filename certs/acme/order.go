package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	lego "github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/acme/api"

	"mailstack/certs"
)

const (
	// issueTimeout bounds the wait for an authority that has everything it needs.
	issueTimeout = 3 * time.Minute
	// retryShare: a certificate with less than this share of its life left is
	// not worth being delivered again.
	retryShare = 3
)

// job is one call of Obtain.
type job struct {
	s     *Source
	d     *certs.Private
	r     *record
	c     *client // nil: not connected
	names []string
	now   time.Time

	// What the authority said with its refusal.
	status     int
	retryAfter time.Duration
}

// note keeps what came with the last answer, before others follow.
func (j *job) note() {
	if j.c != nil && j.status == 0 {
		j.status, j.retryAfter = j.c.wire.last()
	}
}

func (j *job) save() error { return j.r.write(j.d) }

func (j *job) close() {
	if j.c != nil {
		j.c.close()
		j.c = nil
	}
}

// sorted is how names are compared.
func (j *job) sorted() []string { return slices.Sorted(slices.Values(j.names)) }

// kept takes what earlier runs were given for the same keys and names. A
// certificate that has been delivered is delivered again only where nobody asked
// for another one.
func (j *job) kept(keys []crypto.Signer) (pairs []certs.Pair, all bool, err error) {
	pairs, all = make([]certs.Pair, len(keys)), true
	for i, key := range keys {
		pairs[i].Key = key
		id, err := digest(key.Public())
		if err != nil {
			return nil, false, err
		}
		o := j.r.order(id, j.sorted(), j.s.cfg.Profile)
		if o == nil || o.Chain == "" || o.Delivered && j.s.asked {
			all = false
			continue
		}
		chain, err := parseChain([]byte(o.Chain))
		if err != nil || j.check(chain, key) != nil || j.worn(chain[0]) {
			all = false
			continue
		}
		pairs[i].Chain = chain
	}
	return pairs, all, nil
}

// delivered notes that nothing is open any more.
func (j *job) delivered(pairs []certs.Pair) {
	j.r.Trouble = nil
	for _, pair := range pairs {
		if o := j.r.issuer(pair.Chain[0]); o != nil {
			o.Delivered = true
		}
	}
}

// worn says whether a certificate is due itself.
func (j *job) worn(leaf *x509.Certificate) bool {
	return retryShare*leaf.NotAfter.Sub(j.now) < leaf.NotAfter.Sub(leaf.NotBefore) || j.r.Renewal.due(leaf, j.now) != ""
}

// certify gets a certificate for one key: it goes on with an order that an
// earlier run began, or places one.
func (j *job) certify(ctx context.Context, key crypto.Signer) ([]*x509.Certificate, error) {
	if err := j.connect(ctx); err != nil {
		return nil, err
	}
	o, status, err := j.open(ctx, key)
	if isProblem(err, lego.AccountDoesNotExistErrorType) {
		if err := j.reconnect(ctx); err != nil {
			return nil, err
		}
		o, status, err = j.open(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(issueTimeout)
	for {
		switch status.Status {
		case lego.StatusPending:
			err = j.authorize(ctx, status)
			deadline = time.Now().Add(issueTimeout)
		case lego.StatusReady:
			err = j.finalize(ctx, status, key)
		case lego.StatusProcessing:
		case lego.StatusValid:
			return j.download(ctx, o, status, key)
		default:
			err = invalidOrder(status)
		}
		if err != nil {
			j.note()
			j.abandon(ctx, o)
			return nil, err
		}
		if status, err = j.poll(ctx, o, status.Status, deadline); err != nil {
			return nil, err
		}
	}
}

func invalidOrder(status lego.Order) error {
	if status.Error != nil {
		return status.Error
	}
	return fmt.Errorf("the order became %q", status.Status)
}

// open finds the order to go on with.
func (j *job) open(ctx context.Context, key crypto.Signer) (*order, lego.Order, error) {
	id, err := digest(key.Public())
	if err != nil {
		return nil, lego.Order{}, err
	}
	if o := j.r.order(id, j.sorted(), j.s.cfg.Profile); o != nil && o.Chain == "" {
		found, err := j.c.core.Orders.Get(ctx, o.URL)
		switch {
		case isProblem(err, lego.AccountDoesNotExistErrorType):
			return nil, lego.Order{}, err
		case err == nil && slices.Contains([]string{lego.StatusPending, lego.StatusReady, lego.StatusProcessing, lego.StatusValid}, found.Status):
			return o, found.Order, nil
		case err != nil && !j.c.gone(err):
			return nil, lego.Order{}, err
		}
		j.r.drop(o) // it failed, or the authority does not know it any more
	}
	if err := j.tidy(ctx); err != nil {
		return nil, lego.Order{}, err
	}
	return j.place(ctx, &order{
		Key: id, Kind: kind(key.Public()), Names: j.sorted(), Profile: j.s.cfg.Profile, Made: j.now.UTC(),
	})
}

// place orders anew. A certificate that the order replaces is named to the
// authority (RFC 9773 section 5): such an order is outside of many limits.
func (j *job) place(ctx context.Context, o *order) (*order, lego.Order, error) {
	options := &api.OrderOptions{Profile: o.Profile}
	if old := j.r.predecessor(o.Kind, o.Names); old != nil && len(old.AuthorityKeyId) > 0 {
		if id, err := api.MakeARICertID(old); err == nil {
			options.ReplacesCertID = id
		}
	}
	placed, err := j.c.core.Orders.New(ctx, j.names, options)
	var problem *lego.ProblemDetails
	if options.ReplacesCertID != "" && errors.As(err, &problem) && !limited(problem) && problem.Type != lego.AccountDoesNotExistErrorType {
		// An authority that has lost or never knew the old one says so in its own way.
		options.ReplacesCertID = ""
		placed, err = j.c.core.Orders.New(ctx, j.names, options)
	}
	if err != nil {
		return nil, lego.Order{}, err
	}
	o.URL = placed.Location
	j.r.add(o)
	return o, placed.Order, j.save()
}

// abandon forgets an order that cannot be fulfilled any more. One that is still
// open is kept: the next run goes on with it.
func (j *job) abandon(ctx context.Context, o *order) {
	found, err := j.c.core.Orders.Get(ctx, o.URL)
	if err == nil && found.Status == lego.StatusInvalid || j.c.gone(err) {
		j.r.drop(o)
	}
}

// poll asks for the order until it is not in the state any more.
func (j *job) poll(ctx context.Context, o *order, state string, deadline time.Time) (lego.Order, error) {
	var found lego.ExtendedOrder
	err := j.c.until(ctx, deadline, func() (done bool, seen string, err error) {
		found, err = j.c.core.Orders.Get(ctx, o.URL)
		return err == nil && found.Status != state, fmt.Sprintf("the order is still %q", found.Status), err
	})
	return found.Order, err
}

// finalize sends the request for the certificate (RFC 8555 section 7.4).
func (j *job) finalize(ctx context.Context, status lego.Order, key crypto.Signer) error {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: j.names}, key)
	if err != nil {
		return fmt.Errorf("make certificate request: %w", err)
	}
	_, err = j.c.core.Orders.UpdateForCSR(ctx, status.Finalize, csr)
	if isProblem(err, lego.OrderNotReadyErrorType) {
		return nil // somebody, perhaps a run that was killed, has done it
	}
	return err
}

// download fetches the issued certificate and keeps it, before anybody uses it.
func (j *job) download(ctx context.Context, o *order, status lego.Order, key crypto.Signer) ([]*x509.Certificate, error) {
	raw, err := j.c.core.Certificates.Get(ctx, status.Certificate, true)
	if err != nil {
		return nil, err
	}
	chain, err := parseChain(raw.Cert)
	if err != nil {
		return nil, fmt.Errorf("what the authority issued %w", err)
	}
	if err := j.check(chain, key); err != nil {
		j.r.drop(o)
		return nil, fmt.Errorf("what the authority issued cannot be used: %w", err)
	}
	o.Chain, o.Leaf = string(raw.Cert), fingerprint(chain[0])
	if err := errors.Join(j.save(), j.tidy(ctx)); err != nil {
		return nil, err
	}
	return chain, begun(ctx, chain[0])
}

// maxAhead is how far an authority's clock may be ahead of ours: waiting that
// long costs nothing, while clients refuse a certificate that has not begun.
const maxAhead = time.Minute

// begun waits for a certificate that begins in a moment.
func begun(ctx context.Context, leaf *x509.Certificate) error {
	ahead := time.Until(leaf.NotBefore)
	switch {
	case ahead <= 0:
		return nil
	case ahead <= maxAhead:
		return sleep(ctx, ahead)
	}
	return &hintedError{
		fmt.Errorf("the certificate that was issued begins on %s, which is %v ahead of this host's clock", utc(leaf.NotBefore), ahead.Round(time.Second)),
		"Set this host's clock: `date -u`",
	}
}

// check verifies what can be verified without knowing the root: that the
// certificate is for this key and for all names, and that each link of the chain
// signed the one before.
func (j *job) check(chain []*x509.Certificate, key crypto.Signer) error {
	leaf := chain[0]
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	for _, name := range j.names {
		if !slices.Contains(leaf.DNSNames, name) {
			return fmt.Errorf("the certificate is not for %s", name)
		}
	}
	for i := 1; i < len(chain); i++ {
		if err := chain[i-1].CheckSignatureFrom(chain[i]); err != nil {
			return fmt.Errorf("certificate %d of the chain did not sign the one before: %w", i+1, err)
		}
	}
	return nil
}

func kind(public crypto.PublicKey) string {
	switch public.(type) {
	case *ecdsa.PublicKey:
		return "ecdsa"
	case *rsa.PublicKey:
		return "rsa"
	}
	return fmt.Sprintf("%T", public)
}
