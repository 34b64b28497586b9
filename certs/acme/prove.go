package acme

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	lego "github.com/go-acme/lego/v5/acme"
)

const (
	// proofTimeout bounds the wait for an authority that looks at an answer.
	// Big ones take seconds.
	proofTimeout = 2 * time.Minute
	// withdrawTimeout bounds taking an answer back.
	withdrawTimeout = 30 * time.Second
)

// prover makes answers to challenges visible to the authority.
type prover interface {
	// present shows answers, all at once, and returns when they can be seen.
	present(ctx context.Context, answers []answer) error
	// withdraw takes back what present or a run that was killed has shown. What
	// is not there is no error.
	withdraw(ctx context.Context, answers []answer) error
	// batches splits answers into those that can be shown at one time; pause is
	// how long to wait between two of them.
	batches(ctx context.Context, answers []answer) (split [][]answer, pause time.Duration)
}

// answer is what the authority has to find.
type answer struct {
	name    string // without "*."
	token   string
	keyAuth string // token and thumbprint of the account's key (RFC 8555 section 8.1)

	wildcard  bool
	url       string // of the challenge
	authz     string // URL of the authorization
	triggered bool   // the authority has been told already
}

// shown is the name for people.
func (a answer) shown() string {
	if a.wildcard {
		return "*." + a.name
	}
	return a.name
}

func (s *Source) prover() (prover, error) {
	switch s.cfg.Challenge {
	case HTTP01:
		if s.cfg.Webroot != "" {
			return webroot{dir: s.cfg.Webroot}, nil
		}
		return &httpListener{address: s.cfg.HTTPAddress}, nil
	case TLSALPN01:
		return &tlsListener{address: s.cfg.TLSAddress}, nil
	case DNS01:
		return s.dnsProver()
	}
	return nil, fmt.Errorf("no challenge is called %q", s.cfg.Challenge)
}

// proofError is an authority's refusal of one proof.
type proofError struct {
	name      string // the name that was to be proven
	challenge string
	err       error // a problem document, or what was seen last
}

func (e *proofError) Error() string { return fmt.Sprintf("%s for %s: %v", e.challenge, e.name, e.err) }
func (e *proofError) Unwrap() error { return e.err }

