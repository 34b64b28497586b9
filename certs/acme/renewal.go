package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/go-acme/lego/v5/acme/api"

	"mailstack/certs"
)

// How often the authority is asked when to renew. RFC 9773 section 4.3.1 wants
// its Retry-After respected within reasonable limits, and six hours where it is
// missing or the answer is not usable.
const (
	checkDefault = 6 * time.Hour
	checkLeast   = time.Minute
	checkMost    = 24 * time.Hour
)

// wake is the time between two runs of the daily maintenance. RFC 9773 section
// 4.2: whoever does not run before the chosen time comes renews now.
const wake = 24 * time.Hour

// schedule is what the authority advises for one certificate.
type schedule struct {
	Leaf  string    `json:"leaf"`           // SHA-256 of the certificate's DER form
	Check time.Time `json:"check"`          // it need not be asked before
	At    time.Time `json:"at,omitzero"`    // chosen within the window; zero: no advice
	Start time.Time `json:"start,omitzero"` // of the window
	End   time.Time `json:"end,omitzero"`
	URL   string    `json:"url,omitempty"` // why, for people
}

// at is when to renew the certificate: before the maintenance after the chosen
// time. Zero: nobody advised anything.
func (s *schedule) at(leaf *x509.Certificate) time.Time {
	if s == nil || s.At.IsZero() || s.Leaf != fingerprint(leaf) {
		return time.Time{}
	}
	return s.At.Add(-wake)
}

// due says why the certificate must be renewed, or "".
func (s *schedule) due(leaf *x509.Certificate, now time.Time) string {
	if at := s.at(leaf); at.IsZero() || at.After(now) {
		return ""
	}
	cause := fmt.Sprintf("the authority advises to renew between %s and %s", utc(s.Start), utc(s.End))
	if s.URL != "" {
		cause += " (" + s.URL + ")"
	}
	return cause
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Refresh asks the authority when the certificate in use should be renewed (RFC
// 9773), where it said it may be asked again, and keeps the answer for Status. An
// error means that the last answer goes on to hold.
func (s *Source) Refresh(ctx context.Context, current *x509.Certificate, now time.Time) error {
	d, err := certs.OpenPrivate(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	r := readRecord(d)
	if r.issuer(current) == nil { // not its certificate
		return nil
	}
	known := r.Renewal
	if known != nil && known.Leaf == fingerprint(current) && now.Before(known.Check) {
		return nil
	}
	asked, err := s.ask(ctx, d, current, now)
	if err != nil {
		// Once more in six hours, with what was known until now.
		if asked = known; asked == nil || asked.Leaf != fingerprint(current) {
			asked = &schedule{Leaf: fingerprint(current)}
		}
		asked.Check = now.Add(checkDefault)
	} else if known != nil && known.Leaf == asked.Leaf && known.Start.Equal(asked.Start) && known.End.Equal(asked.End) {
		asked.At = known.At // the same window: no second choice
	}
	r.Renewal = asked
	if err := errors.Join(err, r.write(d)); err != nil {
		return fmt.Errorf("ask %s when to renew: %w", host(s.cfg.Directory), plain(err))
	}
	return nil
}

func (s *Source) ask(ctx context.Context, d *certs.Private, leaf *x509.Certificate, now time.Time) (*schedule, error) {
	answer := &schedule{Leaf: fingerprint(leaf), Check: now.Add(checkMost)}
	id, err := api.MakeARICertID(leaf)
	if err != nil {
		return nil, err
	}
	key, err := readAccountKey(d)
	if err != nil {
		return nil, err
	}
	c, err := s.dial(ctx, key, "")
	if err != nil {
		return nil, err
	}
	defer c.close()
	info, err := c.core.Certificates.GetRenewalInfo(ctx, id)
	if errors.Is(err, api.ErrNoARI) {
		return answer, nil
	}
	if err != nil {
		return nil, err
	}
	window := info.SuggestedWindow
	if !window.Start.Before(window.End) {
		return nil, fmt.Errorf("it advises a window that ends before it begins: %s to %s", utc(window.Start), utc(window.End))
	}
	if info.RetryAfter > 0 {
		answer.Check = now.Add(min(max(info.RetryAfter, checkLeast), checkMost))
	} else {
		answer.Check = now.Add(checkDefault)
	}
	answer.Start, answer.End, answer.URL = window.Start.UTC(), window.End.UTC(), info.ExplanationURL
	answer.At = answer.Start.Add(rand.N(answer.End.Sub(answer.Start)))
	return answer, nil
}
