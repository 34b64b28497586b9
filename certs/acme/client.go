package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	lego "github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/acme/api"

	"mailstack/certs"
)

const (
	accountKeyFile = "account.key"

	// requestTimeout bounds one request and its answer.
	requestTimeout = 60 * time.Second
	// maxAnswerBytes bounds one answer. A chain is a few kilobytes.
	maxAnswerBytes = 1 << 20
)

// client talks to one authority.
type client struct {
	core *api.Core
	wire *wire
	host string
}

// dial fetches the authority's directory.
func (s *Source) dial(ctx context.Context, key crypto.Signer, accountURL string) (*client, error) {
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	w := &wire{
		ctx: ctx,
		next: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 20 * time.Second}).DialContext,
			TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   20 * time.Second,
			ResponseHeaderTimeout: requestTimeout,
			IdleConnTimeout:       requestTimeout,
			ForceAttemptHTTP2:     true,
		},
	}
	core, err := api.New(&http.Client{Transport: w, Timeout: requestTimeout}, s.cfg.UserAgent, s.cfg.Directory, accountURL, key)
	if err != nil {
		w.close()
		return nil, err
	}
	return &client{core: core, wire: w, host: host(s.cfg.Directory)}, nil
}

func (c *client) close() { c.wire.close() }

// roots are the certificates that vouch for the authority's https; nil: the
// system's.
func (s *Source) roots() (*x509.CertPool, error) {
	if s.cfg.CAFile == "" {
		return nil, nil
	}
	content, err := os.ReadFile(s.cfg.CAFile)
	if err != nil {
		return nil, certs.Problem{File: s.cfg.CAFile, Text: "cannot be read: " + reason(err), Advice: "Correct tls.acme_ca_file."}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, certs.Problem{File: s.cfg.CAFile, Text: "holds no certificate in PEM form", Advice: "Correct tls.acme_ca_file."}
	}
	return pool, nil
}

// reason is an error without the path that a sentence has already.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// wire carries requests. The library fetches the directory without a context,
// reads answers of any size, and passes Retry-After on with some answers only.
type wire struct {
	ctx  context.Context
	next *http.Transport

	mu         sync.Mutex
	status     int           // of the last answer
	retryAfter time.Duration // of the last answer; 0: it said nothing
}

// RoundTrip implements [http.RoundTripper].
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Context().Done() == nil {
		req = req.WithContext(w.ctx)
	}
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.status = resp.StatusCode
	w.retryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	w.mu.Unlock()
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswerBytes), resp.Body}
	return resp, nil
}

func (w *wire) close() { w.next.CloseIdleConnections() }

// last is the status of the last answer and how long it said to wait; 0:
// nothing.
func (w *wire) last() (status int, retryAfter time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status, w.retryAfter
}

// parseRetryAfter reads seconds or a date (RFC 9110 section 10.2.3).
func parseRetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// gone says whether the last answer was an error that means that there is no such
// thing (any more). Not every authority sends a problem document with it.
func (c *client) gone(err error) bool {
	status, _ := c.wire.last()
	return err != nil && (status == http.StatusNotFound || status == http.StatusGone || status == http.StatusForbidden)
}

const (
	firstPause = 500 * time.Millisecond
	maxPause   = 10 * time.Second
)

// until asks again and again until it is done, as often as the authority wants
// to be asked. What may pass, such as a lost connection, is passed over until the
// deadline; what the authority refuses is not.
func (c *client) until(ctx context.Context, deadline time.Time, ask func() (done bool, seen string, err error)) error {
	pause := firstPause
	for {
		done, seen, err := ask()
		var problem *lego.ProblemDetails
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &problem) && (limited(problem) || problem.HTTPStatus < http.StatusInternalServerError):
			return err
		case err != nil:
			seen = err.Error()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it did not end in time; last seen: %s", seen)
		}
		_, asked := c.wire.last()
		timer := time.NewTimer(min(max(pause, asked), maxPause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(pause*3/2, maxPause)
	}
}

// accountKey is the account's key; the first run makes it.
func accountKey(d *certs.Private) (crypto.Signer, error) {
	key, err := readAccountKey(d)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make account key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make account key: %w", err)
	}
	return key, d.Write(accountKeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

const accountKeyAdvice = "Put it back from a backup, or move it away: `mailstack cert renew` then makes another account."

func readAccountKey(d *certs.Private) (crypto.Signer, error) {
	content, err := d.Read(accountKeyFile)
	if err != nil {
		return nil, err
	}
	damaged := certs.Problem{File: d.File(accountKeyFile), Text: "holds no private key that can be read", Advice: accountKeyAdvice}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, damaged
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, damaged
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, damaged
	}
	return key, nil
}