// authorize proves all names of an order that are not proven yet.
func (j *job) authorize(ctx context.Context, status lego.Order) error {
	answers, err := j.answers(ctx, status)
	if err != nil || len(answers) == 0 {
		return err
	}
	p, err := j.s.prover()
	if err != nil {
		return err
	}
	batches, pause := p.batches(ctx, answers)
	for i, batch := range batches {
		if i > 0 {
			if err := sleep(ctx, pause); err != nil {
				return err
			}
		}
		if err := j.prove(ctx, p, batch); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits, unless the run ends before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// answers are those that the authority still wants.
func (j *job) answers(ctx context.Context, status lego.Order) ([]answer, error) {
	var answers []answer
	for _, url := range status.Authorizations {
		authz, err := j.c.core.Authorizations.Get(ctx, url)
		if err != nil {
			return nil, err
		}
		if authz.Status == lego.StatusValid {
			continue
		}
		a := answer{name: authz.Identifier.Value, wildcard: authz.Wildcard, authz: url}
		if authz.Status != lego.StatusPending {
			return nil, &proofError{a.shown(), j.s.cfg.Challenge, authzError(authz)}
		}
		i := slices.IndexFunc(authz.Challenges, func(c lego.Challenge) bool { return c.Type == j.s.cfg.Challenge })
		if i < 0 {
			return nil, &proofError{a.shown(), j.s.cfg.Challenge, notOffered(authz)}
		}
		challenge := authz.Challenges[i]
		a.url, a.token, a.triggered = challenge.URL, challenge.Token, challenge.Status != lego.StatusPending
		if a.keyAuth, err = j.keyAuth(a.token); err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// keyAuth makes a key authorization. The token becomes a path and part of a
// command line, so it is held to its alphabet (RFC 8555 section 8).
func (j *job) keyAuth(token string) (string, error) {
	const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if token == "" || strings.Trim(token, base64url) != "" {
		return "", fmt.Errorf("the authority sent a challenge whose token is not base64url: %q", token)
	}
	return j.c.core.GetKeyAuthorization(token)
}

func notOffered(authz lego.Authorization) error {
	var offered []string
	for _, c := range authz.Challenges {
		offered = append(offered, c.Type)
	}
	return fmt.Errorf("the authority does not offer it for this name, but %s", strings.Join(offered, ", "))
}

// authzError is why an authorization is not valid.
func authzError(authz lego.Authorization) error {
	for _, c := range authz.Challenges {
		if c.Error != nil {
			return c.Error
		}
	}
	return fmt.Errorf("the authorization is %q", authz.Status)
}

// prove shows answers, has the authority look at them, and takes them back.
func (j *job) prove(ctx context.Context, p prover, answers []answer) (err error) {
	if err := j.give(answers); err != nil {
		return err
	}
	defer func() {
		// Also when the run is being ended: others would see the answers for ever.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
		defer cancel()
		if p.withdraw(end, answers) == nil {
			err = errors.Join(err, j.take(answers))
		}
	}()
	if err := p.present(ctx, answers); err != nil {
		return err
	}
	for _, a := range answers {
		if a.triggered {
			continue
		}
		if _, err := j.c.core.Challenges.New(ctx, a.url); err != nil {
			return &proofError{a.shown(), j.s.cfg.Challenge, err}
		}
	}
	var failed []error
	deadline := time.Now().Add(proofTimeout)
	for _, a := range answers {
		if err := j.judged(ctx, a, deadline); err != nil {
			failed = append(failed, &proofError{a.shown(), j.s.cfg.Challenge, err})
		}
	}
	return errors.Join(failed...)
}

// judged waits for the authority's verdict.
func (j *job) judged(ctx context.Context, a answer, deadline time.Time) error {
	var authz lego.Authorization
	err := j.c.until(ctx, deadline, func() (done bool, seen string, err error) {
		authz, err = j.c.core.Authorizations.Get(ctx, a.authz)
		return err == nil && authz.Status != lego.StatusPending, fmt.Sprintf("the authorization is still %q", authz.Status), err
	})
	if err != nil || authz.Status == lego.StatusValid {
		return err
	}
	return authzError(authz)
}

// give notes answers that are going to be shown.
func (j *job) give(answers []answer) error {
	for _, a := range answers {
		if !slices.ContainsFunc(j.r.Given, func(g given) bool { return g.Token == a.token }) {
			j.r.Given = append(j.r.Given, given{Challenge: j.s.cfg.Challenge, Name: a.name, Token: a.token})
		}
	}
	return j.save()
}

// take notes answers that nobody sees any more.
func (j *job) take(answers []answer) error {
	j.r.Given = slices.DeleteFunc(j.r.Given, func(g given) bool {
		return slices.ContainsFunc(answers, func(a answer) bool { return a.token == g.Token })
	})
	return j.save()
}

// tidy takes back what a run that was killed left for others to see, when the
// authority does not look at it any more. What cannot be taken back is forgotten.
func (j *job) tidy(ctx context.Context) error {
	if len(j.r.Given) == 0 {
		return nil
	}
	p, err := j.s.prover()
	if err != nil {
		return err
	}
	var old []answer
	for _, g := range j.r.Given {
		if keyAuth, err := j.keyAuth(g.Token); err == nil && g.Challenge == j.s.cfg.Challenge {
			old = append(old, answer{name: g.Name, token: g.Token, keyAuth: keyAuth})
		}
	}
	if len(old) > 0 {
		_ = p.withdraw(ctx, old)
	}
	j.r.Given = nil
	return errors.Join(ctx.Err(), j.save())
}
