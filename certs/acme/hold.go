package acme

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	lego "github.com/go-acme/lego/v5/acme"
)

// trouble is what went wrong since the last success. It outlives the program:
// whoever starts it again, however often, does not ask the authority more often.
type trouble struct {
	Count  int       `json:"count"`
	Since  time.Time `json:"since"`
	Last   time.Time `json:"last"`
	Next   time.Time `json:"next"`             // the authority is not asked before
	About  string    `json:"about"`            // digest of what was tried: something else may be tried at once
	Wanted bool      `json:"wanted,omitempty"` // the wait is the authority's, not ours
	Text   string    `json:"text"`
	Advice string    `json:"advice,omitempty"`
}

// backOff is our own wait after the first, second, … refusal. An authority
// counts failures: Let's Encrypt allows five an hour for an account and a name,
// see https://letsencrypt.org/docs/rate-limits/. The longest wait is below a day,
// so that daily maintenance tries every time.
var backOff = []time.Duration{5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 20 * time.Hour}

const (
	// askedPause is the least time between two attempts that a person asks for.
	askedPause = time.Minute
	// limitedPause is the wait where an authority wants one without saying how
	// long, and longestWait what is believed of one that says too much.
	limitedPause = time.Hour
	longestWait  = 7 * 24 * time.Hour
)

// about is what an attempt depends on.
func (j *job) about() string {
	c := j.s.cfg
	parts := []string{
		c.Directory, c.Email, c.EABKeyID, c.Profile, c.Challenge, c.HTTPAddress, c.Webroot, c.TLSAddress,
		c.DNSProvider, c.DNSEnvFile, strings.Join(c.Resolvers, ","), strings.Join(j.sorted(), ","),
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:8])
}

// hold is an error while the authority must not be asked.
func (j *job) hold() error {
	t := j.r.Trouble
	if t == nil || t.About != j.about() {
		return nil
	}
	next, advice := t.Next, "`mailstack cert renew` asks it at once."
	switch {
	case t.Wanted:
		advice = "The authority set this time; it is kept also when asked for by hand."
	case j.s.asked:
		next, advice = earlier(t.Next, t.Last.Add(askedPause)), "Mend what failed meanwhile."
	}
	// A clock that was set back must not make the wait longer than any can be.
	if !j.now.Before(next) || next.After(j.now.Add(longestWait)) {
		return nil
	}
	if t.Advice != "" {
		advice = t.Advice + "\n" + advice
	}
	return &Error{
		Text:   fmt.Sprintf("%s is not asked before %s, after %s; the last: %s", host(j.s.cfg.Directory), utc(next), failures(t.Count), t.Text),
		Advice: advice,
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func failures(n int) string {
	if n == 1 {
		return "one failure"
	}
	return fmt.Sprintf("%d failures", n)
}

// fail remembers a failure and explains it.
func (j *job) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) { // the run was ended: nothing failed
		return err
	}
	doing := fmt.Sprintf("get a certificate for %s from %s", strings.Join(j.names, ", "), host(j.s.cfg.Directory))
	failed := j.explain(doing, err)
	t := j.r.Trouble
	if t == nil || t.About != j.about() {
		t = &trouble{Since: j.now.UTC(), About: j.about()}
	}
	t.Count++
	t.Last, t.Text, t.Advice = j.now.UTC(), failed.Text, failed.Advice
	var wait time.Duration
	wait, t.Wanted = j.wait(err, t.Count)
	t.Next = j.now.Add(wait).UTC()
	j.r.Trouble = t
	if err := j.save(); err != nil {
		return errors.Join(failed, err)
	}
	return failed
}

// wait is how long to leave the authority alone; wanted says that it asked for
// it. What never got as far as to be refused may be tried again at once.
func (j *job) wait(err error, count int) (d time.Duration, wanted bool) {
	var problem *lego.ProblemDetails
	var proof *proofError
	refused := errors.As(err, &problem)
	j.note()
	busy := j.status == http.StatusTooManyRequests || j.status == http.StatusServiceUnavailable
	switch {
	case refused && limited(problem), busy:
		if j.retryAfter == 0 {
			return limitedPause, true
		}
		return min(j.retryAfter, longestWait), true
	case refused, errors.As(err, &proof):
		return backOff[min(count, len(backOff))-1], false
	}
	return 0, false
}
