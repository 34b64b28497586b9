package acme

import (
	"context"
	"errors"
	"net/http"
	"strings"

	lego "github.com/go-acme/lego/v5/acme"

	"mailstack/certs"
)

// connect dials the authority as the account, which it registers where that has
// not been done. An account is found by its key: a registration that was cut off
// and is repeated gives the same account (RFC 8555 section 7.3.1).
func (j *job) connect(ctx context.Context) error {
	if j.c != nil {
		return nil
	}
	key, err := accountKey(j.d)
	if err != nil {
		return err
	}
	if j.c, err = j.s.dial(ctx, key, j.r.Account.URL); err != nil {
		return err
	}
	if j.r.Account.URL == "" {
		return j.register(ctx)
	}
	if j.r.Account.Email == j.s.cfg.Email {
		return nil
	}
	_, err = j.c.core.Accounts.Update(ctx, j.r.Account.URL, lego.Account{Contact: j.contact()})
	if err != nil {
		return err
	}
	j.r.Account.Email = j.s.cfg.Email
	return j.save()
}

// reconnect begins anew with an account that the authority does not know any
// more.
func (j *job) reconnect(ctx context.Context) error {
	j.close()
	j.r.forgetAccount()
	return j.connect(ctx)
}

func (j *job) contact() []string {
	if j.s.cfg.Email == "" {
		return []string{}
	}
	return []string{"mailto:" + j.s.cfg.Email}
}

func (j *job) register(ctx context.Context) error {
	cfg, accounts := j.s.cfg, j.c.core.Accounts
	wanted := lego.Account{TermsOfServiceAgreed: true, Contact: j.contact()}
	var registered lego.ExtendedAccount
	var err error
	switch {
	case cfg.EABKeyID != "":
		var content []byte
		if content, err = certs.ReadSecret(cfg.EABKeyFile); err != nil {
			return err
		}
		hmac := strings.TrimRight(strings.TrimSpace(string(content)), "=")
		registered, err = accounts.NewEAB(ctx, wanted, cfg.EABKeyID, hmac)
	case j.c.core.GetDirectory().Meta.ExternalAccountRequired:
		return &lego.ProblemDetails{
			Type:   lego.ExternalAccountRequiredErrorType,
			Detail: "it registers only accounts that are bound to one of its customers",
		}
	default:
		registered, err = accounts.New(ctx, wanted)
	}
	var problem *lego.ProblemDetails
	if cfg.EABKeyID != "" && err != nil && (!errors.As(err, &problem) || problem.HTTPStatus < http.StatusInternalServerError) {
		return &hintedError{err, "tls.acme_eab_kid and the key in tls.acme_eab_hmac_file (base64url) must be as the authority gave them."}
	}
	if err != nil {
		return err
	}
	j.r.Account = account{URL: registered.Location, Email: cfg.Email}
	return j.save()
}
